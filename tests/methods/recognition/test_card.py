"""A card says how weights are used, and belongs to one file of weights."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.card import FILE, STUDENT, Card
from stillhouse.platform.data.resampling import KINDS, Resampler
from stillhouse.platform.errors import BadInput

NUMBERS = st.none() | st.floats(-10, 10)
CARDS = st.builds(
    Card,
    architecture=st.sampled_from(["resnet_small", "g2d"]),
    resolution=st.integers(4, 112),
    embedding_length=st.integers(1, 512),
    pooled=st.booleans(),
    resampler=st.builds(Resampler, st.sampled_from(KINDS)),
    back_to=st.none() | st.integers(4, 112),
    back_by=st.builds(Resampler, st.just("bicubic"), antialias=st.booleans()),
    flipped=st.booleans(),
    threshold=NUMBERS,
    fmr=NUMBERS,
    held_fmr=NUMBERS,
    confidence=NUMBERS,
    least_quality=NUMBERS,
    teacher=st.text(max_size=5),
    trained_on=st.text(max_size=5),
    data_sha256=st.text(max_size=5),
)


@given(CARDS)
def test_a_card_survives_json(card: Card) -> None:
    assert Card.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False))) == card


def test_a_card_of_an_earlier_version_is_read_and_names_no_data() -> None:
    earlier = Card("resnet_small", 16, 128, data_sha256="ab").to_json()
    del earlier["data_sha256"]
    assert Card.from_json(earlier) == Card("resnet_small", 16, 128)


def written(folder: Path, **changes: object) -> Card:
    (folder / STUDENT).write_bytes(b"weights")
    return replace(Card("resnet_small", 16, 128), **changes).write(folder)  # type: ignore[arg-type]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    card = written(tmp_path, threshold=0.25)
    assert Card.read(tmp_path) == card and len(card.sha256) == 64


def test_other_weights_no_weights_and_no_card_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no recogniser"):
        Card.read(tmp_path)
    written(tmp_path)
    (tmp_path / STUDENT).write_bytes(b"Weights")
    with pytest.raises(BadInput, match="SHA-256"):
        Card.read(tmp_path)
    (tmp_path / STUDENT).unlink()
    with pytest.raises(BadInput, match="does not exist"):
        Card.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format is not"),
        ({"colour": "red"}, "does not have colour"),
        ({"resolution": "16"}, "whole number"),
        ({"resampler": {"kind": "cubic"}}, "no resampler"),
        ({"resampler": {"sort": "cubic"}}, "not whole"),
        ({"resampler": None}, "not whole"),
        ({"threshold": "high"}, "finite number"),
        ({"weights": "../student.safetensors"}, "beside it"),
        ({"weights": "/student.safetensors"}, "beside it"),
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    card = written(tmp_path)
    (tmp_path / FILE).write_text(json.dumps(card.to_json() | change))
    with pytest.raises(BadInput, match=message):
        Card.read(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"format": "stillhouse recogniser 1"}'])
def test_files_that_hold_something_else_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(BadInput, match="no recogniser that can be used"):
        Card.read(tmp_path)


def test_not_finite_limits_are_refused() -> None:
    for name in ("threshold", "fmr", "held_fmr", "confidence", "least_quality"):
        assert name in {one.name for one in fields(Card)}
        with pytest.raises(BadInput, match=name):
            Card("resnet_small", 16, 128, **{name: float("nan")})  # type: ignore[arg-type]


def test_preparation_in_words() -> None:
    assert Card("a", 112, 1).preparation() == "as aligned, 112 px"
    assert Card("a", 16, 1).preparation() == "to 16 px by bilinear, antialiased"
    upwards = Card("a", 16, 1, back_to=112, back_by=Resampler("bicubic"))
    assert upwards.side == 112
    assert upwards.preparation() == "to 16 px by bilinear, antialiased, then up to 112 px by bicubic, antialiased"
