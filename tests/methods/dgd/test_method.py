"""The method as a whole, with real teachers in this process: what it touches, what it refuses, what it says."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse.methods.dgd import Dgd
from stillhouse.methods.dgd.baseline import NonPrivateBaseline, PrivateBaseline
from stillhouse.methods.dgd.moments import PrivateMoments
from stillhouse.methods.federated import PURPOSE as FEDERATED
from stillhouse.methods.federated import FederatedTraining
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE
from stillhouse.platform.training import dpsgd
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

from .houses import SMALL, House, house, transfer_data

COVERAGES: dict[str, dict[str, Any]] = {
    "labels_only": {},
    "dpsgd_baseline": {},
    "fed_dp_baseline": {},
    "bootstrap_student": {"rounds": 2},
    "public_inputs": {"source": "mixed"},
    "split_records": {},
}


def method(coverage: str, **more: Any) -> Dgd:
    return replace(SMALL, coverage=coverage, **{**COVERAGES[coverage], **more})


def run_of(folder: Path, seed: int = 0) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=Silent())


def finish(dgd: Dgd, home: House, folder: Path, **data: Any) -> Outcome:
    return execute(dgd, transfer_data(home, **data), run_of(folder))


@pytest.mark.parametrize("coverage", COVERAGES)
def test_every_coverage_runs_and_says_what_it_covers(coverage: str, tmp_path: Path) -> None:
    home = house()
    # Noise is drawn anew every time, so a bound on accuracy must lie far from what chance gives: three federated rounds need more.
    outcome = finish(method(coverage), home, tmp_path, epsilon=400.0 if coverage == "fed_dp_baseline" else 50.0)
    if coverage in ("dpsgd_baseline", "fed_dp_baseline"):
        # The only students here that are distilled; forty noisy labels teach next to nothing.
        assert outcome.metrics["student_accuracy"].value > 0.25
    assert outcome.metrics["asked"].value == 40
    covered = coverage not in ("labels_only", "split_records")
    assert (outcome.privacy.coverage == "covered") == covered
    assert math.isfinite(outcome.privacy.epsilon) == covered
    assert outcome.privacy.neighbouring == (ADD_OR_REMOVE if coverage == "dpsgd_baseline" else REPLACE_ONE)
    kinds = {type(work) for work in home.released}
    expected = {
        "dpsgd_baseline": {PrivateBaseline, PrivateMoments}, "fed_dp_baseline": {FederatedTraining},
        "labels_only": {NonPrivateBaseline},
        "split_records": {NonPrivateBaseline},
    }.get(coverage, set())  # fmt: skip
    assert kinds == expected
    assert (tmp_path / "student.safetensors").exists()
    pictures = sorted(p.name for p in (tmp_path / "images").glob("*.png")) if coverage != "public_inputs" else []
    assert pictures == {"bootstrap_student": ["synthetic-1.png"], "public_inputs": []}.get(
        coverage, ["synthetic-0.png"]
    )


def test_dpsgd_fills_the_budget_and_every_charge_was_planned(tmp_path: Path) -> None:
    home = house()
    outcome = finish(method("dpsgd_baseline"), home, tmp_path)
    assert 0.9 * 50 < outcome.privacy.epsilon <= 50
    charged = [event for work in home.released for event in work.events(home.records)]
    assert [named for named in home.planned if named in charged] == charged
    assert outcome.metrics["label_epsilon"].value < outcome.privacy.epsilon


def test_a_federated_baseline_and_labels_are_one_gaussian_plan_about_replacing_one_record(tmp_path: Path) -> None:
    """No moments: those are about adding or removing a record. The whole is exact, and was planned before the first charge."""
    home = house()
    outcome = finish(method("fed_dp_baseline"), home, tmp_path)
    told = outcome.privacy
    assert [release.name for release in told.releases] == [FEDERATED, "noisy label of every query answered"]
    assert told.epsilon == pytest.approx(50, rel=1e-6) and "exact conversion" in told.accounting
    events = [event for _, event in home.planned]
    assert plan_epsilon(events, 1e-5) == told.epsilon
    assert home.released[0].events(home.records) == home.planned[:1]
    assert outcome.metrics["label_epsilon"].value < told.epsilon


def test_a_federated_baseline_wants_silos_and_what_the_labels_leave(tmp_path: Path) -> None:
    nowhere, rich = house(), house()
    nowhere.partition = None
    with pytest.raises(BadInput, match="not in silos"):
        finish(method("fed_dp_baseline"), nowhere, tmp_path / "a")
    with pytest.raises(BudgetExhausted, match="nothing is left for its rounds"):
        finish(method("fed_dp_baseline"), rich, tmp_path / "b", epsilon=2.0)
    with pytest.raises(BudgetExhausted, match=r"leave method\.noise_multiplier empty"):
        finish(method("fed_dp_baseline", noise_multiplier=0.1), rich, tmp_path / "c")
    assert nowhere.released == rich.released == [] and rich.asked == []


def images_hash(home: House) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in home.asked)).hexdigest()


def test_counterfactual_labels_only_shows_a_changed_record_and_public_inputs_do_not(tmp_path: Path) -> None:
    """Check 8: all seeds equal, one record changed. The synthetic images tell under labels_only."""
    asked = {}
    for coverage in ("labels_only", "public_inputs"):
        for changed in (False, True):
            home = house(changed=changed)
            finish(method(coverage), home, tmp_path / f"{coverage}-{changed}")
            asked[coverage, changed] = images_hash(home)
    assert asked["labels_only", False] != asked["labels_only", True]
    assert asked["public_inputs", False] == asked["public_inputs", True]


def test_all_randomness_beside_privacy_noise_is_seeded(tmp_path: Path) -> None:
    first, second = house(), house()
    finish(method("labels_only"), first, tmp_path / "a")
    finish(method("labels_only"), second, tmp_path / "b")
    assert images_hash(first) == images_hash(second)
    # Privacy noise is not: with equal seeds the private classifier, and so its generator's images, differ.
    third, fourth = house(), house()
    finish(method("dpsgd_baseline"), third, tmp_path / "c")
    finish(method("dpsgd_baseline"), fourth, tmp_path / "d")
    assert images_hash(third) != images_hash(fourth)


def test_a_second_start_pays_nothing_and_ends_alike(tmp_path: Path) -> None:
    home = house()
    first = finish(method("dpsgd_baseline"), home, tmp_path)
    asked, released = len(home.asked), len(home.released)
    again = finish(method("dpsgd_baseline"), home, tmp_path)
    assert (len(home.asked), len(home.released)) == (asked, released)
    assert again.metrics == first.metrics


def test_a_restart_after_the_plan_was_checked_does_not_check_it_against_the_rest(tmp_path: Path) -> None:
    home = house()
    dgd = method("dpsgd_baseline")
    finish(dgd, home, tmp_path)
    home.affordable = False  # The budget is spent: by this very run.
    finish(replace(dgd, student=replace(dgd.student, steps=20)), home, tmp_path)


def test_another_student_on_the_same_labels_buys_nothing(tmp_path: Path) -> None:
    home = house()
    dgd = method("dpsgd_baseline")
    finish(dgd, home, tmp_path)
    asked = len(home.asked)
    finish(replace(dgd, student=replace(dgd.student, kind="cnn", hidden=16)), home, tmp_path)
    assert len(home.asked) == asked


def test_a_plan_that_does_not_fit_spends_nothing(tmp_path: Path) -> None:
    home = house()
    home.affordable = False
    with pytest.raises(BudgetExhausted):
        finish(method("dpsgd_baseline"), home, tmp_path / "a")
    with pytest.raises(BudgetExhausted, match="nothing was spent"):
        finish(method("public_inputs"), home, tmp_path / "b", epsilon=0.5)
    assert home.asked == []
    assert home.released == []


def test_a_classifier_that_the_noise_would_drown_is_refused_before_anything_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpsgd, "MOST_UNITS", dpsgd.SIGMA_UNITS)  # Otherwise the grid would be made finer.
    home = house()
    wide = replace(SMALL.baseline, kind="cnn", width=64, hidden=512)
    with pytest.raises(BadInput, match="lost in rounding"):
        finish(method("dpsgd_baseline", baseline=wide, moments_sigma=None, queries=0), home, tmp_path, epsilon=0.3)
    assert home.asked == []
    assert home.released == []


def test_an_ensemble_that_answers_nothing(tmp_path: Path) -> None:
    home = house()
    home.silent = True
    with pytest.raises(RunFailed, match="none of 40 queries was answered"):
        finish(method("public_inputs"), home, tmp_path)


def test_no_more_answers_are_bought_than_planned(tmp_path: Path) -> None:
    home = house()
    outcome = finish(method("public_inputs", answers=15, batch_queries=4), home, tmp_path)
    assert outcome.metrics["answered"].value == 15
    assert sum(len(images) for images in home.asked) == 15


def test_without_a_curator_only_votes_are_possible(tmp_path: Path) -> None:
    home = house()
    data = replace(transfer_data(home), curator=None)
    with pytest.raises(BadInput, match="nobody here holds"):
        execute(method("dpsgd_baseline"), data, run_of(tmp_path / "a"))
    execute(method("public_inputs"), data, run_of(tmp_path / "b"))


def test_rounds_with_disagreement_ask_anew(tmp_path: Path) -> None:
    home = house()
    dgd = method("dpsgd_baseline", rounds=2)
    outcome = finish(replace(dgd, generation=replace(dgd.generation, disagreement=1.0)), home, tmp_path)
    assert [len(images) for images in home.asked] == [20, 20]
    assert outcome.artefacts["synthetic-1"] == "images/synthetic-1.png"
    assert not np.array_equal(home.asked[0], home.asked[1])


def test_a_student_without_any_query_is_distilled_from_the_private_classifier(tmp_path: Path) -> None:
    home = house()
    outcome = finish(method("dpsgd_baseline", queries=0), home, tmp_path)
    assert home.asked == []
    assert not method("dpsgd_baseline", queries=0).asks
    assert outcome.metrics["student_accuracy"].value > 0.3


def test_noiseless_data_make_a_good_student(tmp_path: Path) -> None:
    """With real images to ask about and little noise, the student comes near the ensemble."""
    home = house(records=1000)
    dgd = method("public_inputs", source="pool", queries=300)
    dgd = replace(dgd, student=replace(dgd.student, steps=300, labels=1.0))
    outcome = finish(dgd, home, tmp_path, epsilon=1e6)
    assert outcome.metrics["student_accuracy"].value > 0.7
