from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from stillhouse.methods.noisy_labels.multilabel.cards import CARDS, TABLE, write_cards, write_table
from stillhouse.methods.noisy_labels.multilabel.picture import rates_picture
from stillhouse.methods.noisy_labels.multilabel.transition import Transition, error

NAN = float("nan")
FOUND = Transition(
    rates=np.array([[0.1, 0.3], [NAN, NAN]]), intervals=np.array([[[0.05, 0.15], [0.2, 0.4]], [[NAN, NAN], [NAN, NAN]]]),
    partners=np.array([5, 0]), statistic=np.array([40.0, NAN]), freedom=np.array([6.0, NAN]), probability=np.array([1e-4, NAN]),
    reasons=["", "only 3 positive and 9 negative rows were selected"], selected=np.array([[90, 60], [9, 3]]),
)  # fmt: skip


def test_the_table_can_be_read_back(tmp_path: Path) -> None:
    assert write_table(tmp_path, FOUND, ["cat", "dog, small"]) == TABLE
    first, second = csv.DictReader((tmp_path / TABLE).open())
    assert float(first["false_negative"]) == 0.3
    assert (first["partners"], first["selected_positive"], first["refused"]) == ("5", "60", "")
    assert second["class"] == "dog, small"
    assert second["false_positive"] == second["chi_square"] == ""
    assert "3 positive" in second["refused"]


def test_cards_say_it_in_words(tmp_path: Path) -> None:
    write_cards(tmp_path, FOUND, ["cat", "dog"], np.array([0.4, 0.1]), confidence=0.95, significance=0.01)
    cat, dog = json.loads((tmp_path / CARDS).read_text())
    assert cat["true_frequency"] == pytest.approx((0.4 - 0.1) / 0.6)
    assert "10.0 (5.0 to 15.0) % carry it" in cat["text"]
    assert "30.0 (20.0 to 40.0) % lack it" in cat["text"]
    assert "50.0 % should" in cat["text"]
    assert "contradict" in cat["text"]
    assert dog["refused"]
    assert "only 3 positive" in dog["text"]


@pytest.mark.parametrize("rates", [[0.4, 0.6], [0.7, 0.6], [1.0, 0.0]])
def test_where_given_labels_say_nothing_no_true_frequency_is_told(rates: list[float], tmp_path: Path) -> None:
    """P(given 1) is fp + (1 - fp - fn) P(true 1): without a share of the truth in it, it cannot be solved."""
    write_cards(tmp_path, Transition.plain(np.array([rates]), [""]), ["cat"], np.array([0.4]), confidence=0.95,
                significance=0.01)  # fmt: skip
    (cat,) = json.loads((tmp_path / CARDS).read_text())
    assert (cat["refused"], cat["false_positive"], cat["false_negative"]) == (False, *rates)
    assert "true_frequency" not in cat
    assert cat["text"].endswith("40.0 % carry it.")
    assert "should" not in cat["text"]


def test_names_are_drawn_as_they_are() -> None:
    """What stands between dollar signs is no formula: some names would be a damaged one."""
    for name in ("under $5_$", "$x$ and $\\frac$", "a_b^c", "50 %", "\\"):
        drawn = rates_picture(FOUND, [name, "dog"], None)
        assert drawn.shape[2] == 3
    assert not np.array_equal(rates_picture(FOUND, ["$x$", "dog"], None), rates_picture(FOUND, ["x", "dog"], None))


def test_the_picture_shows_rates_and_refusals() -> None:
    true = np.array([[0.1, 0.2], [0.2, 0.2]])
    with_true, without = rates_picture(FOUND, ["cat", "dog"], true), rates_picture(FOUND, ["cat", "dog"], None)
    assert with_true.dtype == np.uint8
    assert with_true.shape[2] == 3
    accent = lambda picture: int((np.abs(picture.astype(int) - [168, 72, 12]).sum(2) < 12).sum())
    refused = Transition.plain(np.full((2, 2), NAN), ["no", "no"])
    assert accent(without) > accent(rates_picture(refused, ["cat", "dog"], None)) + 50
    ink = lambda picture: int((np.abs(picture.astype(int) - [31, 27, 22]).sum(2) < 12).sum())
    assert ink(with_true) > ink(without) + 40  # the true rates' marks


def test_a_transition_is_kept_and_errors_add_up() -> None:
    again = Transition.from_value(FOUND.to_value())
    np.testing.assert_array_equal(again.rates, FOUND.rates)
    assert again.refused.tolist() == [False, True]
    filled = FOUND.filled(np.zeros((2, 2)))
    assert error(filled, np.array([[0.2, 0.2], [0.1, 0.1]])).tolist() == pytest.approx([0.2, 0.2])
