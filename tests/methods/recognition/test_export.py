"""What an exported recogniser says of itself: what was set on the scores of another network is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.export import README, export_recogniser
from stillhouse.methods.recognition.given_pictures import read_given
from stillhouse.platform.data.landmarks import landmark_finder
from support.small_recogniser import write_picture, write_small


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_small(tmp_path / "run", threshold=0.5, fmr=0.004, held_fmr=0.01, confidence=0.95, least_quality=1.5)
    (tmp_path / "out").mkdir()
    return tmp_path / "run"


def test_the_readme_tells_what_was_found_and_what_is_held(run: Path, tmp_path: Path) -> None:
    export_recogniser(run, tmp_path / "out", ["torch"], told=["no privacy"])
    text = (tmp_path / "out" / README).read_text()
    assert "cosine of 0.5000" in text and "FMR 0.004 on the pairs it was set on" in text
    assert "at most 0.01 on such pairs to come, with confidence 0.95" in text
    kept = Card.read(tmp_path / "out")
    assert (kept.threshold, kept.held_fmr, kept.confidence, kept.least_quality) == (0.5, 0.01, 0.95, 1.5)


def test_adaptation_drops_all_that_was_set_on_other_embeddings(run: Path, tmp_path: Path) -> None:
    for seed in range(12):
        write_picture(tmp_path / "faces" / f"{seed}.png", seed)
    faces = read_given([tmp_path / "faces"], side=112, finder=landmark_finder("none"))
    export_recogniser(run, tmp_path / "out", ["torch"], told=["no privacy"], faces=faces)
    card = Card.read(tmp_path / "out")
    assert (card.threshold, card.fmr, card.held_fmr, card.confidence, card.least_quality) == (None,) * 5
    assert "show one person" not in (tmp_path / "out" / README).read_text() and "12 faces" in card.adapted
