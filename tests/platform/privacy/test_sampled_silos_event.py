"""The bound for a Poisson sample of silos, of which one may send anything, against the divergence itself by quadrature."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.events import GaussianEvent, SubsampledGaussianEvent, event_from_json
from stillhouse.platform.privacy.neighbours import EVERY_RELATION
from stillhouse.platform.privacy.sampled_silos_event import SampledSilosEvent

ORDERS = (1.5, 2.0, 4.0, 8.0)
# What a silo sends before and after, in the plane: turned round, at a right angle, at any angle, shorter, gone.
CHANGES = {
    "turned round": ((1.0, 0.0), (-1.0, 0.0)),
    "at a right angle": ((1.0, 0.0), (0.0, 1.0)),
    "at 130 degrees": ((1.0, 0.0), (math.cos(2.27), math.sin(2.27))),
    "shorter": ((0.4, 0.0), (-1.0, 0.0)),
    "gone": ((1.0, 0.0), (0.0, 0.0)),
    "come": ((0.0, 0.0), (1.0, 0.0)),
}


def divergence(
    order: float, before: tuple[float, float], after: tuple[float, float], sigma: float, rate: float
) -> float:
    """Renyi divergence of the two mixtures, by quadrature over a square."""
    reach = 1 + 10 * sigma * math.sqrt(order)
    axis = np.linspace(-reach, reach, 301)
    x, y = np.meshgrid(axis, axis, indexing="ij")

    def log_density(point: tuple[float, float]) -> np.ndarray:
        return -((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)

    def mixture(point: tuple[float, float]) -> np.ndarray:
        return np.logaddexp(math.log1p(-rate) + log_density((0.0, 0.0)), math.log(rate) + log_density(point))

    p, q = mixture(before), mixture(after)
    step = (axis[1] - axis[0]) ** 2
    return math.log(float(np.exp(order * p + (1 - order) * q).sum()) * step) / (order - 1)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rate", [0.05, 0.5])
@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_it_bounds_the_divergence_whatever_a_silo_sends_instead(sigma: float, rate: float, change: str) -> None:
    bound = SampledSilosEvent(sigma, rate, 1).rdp(ORDERS)
    for order, limit in zip(ORDERS, bound, strict=True):
        exact = divergence(order, *CHANGES[change], sigma, rate)
        assert exact <= limit * (1 + 1e-6) + 1e-12


def test_it_is_nearly_sharp_with_much_noise_and_the_bound_for_dp_sgd_is_too_small() -> None:
    sigma, rate, order = 3.0, 0.05, 4.0
    exact = divergence(order, *CHANGES["turned round"], sigma, rate)
    assert exact <= SampledSilosEvent(sigma, rate, 1).rdp([order])[0] < 1.3 * exact
    assert exact > 3 * SubsampledGaussianEvent(sigma, rate, 1).rdp([order])[0]


def test_where_all_are_sampled_it_is_the_gaussian_of_twice_the_length() -> None:
    nearly = SampledSilosEvent(3.0, 1 - 1e-9, 5).rdp(ORDERS)
    np.testing.assert_allclose(nearly, GaussianEvent(3.0, 4, 5).rdp(ORDERS), rtol=1e-6)


def test_it_costs_more_with_more_rounds_more_silos_and_less_noise() -> None:
    costs = [
        SampledSilosEvent(*settings).rdp(ORDERS)
        for settings in ((4.0, 0.1, 5), (4.0, 0.1, 6), (4.0, 0.2, 6), (3.0, 0.2, 6))
    ]
    assert all((less < more).all() for less, more in itertools.pairwise(costs))


def test_json_keeps_it_and_it_fits_a_budget_of_renyi_curves_only() -> None:
    event = SampledSilosEvent(4.0, 0.1, 10, 2)
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event
    assert event.relations == EVERY_RELATION and event.times(3).count == 6
    assert event_cost(BudgetKind.RDP, event, orders=(4.0,))[0] > 0
    for kind in (BudgetKind.GAUSSIAN, BudgetKind.ZCDP):
        with pytest.raises(BadInput, match="does not fit a budget"):
            event_cost(kind, event)


@pytest.mark.parametrize("wrong", [(0.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.0, 1), (1.0, 0.1, 0)], ids=str)
def test_impossible_events_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(BadInput):
        SampledSilosEvent(*wrong)
