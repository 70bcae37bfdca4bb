"""The example that compares detectors on the same videos."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from stillhouse.methods.recognition.naco.card import FILE, DetectorCard
from stillhouse.methods.recognition.naco.writing import SCORES
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.files import write_json
from stillhouse.platform.training.values import save_value
from support.examples import example_module

from .little import CLIPS, FORM

PEOPLE = 6
FAMILIES = ["real"] * PEOPLE + ["FS"] * PEOPLE + ["NT"] * PEOPLE


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return example_module("compare_videos")


def finished(folder: Path, videos: list[float], *, score: str = "logit", **changed: Any) -> Path:
    """A run folder whose videos have these mean logits, each of two clips."""
    folder.mkdir()
    card = DetectorCard(FORM, CLIPS, score, 110, True, None, "", "nothing", ("FS",))
    write_json(folder / FILE, card.to_json())
    apart = np.tile([-0.5, 0.5], len(videos))
    value = {
        "video": np.repeat(np.arange(len(videos)), 2), "start": np.tile([0, 8], len(videos)), "logit": np.repeat(videos, 2) + apart,
        "forged": np.array(FAMILIES) != "real", "identities": np.tile(np.arange(PEOPLE), 3), "families": FAMILIES,
    }  # fmt: skip
    save_value(folder / SCORES, {**value, **changed})
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Right about all; right about FS and at chance for NT; wrong about both."""
    real, above = [0.0] * PEOPLE, [2.0] * PEOPLE
    means = {"right": real + above + above, "half": real + above + real, "wrong": above + real + real}
    return [finished(tmp_path / name, videos) for name, videos in means.items()]


def test_auc_of_each_and_their_difference_over_people(example: ModuleType, runs: list[Path]) -> None:
    right, half, wrong = runs
    found = example.compare([right], [half])
    assert (found.first, found.second) == ((1.0,), (0.75,)) and found.difference.value == pytest.approx(0.25)
    # Every person has all three videos, so no draw of people changes an AUC.
    assert found.difference.low == found.difference.high == pytest.approx(0.25)
    seeds = example.compare([right, half], [wrong, half])
    assert seeds.first == (1.0, 0.75) and seeds.second == (0.0, 0.75)
    assert seeds.difference.value == pytest.approx(0.875 - 0.375)


def test_families_alone(example: ModuleType, runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    right, half, _ = runs
    assert example.compare([right], [half], ["FS"]).difference.value == 0
    assert example.compare([right], [half], ["NT"]).difference.value == pytest.approx(0.5)
    assert example.main([str(right), str(right), "--other", str(half), str(right), "--families", "NT"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("AUC of videos 1.000 and 0.750: +0.250") and said.endswith("run by run: +0.500, +0.000\n")


def test_a_card_that_scores_by_probability_is_followed(example: ModuleType, tmp_path: Path) -> None:
    """One sure clip outweighs in a mean of logits, and does not in one of probabilities."""
    logits = np.zeros(2 * len(FAMILIES))
    logits[: 2 * PEOPLE : 2] = -1.0
    logits[2 * PEOPLE :: 2], logits[2 * PEOPLE + 1 :: 2] = -9.0, 3.0
    by = [
        finished(tmp_path / score, [0.0] * len(FAMILIES), score=score, logit=logits)
        for score in ("logit", "probability")
    ]
    found = example.compare(by[:1], by[1:])
    assert (found.first, found.second) == ((0.0,), (1.0,))


def test_what_cannot_be_compared_is_refused(
    example: ModuleType, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"family RE.*FS, NT"):
        example.compare(runs[:1], runs[1:], ["RE"])
    other = finished(tmp_path / "other", [0.0] * len(FAMILIES), identities=np.tile(np.arange(PEOPLE)[::-1], 3))
    assert example.main([str(runs[0]), "--other", str(other)]) == 4
    assert "scored other videos" in capsys.readouterr().err
    forged_anew = [finished(tmp_path / content, [0.0] * len(FAMILIES), content=content) for content in ("one", "two")]
    with pytest.raises(BadInput, match="scored other videos"):
        example.compare(forged_anew[:1], forged_anew[1:])
    with pytest.raises(BadInput, match="cannot be told"):
        example.compare(runs[:1], forged_anew[1:])
    assert example.main([str(runs[0]), "--other", str(tmp_path / "nothing")]) == 4
