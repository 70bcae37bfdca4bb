"""Vectors on a grid: how far one silo moves a sum, by brute force; what rounding costs; what comes out."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.events import GaussianEvent, event_from_json
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent
from stillhouse.platform.privacy.vector_mean import Grid, VectorMean, vector_mean_from_json
from support.noise import ZeroNoise, repeatable_noise

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=100, deadline=None)
@given(
    vectors=hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FLOATS),
    clip=st.floats(1e-6, 1e6),
)
def test_every_row_is_within_the_bound_exactly(vectors: np.ndarray, clip: float) -> None:
    grid = Grid.of(clip, vectors.shape[1])
    units = grid.put(vectors)
    assert all(sum(int(u) ** 2 for u in row) <= grid.bound**2 for row in units)
    grid.check(units, len(vectors))
    finite = np.isfinite(vectors).all(axis=1)
    assert not units[~finite].any(), "a row that is no vector counts as the centre"


@settings(max_examples=50, deadline=None)
@given(width=st.integers(1, 20_000), seed=st.integers(0, 2**32 - 1), size=st.floats(1e-3, 1e3))
def test_rounding_moves_little(width: int, seed: int, size: float) -> None:
    """Short vectors are only rounded; long ones keep their direction and 99 % of the length they may have."""
    grid = Grid.of(2.0, width)
    direction = np.random.default_rng(seed).normal(size=(1, width))
    vector = (direction / np.linalg.norm(direction) * size).astype(np.float32)
    back = grid.put(vector) * grid.quantum
    clipped = vector.astype(float) * min(1.0, 2.0 / float(np.linalg.norm(vector.astype(float))))
    assert np.linalg.norm(back - clipped) <= 2.0 / 64 * 1.0001
    if size < 1.9:
        assert np.abs(back - vector).max() <= grid.quantum / 2 * 1.0001
    else:
        assert np.linalg.norm(back) >= 0.97 * min(size, 2.0)


def test_the_sensitivity_by_brute_force() -> None:
    """All whole vectors within a small bound: replacing one silo's moves a sum by at most 2 B, and by as much as that."""
    bound, width = 3, 2
    inside = [
        np.array(units) for units in itertools.product(range(-bound, bound + 1), repeat=width)
        if sum(u * u for u in units) <= bound**2
    ]  # fmt: skip
    grid = Grid(1.0, width, bound)
    for units in inside:
        grid.check(units[None], 1)
    outside = set(itertools.product(range(-bound - 1, bound + 2), repeat=width)) - {tuple(u) for u in inside}
    for units in outside:
        with pytest.raises(BadInput, match="longer than"):
            grid.check(np.array([units]), 1)
    moved = max(int(((a - b) ** 2).sum()) for a in inside for b in inside)
    assert moved == (2 * bound) ** 2


@pytest.mark.parametrize("width", [1, 64, 784, 12_288])
@pytest.mark.parametrize("multiplier", [0.7, 2.56, 18.0, 1023.41])
def test_the_charge_is_that_of_the_multiplier(width: int, multiplier: float) -> None:
    """Sensitivity and noise in quanta have exactly the ratio that was asked for, so a plan made in multipliers is what is paid."""
    event = VectorMean(3.0, multiplier).event(rows=7, width=width, teachers=10)
    assert isinstance(event, GaussianEvent)
    assert event.squared_sensitivity == (2 * Grid.of(3.0, width).bound) ** 2
    plain = GaussianEvent(multiplier, 1).times(7)
    assert event.rho() == plain.rho() == 1 / (2 * Fraction(multiplier) ** 2)
    for kind, orders in ((BudgetKind.GAUSSIAN, ()), (BudgetKind.ZCDP, ()), (BudgetKind.RDP, (2.0, 7.0))):
        assert event_cost(kind, event, orders=orders) == event_cost(kind, plain, orders=orders)
    assert event_from_json(event.to_json()) == event


def test_one_drawn_silo_has_its_own_event() -> None:
    event = VectorMean(1.0, 4.0, "one").event(rows=32, width=64, teachers=100)
    assert event == OneTeacherEvent(4.0, 32, 100)


def test_the_mean_comes_back() -> None:
    generator = np.random.default_rng(0)
    centre = generator.normal(size=(6, 16)).astype(np.float32)
    vectors = (centre + generator.normal(size=(5, 6, 16)) * 0.1).astype(np.float32)
    mechanism = VectorMean(2.0, 1.0)
    grid = mechanism.grid(16)
    total = np.sum([grid.put(each, centre).astype(np.int64) for each in vectors], axis=0)
    value = mechanism.value(mechanism.noisy(total, ZeroNoise()), teachers=5, centre=centre)
    assert value.dtype == np.float32
    assert np.abs(value - vectors.mean(0)).max() <= grid.quantum / 2 + 1e-6
    # Four of the five: the mean is still over five, and the missing one counts as the centre.
    total -= grid.put(vectors[4], centre).astype(np.int64)
    fewer = mechanism.value(mechanism.noisy(total, ZeroNoise()), teachers=5, centre=centre)
    assert np.abs(fewer - (vectors[:4].sum(0) + centre) / 5).max() <= grid.quantum / 2 + 1e-6
    one = VectorMean(2.0, 1.0, "one")
    alone = one.value(one.noisy(grid.put(vectors[2], centre).astype(np.int64), ZeroNoise()), teachers=5, centre=centre)
    assert np.abs(alone - vectors[2]).max() <= grid.quantum / 2 + 1e-6


@pytest.mark.parametrize(("draw", "over"), [("all", 4), ("one", 1)])
def test_the_noise_has_the_size_that_was_asked_for(draw: str, over: int) -> None:
    mechanism = VectorMean(clip=0.5, noise_multiplier=3.0, draw=draw)  # type: ignore[arg-type]
    noisy = mechanism.noisy(np.zeros((400, 50), np.int64), repeatable_noise(7))
    value = mechanism.value(noisy, teachers=4)
    assert value.std() == pytest.approx(2 * 0.5 * 3.0 / over, rel=4 / math.sqrt(2 * value.size))
    assert abs(value.mean()) < 4 * value.std() / math.sqrt(value.size)
    rows, columns = np.corrcoef(value[:20]), np.corrcoef(value[:, :20].T)
    assert np.abs(rows - np.eye(20)).max() < 0.6 and np.abs(columns - np.eye(20)).max() < 0.25


def test_what_is_no_vector_on_the_grid_is_refused() -> None:
    grid = Grid.of(1.0, 4)
    for wrong in (
        np.zeros((2, 4)), np.zeros((2, 3), np.int16), np.zeros((3, 4), np.int16), np.zeros((2, 2, 2), np.int16),
        np.full((2, 4), 2**62, np.int64), np.full((2, 4), -(2**63), np.int64), np.ones((2, 4), bool),
    ):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            grid.check(wrong, 2)
        assert "4611686018427387904" not in str(caught.value)
    with pytest.raises(BadInput, match="rows of 4"):
        grid.put(np.zeros((2, 3), np.float32))


def test_settings_are_checked_and_survive_json() -> None:
    mechanism = VectorMean(1, 2, "one")
    assert vector_mean_from_json(json.loads(json.dumps(mechanism.to_json()))) == mechanism
    assert mechanism.fingerprint() == VectorMean(1.0, 2.0, "one").fingerprint() != VectorMean(1.0, 2.0).fingerprint()
    for wrong in (
        {"clip": 0.0},
        {"noise_multiplier": -1.0},
        {"draw": "two"},
        {"clip": math.nan},
        {"sigma": 1.0},
        {"name": "gnmax"},
    ):
        with pytest.raises(BadInput):
            vector_mean_from_json(mechanism.to_json() | wrong)
    with pytest.raises(BadInput, match="too large"):
        VectorMean(1.0, 1e15).sigma(4)
