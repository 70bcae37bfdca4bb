"""Federated averaging: no client moves the sum by more than its share, exactly; noise as charged; without noise it is plain FedAvg."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from opacus.accountants.analysis.rdp import compute_rdp
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.events import GaussianEvent, SubsampledGaussianEvent
from stillhouse.platform.privacy.neighbours import EVERY_RELATION, Relation
from stillhouse.platform.privacy.sampled_silos_event import SampledSilosEvent
from stillhouse.platform.training.dpsgd import Grid
from stillhouse.platform.training.fedavg import Client, FedAvg, federate, units
from support.noise import RepeatableBytes, ZeroNoise, repeatable_noise

WIDTH = 8
ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
MODERATE = st.floats(-100, 100, width=32)
# A grid so fine that rounding does not show.
FINE = 0.002


def fixed(updates: np.ndarray) -> list[Client]:
    """Clients that send the same update whatever they are given."""
    rows = torch.from_numpy(np.asarray(updates, np.float32))
    return [lambda weights, number, row=row: row for row in rows]


class Counted:
    """Keeps the sum of whole units that the noise is added to, in place of noise."""

    gdp = True

    def gaussian(self, sigma: float, shape: object) -> np.ndarray:
        return np.zeros(shape, dtype=np.int64)  # type: ignore[call-overload]

    def laplace(self, scale: float, shape: object) -> np.ndarray:
        raise AssertionError("no Laplace noise here")


def sum_of(updates: np.ndarray, settings: FedAvg, noise_multiplier: float) -> list[int]:
    """The exact sum in units: weights from zero, one round, divided out again."""
    grid = Grid(settings.clip_norm, noise_multiplier, WIDTH)
    moved = federate(torch.zeros(WIDTH), fixed(updates), settings, noise_multiplier=noise_multiplier, noise=Counted())
    return [round(float(value) * len(updates) / grid.unit) for value in moved]


VECTORS = st.one_of(arrays(np.float32, (5, WIDTH), elements=ANY), arrays(np.float32, (5, WIDTH), elements=MODERATE))


@settings(max_examples=60, deadline=None)
@given(VECTORS, arrays(np.float32, (WIDTH,), elements=ANY), st.integers(0, 4), st.sampled_from([0.01, 1.0, 30.0]))
@example(np.full((5, WIDTH), np.inf, np.float32), np.full(WIDTH, np.nan, np.float32), 0, 1.0)
@example(np.ones((5, WIDTH), np.float32), -np.full(WIDTH, 3e38, np.float32), 1, 1.0)
@example(np.full((5, WIDTH), 10.0, np.float32), np.full(WIDTH, -10.0, np.float32), 2, 1.0)
def test_one_clients_data_move_the_sum_by_at_most_twice_the_clipping_norm(
    updates: np.ndarray, instead: np.ndarray, who: int, clip_norm: float
) -> None:
    """In whole numbers, exactly: squared, 4 (sigma / z)^2 units at most, as the event says."""
    noise_multiplier = 2.0
    options = FedAvg(rounds=1, clip_norm=clip_norm)
    grid = Grid(clip_norm, noise_multiplier, WIDTH)
    other = updates.copy()
    other[who] = instead
    moved = sum(
        (a - b) ** 2
        for a, b in zip(
            sum_of(updates, options, noise_multiplier), sum_of(other, options, noise_multiplier), strict=True
        )
    )
    event = options.event(noise_multiplier)
    assert isinstance(event, GaussianEvent)
    assert moved <= event.squared_sensitivity * grid.limit
    assert grid.limit <= (grid.sigma / noise_multiplier) ** 2
    # Taken out altogether, it moves by half of that at most.
    other[who] = 0
    gone = sum(
        (a - b) ** 2
        for a, b in zip(
            sum_of(updates, options, noise_multiplier), sum_of(other, options, noise_multiplier), strict=True
        )
    )
    assert gone <= grid.limit


def test_the_bound_is_reached_by_a_client_that_turns_round() -> None:
    """Control: an event of squared sensitivity 1, as for a record that is not there, would promise too much."""
    options, noise_multiplier = FedAvg(rounds=1), 2.0
    updates = np.eye(3, WIDTH, dtype=np.float32) * 10
    other = updates.copy()
    other[1] *= -1
    moved = sum(
        (a - b) ** 2
        for a, b in zip(
            sum_of(updates, options, noise_multiplier), sum_of(other, options, noise_multiplier), strict=True
        )
    )
    limit = Grid(1.0, noise_multiplier, WIDTH).limit
    assert 3.9 * limit < moved <= 4 * limit


def spread(noise_multiplier: float, charged_for: float, clip_norm: float) -> float:
    """Standard deviation of a one-round training's result times the clients, in the unit that was charged for."""
    options = FedAvg(rounds=1, clip_norm=clip_norm)
    clients, width = 4, 5000
    silent = [lambda weights, number: torch.zeros(width)] * clients
    moved = federate(torch.zeros(width), silent, options, noise_multiplier=noise_multiplier, noise=repeatable_noise(3))
    return float(moved.std()) * clients / (charged_for * clip_norm)


@pytest.mark.parametrize("clip_norm", [0.5, 3.0])
def test_noise_is_as_wide_as_was_charged_for(clip_norm: float) -> None:
    """5,000 numbers: a standard deviation of 1 % of the estimate. Control: half the noise is found out."""
    assert spread(2.5, 2.5, clip_norm) == pytest.approx(1.0, abs=0.05)
    assert abs(spread(1.25, 2.5, clip_norm) - 1.0) > 0.4


def test_every_round_has_noise_of_its_own_and_no_seed_decides_it() -> None:
    silent = [lambda weights, number: torch.zeros(WIDTH)]
    calls = ZeroNoise()
    federate(torch.zeros(WIDTH), silent, FedAvg(rounds=7), noise_multiplier=1.0, noise=calls)
    assert len(calls.calls) == 7 and {shape for _, _, shape in calls.calls} == {(WIDTH,)}
    torch.manual_seed(0)
    first = federate(torch.zeros(WIDTH), silent, FedAvg(rounds=1), noise_multiplier=1.0)
    torch.manual_seed(0)
    second = federate(torch.zeros(WIDTH), silent, FedAvg(rounds=1), noise_multiplier=1.0)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("noise", "rate", "rounds"), [(0.9, 0.5, 3), (4.0, 0.1, 50), (30.0, 0.02, 400)], ids=str)
def test_the_cost_of_a_sample_is_opacus_for_half_the_squared_noise_twice(
    noise: float, rate: float, rounds: int
) -> None:
    """Oracle: Opacus' curve."""
    orders = [2.0, 3.0, 6.0, 12.0, 24.0]
    expected = compute_rdp(q=rate, noise_multiplier=noise / math.sqrt(2), steps=2 * rounds, orders=orders)
    np.testing.assert_allclose(FedAvg(rounds=rounds, sample_rate=rate).event(noise).rdp(orders), expected, rtol=1e-6)


def test_the_cost_of_all_clients_is_the_exact_gaussian() -> None:
    event = FedAvg(rounds=25).event(20.0)
    assert event == GaussianEvent(20.0, 4, 25)
    # mu = 2 sqrt(25) / 20; a single Gaussian of noise multiplier 2 costs the same.
    assert plan_epsilon([event], 1e-5) == pytest.approx(plan_epsilon([GaussianEvent(2.0)], 1e-5), rel=1e-12)


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_a_whole_client_less_is_another_relation_and_a_smaller_figure(rate: float) -> None:
    options = FedAvg(rounds=10, sample_rate=rate)
    record, client = options.event(5.0), options.without_a_client(5.0)
    assert isinstance(record, GaussianEvent if rate == 1 else SampledSilosEvent)
    assert isinstance(client, GaussianEvent if rate == 1 else SubsampledGaussianEvent)
    assert (client.rdp([2.0, 4.0, 16.0]) < record.rdp([2.0, 4.0, 16.0])).all()
    assert record.relations == EVERY_RELATION and client.relations == {Relation.ADD_OR_REMOVE_ONE}


def quadratic(target: Sequence[float], steps: int = 3) -> Client:
    """A client that walks half of the way to its target, so many times."""

    def update(weights: torch.Tensor, number: int) -> torch.Tensor:
        return (torch.tensor(target) - weights) * (1 - 0.5**steps)

    return update


def test_without_noise_it_is_plain_federated_averaging() -> None:
    """Against McMahan's algorithm written out; a fine grid and no clipping give the same up to rounding."""
    targets = np.random.default_rng(0).normal(size=(6, WIDTH)).astype(np.float32)
    clients = [quadratic(row) for row in targets.tolist()]
    weights = torch.zeros(WIDTH, dtype=torch.float64)
    for _ in range(4):
        weights = torch.stack([weights + client(weights.float(), 0).double() for client in clients]).mean(0)
    plain = federate(torch.zeros(WIDTH), clients, FedAvg(rounds=4), noise_multiplier=None)
    torch.testing.assert_close(plain, weights, rtol=1e-6, atol=1e-6)
    rounded = federate(
        torch.zeros(WIDTH), clients, FedAvg(rounds=4, clip_norm=100.0), noise_multiplier=FINE, noise=ZeroNoise()
    )
    torch.testing.assert_close(rounded, weights, rtol=0, atol=1e-3)


def test_momentum_step_and_average_are_those_of_the_text() -> None:
    clients = [quadratic([1.0] * WIDTH, steps=1)]
    options = FedAvg(rounds=3, learning_rate=0.7, momentum=0.4, averaging=0.5)
    weight = momentum = average = 0.0
    for _ in range(3):
        momentum = 0.4 * momentum + 0.6 * (1 - weight) / 2
        weight += 0.7 * momentum
        average = 0.5 * average + 0.5 * weight
    found = federate(torch.zeros(WIDTH), clients, options, noise_multiplier=None)
    assert found.tolist() == pytest.approx([average / (1 - 0.5**3)] * WIDTH, rel=1e-6)


def test_a_sum_over_a_sample_is_divided_by_the_expected_number() -> None:
    asked: list[int] = []

    def client(number: int) -> Client:
        def update(weights: torch.Tensor, turn: int) -> torch.Tensor:
            asked.append(number)
            return torch.ones(WIDTH)

        return update

    options = FedAvg(rounds=40, sample_rate=0.3)
    found = federate(
        torch.zeros(WIDTH),
        [client(i) for i in range(50)],
        options,
        noise_multiplier=None,
        bytes_source=RepeatableBytes(1),
    )
    assert found.tolist() == pytest.approx([len(asked) / 15] * WIDTH)
    # 2,000 draws at 0.3: a standard deviation of 20. And it is not the same clients each time.
    assert abs(len(asked) - 600) < 100 and len(set(asked)) == 50


def test_an_update_that_is_not_finite_counts_as_zero() -> None:
    grid = Grid(1.0, 1.0, 3)
    for bad in (math.nan, math.inf, -math.inf):
        assert units(grid, torch.tensor([1.0, bad, 0.0])).tolist() == [0, 0, 0]


def test_what_does_not_fit_is_refused() -> None:
    one = [lambda weights, number: torch.zeros(WIDTH)]
    for wrong in (
        {"sample_rate": 1.5},
        {"sample_rate": 0.0},
        {"momentum": 1.0},
        {"averaging": -0.1},
        {"rounds": 0},
        {"clip_norm": 0.0},
    ):
        with pytest.raises(BadInput):
            FedAvg(**wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least one client"):
        federate(torch.zeros(WIDTH), [], FedAvg(), noise_multiplier=1.0)
    with pytest.raises(BadInput, match="an update of shape"):
        federate(torch.zeros(WIDTH + 1), one, FedAvg(), noise_multiplier=1.0)
    discrete = ZeroNoise()
    discrete.gdp = False
    with pytest.raises(BadInput, match="continuous Gaussian"):
        federate(torch.zeros(WIDTH), one, FedAvg(), noise_multiplier=1.0, noise=discrete)
    far = [lambda weights, number: torch.full((WIDTH,), 1e300, dtype=torch.float64)]
    with pytest.raises(RunFailed, match="not finite"):
        federate(torch.zeros(WIDTH), far, FedAvg(rounds=2, learning_rate=1e10), noise_multiplier=None)
