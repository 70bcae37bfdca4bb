from __future__ import annotations

import numpy as np
import pytest
from stillhouse.methods.noisy_labels.multilabel.selection import (
    Mixture,
    scaled_losses,
    select_right,
    select_small_losses,
    with_known_zero,
)
from stillhouse.platform.errors import BadInput


def mixed(rows: int = 2000, wrong: float = 0.25, apart: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, given labels and which of them are right: wrong ones have losses that are higher by `apart`."""
    generator = np.random.default_rng(0)
    labels = (generator.random((rows, 2)) < 0.3).astype(np.uint8)
    right = generator.random((rows, 2)) >= wrong
    losses = np.abs(generator.normal(0.1, 0.05, (rows, 2))) + np.where(right, 0.0, apart)
    return scaled_losses(losses * np.where(labels == 1, 4.0, 1.0), labels), labels, right


def test_losses_are_scaled_for_each_class_and_value() -> None:
    losses, labels, _ = mixed()
    for j in range(2):
        for value in (0, 1):
            mine = losses[labels[:, j] == value, j]
            assert (mine.min(), mine.max()) == (0.0, 1.0)


def test_constant_losses_scale_to_zero() -> None:
    assert (scaled_losses(np.full((4, 1), 3.0), np.array([[0], [0], [1], [1]])) == 0).all()


def test_right_rows_are_found_where_losses_tell() -> None:
    losses, labels, right = mixed()
    selected = select_small_losses(losses, labels, Mixture(), seed=0)
    assert (selected == right).mean() > 0.99


def test_the_same_seed_selects_the_same() -> None:
    losses, labels, _ = mixed(apart=0.1)
    first, second = (select_small_losses(losses, labels, Mixture(), seed=5) for _ in range(2))
    assert (first == second).all()


def test_the_gate_takes_all_rows_of_one_component() -> None:
    losses, labels, _ = mixed(wrong=0.0)
    closed = select_small_losses(losses, labels, Mixture(), seed=0)
    opened = select_small_losses(losses, labels, Mixture(gate=1.2), seed=0)
    assert closed.mean() < 0.9
    assert opened.all()
    two, labels, right = mixed()
    assert (select_small_losses(two, labels, Mixture(gate=1.2), seed=0) == right).mean() > 0.99


def test_rows_that_nothing_tells_apart_are_not_selected() -> None:
    labels = np.array([[0], [0], [1]], np.uint8)
    assert not select_small_losses(np.zeros((3, 1)), labels, Mixture(), seed=0).any()


def test_gold_and_known_zero() -> None:
    labels, clean = np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 0]])
    right = select_right(labels, clean)
    assert right.tolist() == [[True, False], [True, False]]
    assert with_known_zero(right, labels, "none").tolist() == right.tolist()
    assert with_known_zero(right, labels, "false_positive").tolist() == [[True, True], [True, True]]
    assert with_known_zero(~right, labels, "false_negative").tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"gate": 0.0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Mixture(**wrong)
