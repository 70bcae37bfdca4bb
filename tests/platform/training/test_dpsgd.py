"""DP-SGD: one record moves a sum by no more than its share, exactly; batches and noise are not seeded; it is SGD otherwise."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from opacus.accountants import RDPAccountant
from stillhouse.platform.errors import BadInput, InternalBug, RunFailed
from stillhouse.platform.privacy.accounting import rdp_epsilon
from stillhouse.platform.privacy.calibration import dpsgd_noise_multiplier
from stillhouse.platform.privacy.noise import Noise
from stillhouse.platform.privacy.wide_noise import DIRECT, levels
from stillhouse.platform.training import dpsgd
from stillhouse.platform.training.dpsgd import (
    MOST_UNITS,
    SIGMA_UNITS,
    DpSgd,
    Grid,
    dp_sgd,
    poisson_sample,
    refuse_unless_trainable,
)
from stillhouse.platform.training.progress import Bar
from support.noise import RepeatableBytes, ZeroNoise, repeatable_noise
from torch import nn
from torch.nn import functional as F

SINGLE = st.floats(allow_nan=True, allow_infinity=True, width=32)
MODERATE = st.floats(-100, 100, width=32)
RECORDS = 240
# One step of length 1 without averaging: the weights move by minus the sum of gradients over the batch's expected size.
STEP = {"steps": 1, "learning_rate": 1.0, "momentum": 0.0, "averaging": 0.0}
# A grid so fine that rounding does not show.
FINE = 0.002

Augment = Callable[[torch.Tensor], torch.Tensor]


def squared_lengths(units: torch.Tensor) -> list[int]:
    """In Python's integers: exact."""
    assert torch.equal(units, units.round())
    return [sum(int(unit) ** 2 for unit in row) for row in units.tolist()]


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(arrays(np.float32, (3, 6), elements=SINGLE), arrays(np.float32, (3, 6), elements=MODERATE)),
    st.sampled_from([1e-3, 1.0, 50.0]),
    st.one_of(st.floats(0.001, 500.0), st.floats(500.0, 1e9)),
)
@example(np.full((3, 6), np.nan, np.float32), 1.0, 1.0)
@example(np.full((3, 6), -np.inf, np.float32), 1.0, 1.0)
@example(np.full((3, 6), np.finfo(np.float32).max, np.float32), 1.0, 1.0)
@example(np.full((3, 6), np.finfo(np.float32).tiny, np.float32), 1.0, 1.0)
def test_no_row_is_longer_than_the_limit(rows: np.ndarray, clip_norm: float, noise_multiplier: float) -> None:
    grid = Grid(clip_norm, noise_multiplier, 6)
    units = grid.round_(torch.from_numpy(rows.copy()))
    for squared in squared_lengths(units):
        assert squared * Fraction(noise_multiplier) ** 2 <= grid.sigma**2


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.floats(1.0, 2.5), st.integers(0, 2**32 - 1))
def test_no_row_is_longer_than_the_limit_where_rounding_lengthens(width: int, fineness: float, seed: int) -> None:
    """All coordinates of a row are near the same half of a unit, so that they are rounded up together."""
    grid = Grid(1.0, SIGMA_UNITS / (fineness * math.sqrt(width) + 5), width)
    near = 1 + 0.02 * torch.randn(50, width, generator=torch.Generator().manual_seed(seed))
    rows = near * torch.linspace(0.3, 3.0, 50)[:, None] / math.sqrt(width)
    assert max(squared_lengths(grid.round_(rows))) <= grid.limit


@settings(max_examples=300)
@given(st.floats(2.0**-13, 500.0))
@example(2.0**-13)
@example(3.0)
def test_the_limit_is_the_largest_whole_number_within_the_sensitivity(noise_multiplier: float) -> None:
    exact = Fraction(SIGMA_UNITS) / Fraction(noise_multiplier)
    assert Grid(1.0, noise_multiplier, 1).limit <= exact**2 < Grid(1.0, noise_multiplier, 1).limit + 1


@pytest.mark.parametrize(("width", "root"), [(256, 32), (16, 2**15)], ids=["single precision", "double precision"])
def test_a_row_exactly_on_the_limit_is_kept_and_one_just_above_is_cut(width: int, root: int) -> None:
    row = torch.full((1, width), 100.0)
    on = Grid(1.0, SIGMA_UNITS / root, width)
    assert on.limit == root**2
    assert squared_lengths(on.round_(row.clone())) == [root**2]
    above = Grid(1.0, math.nextafter(SIGMA_UNITS / root, math.inf), width)
    assert above.limit == root**2 - 1
    units = above.round_(row.clone())
    assert torch.equal(units, torch.full((1, width), root / math.sqrt(width) - 1))


@pytest.mark.parametrize("noise_multiplier", [0.001, 0.3, 0.7, 4.0])
def test_rounding_keeps_direction_and_length(noise_multiplier: float) -> None:
    rows = torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    rows *= torch.logspace(-2, 2, 200)[:, None] / rows.norm(dim=1, keepdim=True)
    grid = Grid(1.0, noise_multiplier, 40)
    assert grid.unit == pytest.approx(noise_multiplier / SIGMA_UNITS)
    units = grid.round_(rows.clone()).double()
    short = rows.norm(dim=1) <= 1
    # Half a unit by rounding, the rest for the length that is kept free.
    assert float((units[short] * grid.unit - rows[short]).abs().max()) <= 2.0 * grid.unit + 1e-6
    lengths = units[~short].norm(dim=1) * grid.unit
    assert float(lengths.min()) > 0.99 and float(lengths.max()) <= 1
    assert float(F.cosine_similarity(units[~short], rows[~short].double()).min()) > 0.999


@pytest.mark.parametrize(
    ("noise_multiplier", "units_a_coordinate", "cosine"),
    [(34.5, 0.5, 0.864), (19.4, 1, 0.961), (10.06, 2, 0.990), (5.09, 4, 0.997)],
)
def test_rounding_costs_what_is_said(noise_multiplier: float, units_a_coordinate: float, cosine: float) -> None:
    rows = torch.randn(40, 10_000, generator=torch.Generator().manual_seed(0))
    units = Grid(1.0, noise_multiplier, 10_000).round_(rows.clone())
    mean_square = float(units.double().square().mean())
    # Rounding adds its own twelfth of a squared unit where a coordinate has a unit or more.
    assert math.sqrt(mean_square - 1 / 12) == pytest.approx(units_a_coordinate, rel=0.02)
    assert float(F.cosine_similarity(units, rows).mean()) == pytest.approx(cosine, abs=0.001)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.9e19])
def test_a_row_that_is_not_finite_or_too_long_is_empty_and_the_others_stay(bad: float) -> None:
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    grid = Grid(1.0, 1.0, 6)
    expected = grid.round_(rows.clone())
    rows[1, 2] = bad
    units = grid.round_(rows)
    assert torch.equal(units[1], torch.zeros(6))
    assert torch.equal(units[[0, 2]], expected[[0, 2]]) and bool(expected[1].any())


def test_a_long_row_within_single_precision_counts() -> None:
    rows = torch.tensor([[3e18, -4e18]])
    assert torch.equal(Grid(1.0, 1.0, 2).round_(rows) > 0, torch.tensor([[True, False]]))


def test_rows_are_rounded_in_place() -> None:
    rows = torch.randn(3, 6)
    assert Grid(1.0, 1.0, 6).round_(rows) is rows
    assert torch.equal(rows, rows.round())


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([2.0**-13, 0.001, 0.5, 3.0]), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_sums_are_exact(noise_multiplier: float, count: int, seed: int) -> None:
    largest = math.isqrt(Grid(1.0, noise_multiplier, 5).limit)
    rng = np.random.default_rng(seed)
    # Mostly of one sign, so that sums grow.
    units = rng.integers(-largest // 10, largest, (count, 5), endpoint=True)
    found = Grid(1.0, noise_multiplier, 5).sum(torch.from_numpy(units.astype(np.float32)))
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), units.sum(0))


def test_a_sum_just_beyond_single_precision_is_exact() -> None:
    grid = Grid(1.0, 0.5, 1)
    largest = math.isqrt(grid.limit)
    units = torch.full((2**24 // largest + 1, 1), float(largest))
    units[-1] = 1.0
    assert grid.sum(units).tolist() == [2**24 + 1]


def test_a_grid_that_would_be_too_coarse_is_made_finer() -> None:
    assert Grid(1.0, 3.4, 1_000_000).sigma == SIGMA_UNITS
    for noise_multiplier, width in ((3.7, 1_000_000), (18.3, 3_400_000), (1e6, 6), (155.0, 50_000_000)):
        grid = Grid(1.0, noise_multiplier, width)
        # A power of two times the table's, the least that leaves two units a coordinate.
        assert grid.sigma % SIGMA_UNITS == 0 and math.log2(grid.sigma).is_integer() and grid.sigma > SIGMA_UNITS
        units_a_coordinate = grid.sigma / noise_multiplier / math.sqrt(width)
        assert 2 < units_a_coordinate < 2 * 3.6
        assert grid.unit * grid.sigma == pytest.approx(noise_multiplier), "the noise itself is what it was"


@given(st.floats(0.01, 1e6), st.integers(1, 50_000_000))
def test_a_record_moves_a_sum_by_no_more_than_the_noise_was_charged_for(noise_multiplier: float, width: int) -> None:
    """limit <= (sigma / z)^2, exactly, on every grid; and no finer one is taken than is needed, so small models keep their bits."""
    grid = Grid(1.0, noise_multiplier, width)
    assert grid.limit <= (Fraction(grid.sigma) / Fraction(noise_multiplier)) ** 2 < grid.limit + 1
    coarse = math.floor((Fraction(SIGMA_UNITS) / Fraction(noise_multiplier)) ** 2)
    enough = coarse - width / 12 - 5 * math.sqrt(coarse / 3) >= width / 4
    assert (grid.sigma == SIGMA_UNITS) == enough


def test_a_finer_grid_keeps_directions_where_the_table_s_would_lose_them() -> None:
    rows = torch.randn(20, 100_000, generator=torch.Generator().manual_seed(0))
    grid = Grid(1.0, 30.0, 100_000)
    units = grid.round_(rows.clone())
    assert grid.sigma == 16 * SIGMA_UNITS and max(squared_lengths(units)) <= grid.limit
    assert float(F.cosine_similarity(units, rows).min()) > 0.99
    assert float((units.double().norm(dim=1) * grid.unit).min()) > 0.97


def test_wide_noise_is_as_wide_as_was_charged_for() -> None:
    """A model at a multiplier for which the table's grid is too coarse: what moves the weights is noise of clip_norm times it."""
    inputs, labels = problem()
    noise_multiplier, batch = 3000.0, 20
    grid = Grid(1.0, noise_multiplier, len(vector(model())))
    assert grid.sigma > SIGMA_UNITS
    noise = repeatable_noise(4)
    options = DpSgd(batch_size=batch, physical_batch=64, **STEP)
    moved = torch.stack(
        [
            train(model().double(), inputs.double(), labels, options, noise_multiplier=noise_multiplier, noise=noise)
            for _ in range(20)
        ]
    )
    # 1,500 numbers: a standard deviation of 1.8 % of the estimate.
    assert float(moved.std()) == pytest.approx(noise_multiplier, rel=0.08)
    silent = ZeroNoise()
    train(model(), inputs, labels, options, noise_multiplier=noise_multiplier, noise=silent)
    assert len(silent.calls) == levels(grid.sigma) and all(width <= DIRECT for _, width, _ in silent.calls)


def test_a_grid_too_coarse_even_so_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpsgd, "MOST_UNITS", 2 * SIGMA_UNITS)
    with pytest.raises(BadInput, match=r"1000000 parameters with a noise multiplier of 9\.0: .*lost in rounding"):
        Grid(1.0, 9.0, 1_000_000)
    with pytest.raises(BadInput, match="18 parameters with a noise multiplier of 2000"):
        refuse_unless_trainable(nn.Linear(5, 3), DpSgd(), noise_multiplier=2000.0)


def test_the_finest_grid_s_sums_are_exact() -> None:
    """17 standard deviations and a million rows of the longest length are whole numbers that double precision holds."""
    assert 17 * MOST_UNITS + 1_000_000 * 2**24 < 2**53


def test_a_noise_multiplier_next_to_nothing_is_refused() -> None:
    inputs, labels = problem()
    for too_small in (2.0**-13 * (1 - 1e-12), 1e-300):
        with pytest.raises(BadInput, match=r"is too small. To mend it: use 0.001 or more"):
            Grid(1.0, too_small, 6)
        with pytest.raises(BadInput, match="is too small"):
            dp_sgd(nn.Linear(5, 3), inputs, labels, DpSgd(batch_size=20), noise_multiplier=too_small)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_impossible_grids_are_refused(wrong: float) -> None:
    inputs, labels = problem()
    with pytest.raises(BadInput, match="noise_multiplier must be"):
        Grid(1.0, wrong, 6)
    with pytest.raises(BadInput, match="noise_multiplier must be"):
        dp_sgd(nn.Linear(5, 3), inputs, labels, DpSgd(batch_size=20), noise_multiplier=wrong)
    with pytest.raises(BadInput, match="clip_norm must be"):
        Grid(wrong, 1.0, 6)


def test_each_record_is_sampled_by_itself_and_at_the_rate() -> None:
    counts = np.zeros(2000)
    for _ in range(300):
        places = poisson_sample(2000, 0.1).numpy()
        assert (np.diff(places) > 0).all()
        counts[places] += 1
    assert abs(counts.mean() / 300 - 0.1) < 5 * math.sqrt(0.09 / 600_000)
    # Sizes vary as those of independent draws do.
    assert counts.var() == pytest.approx(300 * 0.09, rel=0.25)


def test_a_record_is_taken_exactly_below_the_threshold() -> None:
    threshold = math.floor(Fraction(0.1) * 2**64)
    drawn = np.array([0, threshold - 1, threshold, 2**64 - 1], np.uint64).tobytes()
    assert poisson_sample(4, 0.1, lambda count: drawn).tolist() == [0, 1]
    assert poisson_sample(4, 1.0, lambda count: drawn).tolist() == [0, 1, 2, 3]
    assert poisson_sample(1, math.nextafter(1.0, 0), lambda count: b"\xff" * count).tolist() == []


def test_too_few_random_bytes_are_a_bug() -> None:
    inputs, labels = problem()
    net = model()
    with pytest.raises(InternalBug, match="too few bytes"):
        poisson_sample(4, 0.5, lambda count: bytes(count - 1))
    with pytest.raises(InternalBug, match="too few bytes"):
        train(net, inputs, labels, DpSgd(batch_size=20, steps=2), bytes_source=lambda count: bytes(count - 8))
    assert torch.equal(vector(net), vector(model()))


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (RECORDS,), generator=generator)
    return torch.eye(5)[labels] + 0.3 * torch.randn(RECORDS, 5, generator=generator), labels


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


class Twice(nn.Module):
    """A layer that a record goes through two times."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.last = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.again(torch.tanh(self.again(inputs)))))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def vector(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().double()


def train(
    net: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    options: DpSgd,
    *,
    noise_multiplier: float = FINE,
    seed: int = 5,
    augment: Augment | None = None,
    bytes_source: Callable[[int], bytes] | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Train (without noise, unless one is given) on repeatable batches; return how far the weights went back, times the batch size."""
    start = vector(net)
    dp_sgd(
        net,
        inputs,
        labels,
        options,
        noise_multiplier=noise_multiplier,
        noise=noise or ZeroNoise(),
        augment=augment,
        bytes_source=bytes_source or RepeatableBytes(seed),
    )
    return (start - vector(net)) * options.batch_size


def clipped_sum(
    net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, places: Sequence[int], clip_norm: float
) -> tuple[torch.Tensor, list[float]]:
    """The sum of clipped gradients, one record after the other, in double precision; and their lengths before clipping."""
    net = copy.deepcopy(net).double()
    total, lengths = torch.zeros(len(vector(net)), dtype=torch.float64), []
    for place in places:
        loss = F.cross_entropy(net(inputs[place : place + 1].double()), labels[place : place + 1])
        gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(net.parameters())))
        lengths.append(float(gradient.norm()))
        total += gradient * min(1, clip_norm / lengths[-1])
    return total, lengths


@pytest.mark.parametrize("make", [model, Twice, convolution])
def test_a_step_is_the_sum_of_gradients_clipped_one_by_one(make: Callable[[], nn.Module]) -> None:
    inputs, labels = problem()
    inputs *= torch.logspace(-1, 1, RECORDS)[:, None]
    torch.manual_seed(0)
    net = make()
    places = poisson_sample(RECORDS, 100 / RECORDS, RepeatableBytes(5)).tolist()
    half = float(np.median(clipped_sum(net, inputs, labels, places, math.inf)[1]))
    expected, lengths = clipped_sum(net, inputs, labels, places, half)
    assert min(lengths) < 0.95 * half and max(lengths) > 1.1 * half and float(expected.norm()) > 1
    # Neither whole batches of 40, nor as many as expected.
    assert len(places) % 40 and len(places) != 100
    found = train(net, inputs, labels, DpSgd(batch_size=100, clip_norm=half, physical_batch=40, **STEP))
    torch.testing.assert_close(found, expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_without_noise_and_clipping_it_is_gradient_descent(averaging: float) -> None:
    inputs, labels = problem()
    trained, plain = model(), model()
    options = DpSgd(batch_size=RECORDS, steps=6, learning_rate=0.5, momentum=0.5, clip_norm=8.0, averaging=averaging)
    train(trained, inputs, labels, options)
    velocity = [torch.zeros_like(p) for p in plain.parameters()]
    average = [torch.zeros_like(p) for p in plain.parameters()]
    for _ in range(6):
        loss = F.cross_entropy(plain(inputs), labels)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        with torch.no_grad():
            for v, a, p, g in zip(velocity, average, plain.parameters(), gradients, strict=True):
                v.mul_(0.5).add_(0.5 * g)
                p.sub_(0.5 * v)
                a.mul_(averaging).add_((1 - averaging) * p)
    for a, p in zip(average, trained.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), a / (1 - averaging**6), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("noise_multiplier", [0.05, 4.0, 100.0])
def test_a_record_moves_the_sum_by_at_most_the_limit_in_whole_units(noise_multiplier: float) -> None:
    """In double precision the way of the weights tells the sum to the unit."""
    inputs, labels = problem()
    inputs[7] *= 100
    options = DpSgd(batch_size=RECORDS, physical_batch=64, **STEP)
    sums = []
    for record in (inputs[7], torch.full((5,), math.nan)):
        held = inputs.clone()
        held[7] = record
        moved = train(model().double(), held.double(), labels, options, noise_multiplier=noise_multiplier)
        grid = Grid(options.clip_norm, noise_multiplier, len(moved))
        units = moved / grid.unit
        assert float((units - units.round()).abs().max()) < 1e-3
        sums.append(units.round())
    squared = squared_lengths((sums[0] - sums[1])[None])[0]
    assert 0.5 * grid.limit < squared <= grid.limit


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_a_record_that_is_not_finite_counts_as_empty(missing: float) -> None:
    inputs, labels = problem()
    options = DpSgd(batch_size=RECORDS, physical_batch=50, **STEP)
    others = [place for place in range(RECORDS) if place not in (3, 77)]
    expected, _ = clipped_sum(model(), inputs, labels, others, 1.0)
    inputs[3] = missing
    inputs[77, 1] = missing
    torch.testing.assert_close(train(model(), inputs, labels, options), expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("physical_batch", [1, 7, 1000])
def test_the_physical_batch_changes_nothing(physical_batch: int) -> None:
    inputs, labels = problem()
    options = {"batch_size": 100, "steps": 4, "learning_rate": 2.0}
    net, other = model(), model()
    train(net, inputs, labels, DpSgd(**options, physical_batch=60))
    train(other, inputs, labels, DpSgd(**options, physical_batch=physical_batch))
    assert float((vector(net) - vector(model())).norm()) > 0.1
    torch.testing.assert_close(vector(other), vector(net), atol=1e-5, rtol=0)


def test_sampled_rows_are_augmented() -> None:
    inputs, labels = problem()
    seen: list[torch.Tensor] = []

    def negative(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.clone())
        return -batch

    options = DpSgd(batch_size=100, physical_batch=30, **STEP)
    moved = train(model(), inputs, labels, options, augment=negative)
    places = poisson_sample(RECORDS, options.sample_rate(RECORDS), RepeatableBytes(5))
    assert [len(batch) for batch in seen[:-1]] == [30] * (len(places) // 30)
    assert torch.equal(torch.cat(seen), inputs[places])
    assert torch.equal(moved, train(model(), -inputs, labels, options))
    assert not torch.allclose(moved, train(model(), inputs, labels, options), atol=0.1)


def test_noise_is_asked_for_in_every_step_and_coordinate() -> None:
    inputs, labels = problem()
    noise = ZeroNoise()
    net = model()
    dp_sgd(net, inputs, labels, DpSgd(batch_size=20, steps=7), noise_multiplier=2.0, noise=noise)
    assert noise.calls == [("gaussian", SIGMA_UNITS, (len(vector(net)),))] * 7


def test_noise_is_added_in_units() -> None:
    class Ones(ZeroNoise):
        def gaussian(self, sigma: float, shape: int | tuple[int, ...]) -> np.ndarray:
            return super().gaussian(sigma, shape) + round(sigma)

    inputs, labels = problem()
    net = model()
    options = DpSgd(batch_size=20, clip_norm=0.5, **STEP)
    dp_sgd(net, inputs, labels, options, noise_multiplier=3.0, noise=Ones(), bytes_source=lambda count: b"\xff" * count)
    # Nothing is sampled, so there is one standard deviation alone: the multiplier times the clipping norm.
    torch.testing.assert_close((vector(model()) - vector(net)) * 20, torch.full_like(vector(net), 1.5))


def test_discrete_noise_is_refused() -> None:
    class Discrete(ZeroNoise):
        gdp = False

    inputs, labels = problem()
    noise, net = Discrete(), model()
    with pytest.raises(BadInput, match="discrete noise"):
        dp_sgd(net, inputs, labels, DpSgd(batch_size=20), noise_multiplier=1.0, noise=noise)
    assert not noise.calls and torch.equal(vector(net), vector(model()))


def test_empty_batches_leave_the_weights() -> None:
    inputs, labels = problem()
    net = model()
    train(net, inputs, labels, DpSgd(batch_size=20, steps=2), bytes_source=lambda count: b"\xff" * count)
    torch.testing.assert_close(vector(net), vector(model()))


def test_seeds_do_not_make_it_repeat() -> None:
    inputs, labels = problem()
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)
        net = model()
        dp_sgd(net, inputs, labels, DpSgd(batch_size=RECORDS, steps=2), noise_multiplier=2.0)
        results.append(vector(net))
    assert not torch.equal(results[0], results[1])


def test_it_learns_within_a_small_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (3000,), generator=generator)
    inputs = torch.eye(5)[labels] + 0.3 * torch.randn(3000, 5, generator=generator)
    options = DpSgd(batch_size=300, steps=60, learning_rate=4.0)
    multiplier = dpsgd_noise_multiplier(epsilon=2.0, delta=1e-5, sample_rate=0.1, steps=60)
    net = nn.Linear(5, 3)
    dp_sgd(net, inputs, labels, options, noise_multiplier=multiplier)
    assert float((net(inputs).argmax(1) == labels).double().mean()) > 0.9


def test_a_run_is_told_how_many_steps_are_done_and_nothing_else() -> None:
    class Counting:
        """Has no other way to be told something."""

        def __init__(self) -> None:
            self.bars: list[Bar] = []

        @contextmanager
        def progress(self, total: int | None, name: str) -> Iterator[Bar]:
            self.bars.append(Bar(name, total))
            yield self.bars[-1]

    inputs, labels = problem()
    run = Counting()
    options = DpSgd(batch_size=20, steps=3)
    dp_sgd(model(), inputs, labels, options, noise_multiplier=2.0, noise=ZeroNoise(), run=run, name="teacher")  # type: ignore[arg-type]
    assert [(bar.name, bar.total, bar.done, bar.text) for bar in run.bars] == [("teacher", 3, 3, "")]


def test_frozen_parameters_are_left_alone() -> None:
    inputs, labels = problem()
    net, before = model(), model()
    net[0].requires_grad_(False)
    noise = ZeroNoise()
    dp_sgd(net, inputs, labels, DpSgd(batch_size=100, steps=2), noise_multiplier=2.0, noise=noise)
    assert torch.equal(vector(net[0]), vector(before[0]))
    assert not torch.allclose(vector(net[2]), vector(before[2]), atol=0.01)
    assert [shape for _, _, shape in noise.calls] == [(27,), (27,)]
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    with pytest.raises(BadInput, match="no trainable parameters"):
        dp_sgd(net.requires_grad_(False), inputs, labels, DpSgd(batch_size=100), noise_multiplier=2.0)


class Spare(nn.Module):
    """Has a layer that the answers do not need."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.spare(inputs)
        return self.used(inputs)


class Prompted(nn.Module):
    """Adds what a layer says of one constant row to every record."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.own = nn.Linear(5, 3)
        self.common = self.own if tied else nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.own(inputs) + self.common(torch.ones(1, 5, dtype=inputs.dtype))


def test_a_trainable_parameter_without_part_in_the_answers_is_refused() -> None:
    inputs, labels = problem()
    net = Spare()
    options = DpSgd(batch_size=100, steps=2)
    with pytest.raises(BadInput, match=r"no part in the model's answers\. To mend it: freeze it"):
        train(net, inputs, labels, options)
    net.spare.requires_grad_(False)
    train(net, inputs, labels, options)


@pytest.mark.parametrize("tied", [False, True])
def test_a_layer_that_is_given_one_row_for_all_records_is_refused(tied: bool) -> None:
    """Its gradient is a sum over records, and would pass for each record's, or for the first one's."""
    inputs, labels = problem()
    with pytest.raises(BadInput, match="other rows than the records'"):
        train(Prompted(tied=tied), inputs, labels, DpSgd(batch_size=100, steps=2))
    if not tied:
        net = Prompted(tied=False)
        net.common.requires_grad_(False)
        train(net, inputs, labels, DpSgd(batch_size=100, steps=2))


def traces(net: nn.Module) -> list[object]:
    """All that a model's layers and parameters have beside their values: modes, hooks, attributes."""
    layers = [
        (layer.training, sorted(vars(layer)), [len(v) for k, v in sorted(vars(layer).items()) if k.endswith("_hooks")])
        for layer in net.modules()
    ]
    return [*layers, *[(sorted(vars(p)), p.grad is None, p.requires_grad) for p in net.parameters()], *net.state_dict()]


@pytest.mark.parametrize("make", [model, Twice, convolution])
def test_the_model_is_left_as_it_came(make: Callable[[], nn.Module]) -> None:
    inputs, labels = problem()
    net = make().eval()
    next(net.children()).train()
    net.activations = ["a name that Opacus uses"]  # type: ignore[assignment]
    before = traces(net)
    train(net, inputs, labels, DpSgd(batch_size=20, steps=2))
    assert traces(net) == before
    F.cross_entropy(net(inputs), labels).backward()
    assert all(p.grad is not None and not hasattr(p, "grad_sample") for p in net.parameters())


@pytest.mark.parametrize("net", [Spare(), Prompted(tied=True), nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))])
def test_a_refused_model_is_left_as_it_came(net: nn.Module) -> None:
    inputs, labels = problem()
    net.eval()
    before, weights = traces(net), vector(net)
    with pytest.raises(BadInput):
        train(net, inputs, labels, DpSgd(batch_size=20, steps=2))
    assert traces(net) == before and torch.equal(vector(net), weights)


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False).eval()


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(5),
        frozen(nn.BatchNorm1d(5)),
        nn.BatchNorm1d(5, affine=False),
        nn.BatchNorm1d(5, affine=False, track_running_stats=False),
        nn.InstanceNorm1d(5, affine=True, track_running_stats=True),
        frozen(nn.InstanceNorm1d(5, track_running_stats=True)),
    ],
    ids=str,
)
def test_layers_that_mix_records_or_keep_something_of_them_are_refused(layer: nn.Module) -> None:
    inputs, labels = problem()
    net = nn.Sequential(nn.Sequential(layer), nn.Linear(5, 3))
    with pytest.raises(BadInput, match=r"cannot be trained by DP-SGD: .*a record's gradient must be its own"):
        refuse_unless_trainable(net, DpSgd(), noise_multiplier=1.0)
    with pytest.raises(BadInput, match="cannot be trained by DP-SGD"):
        train(net, inputs, labels, DpSgd(batch_size=20))


@pytest.mark.parametrize("layer", [nn.GroupNorm(1, 5), nn.LayerNorm(5), nn.InstanceNorm1d(5)], ids=str)
def test_layers_that_treat_records_one_by_one_are_taken(layer: nn.Module) -> None:
    refuse_unless_trainable(nn.Sequential(layer, nn.Linear(5, 3)).eval(), DpSgd(), noise_multiplier=1.0)


def test_arguments_that_do_not_fit_are_refused() -> None:
    inputs, labels = problem()
    with pytest.raises(BadInput, match="labels of shape"):
        train(model(), inputs, labels[:-1], DpSgd(batch_size=20))
    with pytest.raises(BadInput, match="batches of 241 from 240 records"):
        train(model(), inputs, labels, DpSgd(batch_size=RECORDS + 1))


def test_divergence_is_reported() -> None:
    inputs, labels = problem()
    with pytest.raises(RunFailed, match="not finite"):
        train(model(), inputs, labels, DpSgd(batch_size=RECORDS, steps=5, learning_rate=1e300))


def test_the_event_costs_what_opacus_says() -> None:
    event = DpSgd(batch_size=600, steps=500).event(records=60_000, noise_multiplier=1.1)
    accountant = RDPAccountant()
    accountant.history = [(1.1, 0.01, 500)]
    orders = [1 + x / 10.0 for x in range(1, 100)] + list(range(12, 64))
    expected = accountant.get_epsilon(delta=1e-5, alphas=orders)
    assert rdp_epsilon(orders, event.rdp(orders), 1e-5)[0] == pytest.approx(expected, rel=1e-3)


def test_batches_of_all_records_have_no_event() -> None:
    with pytest.raises(BadInput, match="sample_rate"):
        DpSgd(batch_size=600).event(records=600, noise_multiplier=1.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 1.0},
        {"averaging": -0.1},
        {"averaging": math.nan},
        {"steps": 0},
        {"batch_size": 0},
        {"physical_batch": 0},
        {"clip_norm": 0.0},
        {"learning_rate": math.inf},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        DpSgd(**wrong)  # type: ignore[arg-type]
