from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from stillhouse.methods.condensation.discrepancy import (
    DISCREPANCIES,
    MULTIPLIERS,
    Discrepancy,
    FourierFeatures,
    GaussianMmd,
    PolynomialMmd,
    discrepancy,
    mean_difference_to,
    mean_squared_distance,
    squared_distances,
)
from stillhouse.platform.errors import BadInput
from torch import Tensor

PUBLISHED = json.loads((Path(__file__).parents[2] / "fixtures" / "condensation" / "m3d_loss.json").read_text())
D = 4
sizes = st.integers(1, 6)
seeds = st.integers(0, 2**31)


def clouds(n: int = 5, m: int = 7, seed: int = 0, dimension: int = D) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dimension, generator=generator, dtype=torch.float64)
    y = torch.randn(m, dimension, generator=generator, dtype=torch.float64)
    return x, 1.5 * y + 0.5


def every(dimension: int = D) -> dict[str, Discrepancy]:
    drawn = {
        "dimension": dimension,
        "frequencies": 12,
        "bandwidth": 6.0,
        "multipliers": MULTIPLIERS,
        "generator": torch.Generator().manual_seed(1),
    }
    return {name: discrepancy(name, **(drawn if name == "rff" else {})) for name in DISCREPANCIES}


def value_and_slope(loss: Discrepancy, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x, y)
    (slope,) = torch.autograd.grad(value, x)
    return value.detach(), slope


def slow_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float | None = None) -> float:
    """The biased squared MMD as wᵀKw, a pair at a time; the bandwidth from the pairs unless it is given."""
    z = np.concatenate([x, y]).astype(float)
    weights = [1 / len(x)] * len(x) + [-1 / len(y)] * len(y)
    if bandwidth is None:
        bandwidth = float(np.mean([((a - b) ** 2).sum() for a, b in permutations(z, 2)]))
    total = 0.0
    for a, weight_a in zip(z, weights, strict=True):
        for b, weight_b in zip(z, weights, strict=True):
            squared = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
            total += weight_a * weight_b * sum(math.exp(-squared / (bandwidth * r)) for r in MULTIPLIERS)
    return total


def written_slope(x: np.ndarray, y: np.ndarray, bandwidth: float) -> np.ndarray:
    """M3D's gradient, written out: the synthetic points push one another apart, the real ones draw them."""
    n, m = len(x), len(y)
    slope = np.zeros_like(x)
    for i in range(n):
        for width in (bandwidth * r for r in MULTIPLIERS):
            for j in range(n):
                step = x[i] - x[j]
                slope[i] += 2 / n**2 * np.exp(-step @ step / width) * (-2 / width) * step
            for j in range(m):
                step = x[i] - y[j]
                slope[i] -= 2 / (n * m) * np.exp(-step @ step / width) * (-2 / width) * step
    return slope


# --- the Gaussian kernel ---


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, seeds)
def test_gaussian_is_the_double_loop(n: int, m: int, seed: int) -> None:
    x, y = clouds(n, m, seed)
    expected = slow_mmd(x.numpy(), y.numpy())
    assert GaussianMmd()(x, y).item() == pytest.approx(expected, rel=1e-10, abs=1e-13)
    assert GaussianMmd()(x.float(), y.float()).item() == pytest.approx(expected, rel=1e-5, abs=2e-6)
    assert expected >= -1e-14


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case['kernel']}-{case['seed']}")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_published_programs_loss_and_slope(case: dict[str, Any], dtype: torch.dtype) -> None:
    """Numbers of a public copy of that program: tests/fixtures/condensation/README.md."""
    rng, d = np.random.default_rng(case["seed"]), case["dimension"]
    x, y = (
        rng.standard_normal((case["synthetic"], d)),
        case["shift"] + case["scale"] * rng.standard_normal((case["real"], d)),
    )
    probe = rng.standard_normal(x.shape)
    value, slope = value_and_slope(every(d)[case["kernel"]], torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype))
    close = 1e-7 if dtype == torch.float64 else 1e-5  # that program's kernel widths are in single precision always
    assert value.item() == pytest.approx(case["value"], rel=close)
    assert slope.norm().item() == pytest.approx(case["slope_length"], rel=close)
    # A sum with cancellation: what it can lose is measured by the vectors' lengths.
    along = (slope.double() * torch.tensor(probe)).sum().item()
    assert along == pytest.approx(
        case["slope_along_probe"], abs=close * case["slope_length"] * float(np.linalg.norm(probe))
    )


def test_gaussian_is_the_unbiased_estimate_and_the_diagonals() -> None:
    x, y = clouds()
    n, m = len(x), len(y)
    bandwidth = mean_squared_distance(torch.cat([x, y]))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return sum((torch.exp(-(torch.cdist(a, b) ** 2) / (bandwidth * r)) for r in MULTIPLIERS), torch.zeros(()))

    def off_diagonal(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    expected = (n - 1) / n * off_diagonal(x) + 5 / n + (m - 1) / m * off_diagonal(y) + 5 / m - 2 * kernel(x, y).mean()
    torch.testing.assert_close(GaussianMmd()(x, y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_a_cloud_agrees_with_itself_in_any_order(dtype: torch.dtype, rounding: float) -> None:
    x = clouds(9, dimension=64)[0].to(dtype)
    for name, loss in every(64).items():
        # A polynomial kernel is of the size of D^degree, and so is its rounding.
        tolerance = rounding * {"linear": 64, "poly2": 64**2}.get(name, 1)
        for other in (x, x.flip(0)):
            value, slope = value_and_slope(loss, x, other)
            assert abs(value.item()) < tolerance, name
            assert slope.abs().max() < tolerance, name


@pytest.mark.parametrize("n", [1, 5])
def test_the_gaussian_slope_is_the_written_one(n: int) -> None:
    x, y = clouds(n)
    bandwidth = mean_squared_distance(torch.cat([x, y])).item()
    _, slope = value_and_slope(GaussianMmd(), x, y)
    expected = torch.from_numpy(written_slope(x.numpy(), y.numpy(), bandwidth))
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-13)
    _, single = value_and_slope(GaussianMmd(), x.float(), y.float())
    torch.testing.assert_close(single, expected.float(), rtol=1e-4, atol=1e-6)


def test_the_gaussian_slope_holds_the_bandwidth_fixed() -> None:
    x, y = clouds()
    bandwidth = mean_squared_distance(torch.cat([x, y])).item()
    _, slope = value_and_slope(GaussianMmd(), x, y)
    fixed, moving = torch.zeros_like(x), torch.zeros_like(x)
    h = 1e-5
    for index in np.ndindex(*x.shape):
        up, down = x.clone(), x.clone()
        up[index] += h
        down[index] -= h
        up_, down_, y_ = up.numpy(), down.numpy(), y.numpy()
        fixed[index] = (slow_mmd(up_, y_, bandwidth) - slow_mmd(down_, y_, bandwidth)) / (2 * h)
        moving[index] = (slow_mmd(up_, y_) - slow_mmd(down_, y_)) / (2 * h)
    torch.testing.assert_close(slope, fixed, rtol=1e-6, atol=1e-8)
    assert (slope - moving).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), seeds)
def test_scaled_features_have_the_same_value_and_the_inverse_slope(exponent: float, seed: int) -> None:
    a = 10**exponent
    x, y = clouds(seed=seed)
    value, slope = value_and_slope(GaussianMmd(), x, y)
    scaled_value, scaled_slope = value_and_slope(GaussianMmd(), a * x, a * y)
    torch.testing.assert_close(scaled_value, value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scaled_slope * a, slope, rtol=1e-9, atol=1e-12)


def test_a_common_shift_costs_no_digits() -> None:
    x, y = (side.float() for side in clouds(dimension=256))
    torch.testing.assert_close(GaussianMmd()(x + 100, y + 100), GaussianMmd()(x, y), rtol=1e-4, atol=1e-6)


def test_the_constant_is_the_real_kernel_and_has_no_slope() -> None:
    x, y = clouds()
    whole, whole_slope = value_and_slope(GaussianMmd(), x, y)
    part, part_slope = value_and_slope(GaussianMmd(constant=False), x, y)
    bandwidth = mean_squared_distance(torch.cat([x, y]))
    squared = squared_distances(y, y)
    torch.testing.assert_close(whole - part, sum((-squared / (bandwidth * r)).exp().mean() for r in MULTIPLIERS))
    assert torch.equal(whole_slope, part_slope)


def test_one_multiplier_is_one_kernel_without_a_two() -> None:
    x, y = torch.zeros(1, 1), torch.full((1, 1), 3.0)
    # Two points: their squared distance is the bandwidth.
    assert GaussianMmd(multipliers=(1.0,))(x, y).item() == pytest.approx(2 - 2 / math.e)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("n", [1, 4])
def test_features_without_extent_have_no_loss_and_no_slope(dtype: torch.dtype, level: float, n: int) -> None:
    x, y = torch.full((n, 300), level, dtype=dtype), torch.full((7, 300), level, dtype=dtype)
    value, slope = value_and_slope(GaussianMmd(), x, y)
    assert abs(value.item()) < 1e-5
    assert torch.equal(slope, torch.zeros_like(x))


def test_an_extent_that_underflows_is_finite() -> None:
    x, y = clouds()
    for exponent in range(-44, -14):
        value, slope = value_and_slope(GaussianMmd(), x.float() * 10.0**exponent, y.float() * 10.0**exponent)
        assert value.isfinite() and slope.isfinite().all()


# --- what each of them sees ---


def test_equal_means_hide_a_spread_from_the_mean_only() -> None:
    x, y = clouds(64, 64)
    x, y = x - x.mean(0), 3 * (y - y.mean(0))
    losses = every()
    assert losses["mean"](x, y).item() < 1e-25
    assert abs(losses["linear"](x, y).item()) < 1e-12
    assert losses["gaussian"](x, y).item() > 0.1
    assert losses["poly2"](x, y).item() > 1


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, seeds)
def test_the_linear_kernel_is_the_mean_difference(n: int, m: int, seed: int) -> None:
    x, y = clouds(n, m, seed)
    expected = ((x.numpy().mean(0) - y.numpy().mean(0)) ** 2).sum()
    for name in ("mean", "linear"):
        value, slope = value_and_slope(every()[name], x, y)
        assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        torch.testing.assert_close(slope, (2 / n * (x.mean(0) - y.mean(0))).expand(n, D))
    assert mean_difference_to(x, y.mean(0)).item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, seeds)
def test_poly2_is_two_moments(n: int, m: int, seed: int) -> None:
    x, y = clouds(n, m, seed)
    second = x.T @ x / n - y.T @ y / m
    expected = 2 * (x.mean(0) - y.mean(0)).square().sum() + second.square().sum()
    torch.testing.assert_close(every()["poly2"](x, y), expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(every()["poly2"](x.float(), y.float()), expected.float(), rtol=1e-4, atol=1e-3)


# --- the contract ---


@pytest.mark.parametrize("name", ["mean", "linear", "poly2", "rff"])
def test_slopes_are_those_of_finite_differences(name: str) -> None:
    x, y = clouds()
    assert torch.autograd.gradcheck(lambda s: every()[name](s, y), x.requires_grad_())


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(7)), seeds)
def test_the_order_of_the_rows_does_not_matter(rows: list[int], real_rows: list[int], seed: int) -> None:
    x, y = clouds(seed=seed)
    for name, loss in every().items():
        value, slope = value_and_slope(loss, x, y)
        other, other_slope = value_and_slope(loss, x[rows], y[real_rows])
        torch.testing.assert_close(other, value, rtol=1e-9, atol=1e-12, msg=name)
        torch.testing.assert_close(other_slope, slope[rows], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_the_real_side_gets_no_gradient(name: str) -> None:
    x, y = (side.requires_grad_() for side in clouds())
    every()[name](x, y).backward()
    assert y.grad is None
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not every()[name](x.detach(), y).requires_grad


@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    x, y = (side.to(dtype) for side in clouds())
    loss = every()[name]
    value, slope = value_and_slope(loss, x, y)
    single, single_slope = value_and_slope(loss, x.float(), y.float())
    assert value.dtype == torch.float32 and slope.dtype == dtype
    assert torch.equal(value, single) and torch.equal(slope, single_slope.to(dtype))
    assert loss(x, y.double()).dtype == torch.float64


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_autocast_does_not_round_the_products(name: str) -> None:
    x, y = (side.float() for side in clouds())
    loss = every()[name]
    plain, plain_slope = value_and_slope(loss, x, y)
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = loss(x, y)
    # Outside, as torch asks for: a backward pass under autocast has products of its own, which it would round.
    under.backward()
    assert torch.equal(under, plain)
    assert x.grad is not None and torch.equal(x.grad, plain_slope)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_classes_can_be_stacked(name: str) -> None:
    loss = every()[name]
    x, y = (torch.stack(sides) for sides in zip(*(clouds(seed=seed) for seed in range(3)), strict=True))
    stacked = torch.func.vmap(loss)(x, y)
    torch.testing.assert_close(stacked, torch.stack([loss(a, b) for a, b in zip(x, y, strict=True)]))


@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(3, D), torch.zeros(3, D + 1)),
        (torch.zeros(D), torch.zeros(3, D)),
        (torch.zeros(3, D), torch.zeros(2, 3, D)),
        (torch.zeros(0, D), torch.zeros(3, D)),
        (torch.zeros(3, D), torch.zeros(0, D)),
        (torch.zeros(3, 0), torch.zeros(3, 0)),
        (torch.zeros(3, D, dtype=torch.int64), torch.zeros(3, D)),
        (torch.zeros(3, D), torch.zeros(3, D, dtype=torch.uint8)),
    ],
)
def test_what_is_no_pair_of_clouds_is_refused(name: str, x: Tensor, y: Tensor) -> None:
    with pytest.raises(BadInput, match="matri"):
        every()[name](x, y)


@pytest.mark.parametrize("mean", [torch.zeros(D + 1), torch.zeros(1, D), torch.zeros(()), torch.zeros(0)])
def test_what_is_no_mean_is_refused(mean: Tensor) -> None:
    with pytest.raises(BadInput):
        mean_difference_to(torch.zeros(3, D), mean)


# --- distances ---


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), seeds)
def test_the_bandwidth_is_the_mean_over_pairs(n: int, seed: int) -> None:
    z, _ = clouds(n, seed=seed)
    pairs = [((a - b) ** 2).sum() for a, b in permutations(z.numpy(), 2)]
    assert mean_squared_distance(z).item() == pytest.approx(np.mean(pairs), rel=1e-12)
    assert mean_squared_distance(z.float() + 50).item() == pytest.approx(np.mean(pairs), rel=1e-4)
    assert not mean_squared_distance(z.requires_grad_()).requires_grad


def test_the_bandwidth_asks_for_pairs() -> None:
    with pytest.raises(BadInput, match="one row"):
        mean_squared_distance(torch.zeros(1, D))
    with pytest.raises(BadInput):
        mean_squared_distance(torch.zeros(D))


def test_squared_distances_are_those_of_the_pairs_and_never_negative() -> None:
    x, y = clouds()
    torch.testing.assert_close(squared_distances(x, y), (x[:, None] - y).square().sum(2), rtol=1e-12, atol=1e-12)
    far = clouds(200, dimension=64)[0].float() + 1e3
    assert squared_distances(far, far).min() >= 0


# --- random Fourier features ---


def drawn(frequencies: int, seed: int, bandwidth: float = 6.0) -> FourierFeatures:
    return FourierFeatures.draw(D, frequencies, bandwidth, MULTIPLIERS, torch.Generator().manual_seed(seed))


def test_fourier_features_converge_to_the_kernel() -> None:
    x, y = clouds()
    exact = slow_mmd(x.numpy(), y.numpy(), bandwidth=6.0)
    many = drawn(100_000, 0)
    assert many(x, y).item() == pytest.approx(exact, rel=0.02)
    kernel = sum((-squared_distances(x, y) / (6.0 * r)).exp() for r in MULTIPLIERS)
    torch.testing.assert_close(many.embed(x) @ many.embed(y).T, kernel, rtol=0, atol=0.05)


@pytest.mark.parametrize("frequencies", [5, 7, 13])
def test_few_fourier_features_are_right_on_average(frequencies: int) -> None:
    x, y = clouds()
    exact = slow_mmd(x.numpy(), y.numpy(), bandwidth=6.0)
    values = np.array([drawn(frequencies, seed)(x, y).item() for seed in range(1000)])
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert error < 0.05 * exact
    assert abs(values.mean() - exact) < 4 * error


def test_every_kernel_weighs_the_same_when_frequencies_do_not_divide() -> None:
    shares = torch.zeros(5).index_add(0, torch.arange(7) % 5, drawn(7, 0).amplitudes.square())
    torch.testing.assert_close(shares, torch.ones(5))


def test_fourier_features_take_a_kept_mean() -> None:
    x, y = clouds()
    features = drawn(12, 0)
    assert features.embed(x).shape == (len(x), 24)
    kept = torch.cat([features.embed(part) for part in y.split(2)]).mean(0)
    torch.testing.assert_close(mean_difference_to(features.embed(x), kept), features(x, y))
    # A kernel of a point with itself is the number of kernels.
    torch.testing.assert_close(features.embed(x).square().sum(1), torch.full((5,), 5.0, dtype=torch.float64))


def test_fourier_features_follow_their_generator() -> None:
    assert torch.equal(drawn(12, 3).frequencies, drawn(12, 3).frequencies)
    assert not torch.equal(drawn(12, 3).frequencies, drawn(12, 4).frequencies)
    # Four times the bandwidth is half the frequency.
    torch.testing.assert_close(drawn(12, 3, 24.0).frequencies, drawn(12, 3).frequencies / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 0},
        {"frequencies": 4},
        {"frequencies": 0},
        {"bandwidth": 0.0},
        {"bandwidth": math.nan},
        {"multipliers": ()},
        {"multipliers": (1.0, -1.0)},
    ],
)
def test_fourier_features_refuse_nonsense(wrong: dict[str, object]) -> None:
    right = {"dimension": D, "frequencies": 5, "bandwidth": 1.0, "multipliers": MULTIPLIERS}
    with pytest.raises(BadInput):
        discrepancy("rff", generator=torch.Generator(), **{**right, **wrong})


# --- names ---


def test_names_and_settings_are_checked() -> None:
    assert discrepancy("gaussian", multipliers=(1.0,), constant=False) == GaussianMmd((1.0,), False)
    assert discrepancy("poly2") == PolynomialMmd()
    with pytest.raises(BadInput, match=r"did you mean 'gaussian'\?.*use one of mean, gaussian"):
        discrepancy("gausian")
    with pytest.raises(BadInput, match=r"'laplacian'\. To mend"):
        discrepancy("laplacian")
    with pytest.raises(BadInput, match="bandwith"):
        discrepancy("gaussian", bandwith=1.0)
    with pytest.raises(BadInput, match="degree"):
        discrepancy("linear", degree=3)
    with pytest.raises(BadInput, match="missing"):
        discrepancy("rff")
    for multipliers in ((), (0.0,), (math.inf,), (1.0, math.nan)):
        with pytest.raises(BadInput, match="multipliers"):
            GaussianMmd(multipliers)
    with pytest.raises(BadInput, match="degree"):
        PolynomialMmd(degree=0)
    with pytest.raises(BadInput, match="offset"):
        PolynomialMmd(offset=-1.0)
