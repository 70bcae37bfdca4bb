from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from stillhouse.methods.noisy_labels.crowd.aggregation import dawid_skene
from stillhouse.methods.noisy_labels.crowd.label_lists import suspicious_labels, write_corrected, write_suspicious
from stillhouse.platform.data.crowd import CrowdAnswers, CrowdData
from stillhouse.platform.data.crowd_synthetic import CrowdSettings, synthetic_crowd
from stillhouse.platform.errors import BadInput


def crowd_data(answers: CrowdAnswers) -> CrowdData:
    return CrowdData(
        inputs=np.zeros((answers.n_items, 1)), answers=answers, truth=None, test_inputs=np.zeros((0, 1)),
        test_labels=np.array([]), item_names=tuple(f'item "{n}", é' for n in range(answers.n_items)),
        annotator_names=tuple(f"p{n}" for n in range(answers.n_annotators)),
        class_names=tuple("abcdefghij"[: answers.classes]), name="n", protocol="p",
    )  # fmt: skip


SMALL = CrowdAnswers(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 1, 2, 2]), 2, 2, 3)
POSTERIORS = np.array([[0.9, 0.1, 0.0], [0.25, 0.35, 0.4]])


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_answers_are_ranked_by_the_chance_that_they_are_wrong() -> None:
    found = suspicious_labels(SMALL, POSTERIORS)
    assert found.rows.tolist() == [1, 2, 3] and np.allclose(found.wrong, [0.9, 0.6, 0.6])
    assert found.suggested.tolist() == [0, 2, 2]
    assert suspicious_labels(SMALL, POSTERIORS, above=0.6).rows.tolist() == [1]
    assert suspicious_labels(SMALL, POSTERIORS, above=0.0, most=2).rows.tolist() == [1, 2]
    assert (
        len(suspicious_labels(SMALL, POSTERIORS, above=0.0)) == 4
        and len(suspicious_labels(SMALL, POSTERIORS, above=1)) == 0
    )


def test_the_lists_are_written_for_people(tmp_path: Path) -> None:
    data = crowd_data(SMALL)
    found = suspicious_labels(SMALL, POSTERIORS)
    write_suspicious(tmp_path / "s.csv", data, found)
    assert read(tmp_path / "s.csv") == [
        ["item", "label", "suggested", "wrong"], ['item "0", é', "b", "a", "0.9000"],
        ['item "1", é', "c", "c", "0.6000"], ['item "1", é', "c", "c", "0.6000"],
    ]  # fmt: skip
    write_suspicious(tmp_path / "s.csv", data, found, annotators=("group 1", "other"))
    assert [line[-1] for line in read(tmp_path / "s.csv")] == ["annotator", "other", "group 1", "other"]
    write_corrected(tmp_path / "c.csv", data, POSTERIORS)
    assert read(tmp_path / "c.csv") == [
        ["item", "label", "probability", "answers", "agreeing"], ['item "0", é', "a", "0.9000", "2", "1"],
        ['item "1", é', "c", "0.4000", "2", "2"],
    ]  # fmt: skip
    write_corrected(tmp_path / "c.csv", data, POSTERIORS, counts=False)
    assert read(tmp_path / "c.csv") == [
        ["item", "label", "probability"], ['item "0", é', "a", "0.9000"], ['item "1", é', "c", "0.4000"],
    ]  # fmt: skip


def test_suspicion_is_right_as_often_as_it_says_and_corrections_help() -> None:
    """On a crowd whose truth is known: what ranks high is wrong, and mean probability and share of wrong labels nearly agree."""
    truth = np.random.default_rng(0).integers(0, 10, 4000)
    answers = synthetic_crowd(
        truth, 10, CrowdSettings(annotators=30, beta_a=2, beta_b=2, mean_labels=4.0), seed=0
    ).answers
    posteriors = dawid_skene(answers).posteriors
    everything = suspicious_labels(answers, posteriors, above=0.0)
    wrong = answers.labels[everything.rows] != truth[answers.items[everything.rows]]
    assert wrong[:1000].mean() > 0.95 and wrong[-1000:].mean() < 0.1
    assert abs(everything.wrong.mean() - wrong.mean()) < 0.05
    corrected = everything.suggested == truth[answers.items[everything.rows]]
    assert corrected.mean() > (~wrong).mean() + 0.2


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shape"):
        suspicious_labels(SMALL, POSTERIORS[:1])
    with pytest.raises(BadInput, match="probability"):
        suspicious_labels(SMALL, POSTERIORS, above=1.5)
    with pytest.raises(BadInput, match="shape"):
        write_corrected(tmp_path / "c.csv", crowd_data(SMALL), POSTERIORS[:, :2])
