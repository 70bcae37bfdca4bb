"""DP-SGD: one record moves a sum by no more than the clipping norm, exactly; batches and noise come from the system; it is SGD otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from opacus.accountants import RDPAccountant
from torch import nn

from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.privacy.accounting import rdp_epsilon
from stillhouse.platform.privacy.calibration import dpsgd_noise_multiplier
from stillhouse.platform.training import dpsgd
from stillhouse.platform.training.dpsgd import SIGMA_UNITS, DpSgd, dp_sgd, integer_gradients, poisson_sample

VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


class Silence:
    """No noise: for comparison with plain gradient descent."""

    gdp = True

    def gaussian(self, sigma: float, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, np.int64)

    def laplace(self, scale: float, shape: int | tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError


class Recorder(Silence):
    def __init__(self) -> None:
        self.asked: list[tuple[float, int | tuple[int, ...]]] = []

    def gaussian(self, sigma: float, shape: int | tuple[int, ...]) -> np.ndarray:
        self.asked.append((sigma, shape))
        return super().gaussian(sigma, shape)


@settings(max_examples=300, deadline=None)
@given(
    arrays(np.float32, (3, 6), elements=VALUES), st.sampled_from([1e-3, 1.0, 50.0]), st.floats(0.3, 500.0)
)
def test_no_row_is_longer_than_the_bound(rows: np.ndarray, clip_norm: float, noise_multiplier: float) -> None:
    bound = SIGMA_UNITS / noise_multiplier
    units = integer_gradients(torch.from_numpy(rows), clip_norm, bound).double().numpy()
    assert (units == np.rint(units)).all()
    # Python's integers: exact.
    assert all(sum(int(u) ** 2 for u in row) <= bound**2 for row in units)


@pytest.mark.parametrize("noise_multiplier", [0.3, 0.7, 4.0])
def test_rounding_keeps_the_gradient(noise_multiplier: float) -> None:
    """Short rows are kept to the nearest unit, long ones have their direction and (nearly) the bound's length."""
    rows = torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    rows *= torch.logspace(-2, 2, 200)[:, None] / rows.norm(dim=1, keepdim=True)
    bound = SIGMA_UNITS / noise_multiplier
    units = integer_gradients(rows, 1.0, bound).double()
    short = rows.norm(dim=1) <= 1
    expected = rows[short].double() * bound * (1 - dpsgd.MARGIN)
    assert float((units[short] - expected).abs().max()) <= 0.51
    lengths = units[~short].norm(dim=1)
    assert float(lengths.min()) > 0.98 * bound
    cosine = torch.nn.functional.cosine_similarity(units[~short], rows[~short].double())
    assert float(cosine.min()) > 0.999


def test_each_record_is_sampled_by_itself_and_at_the_rate() -> None:
    import os

    counts = np.zeros(2000)
    for _ in range(300):
        counts[poisson_sample(2000, 0.1, os.urandom).numpy()] += 1
    mean = counts.mean() / 300
    assert abs(mean - 0.1) < 5 * math.sqrt(0.09 / 600_000)
    # Sizes vary as those of independent draws do.
    assert counts.var() == pytest.approx(300 * 0.09, rel=0.25)


def test_a_record_is_taken_exactly_below_the_threshold() -> None:
    threshold = math.floor(0.25 * 2**64)
    drawn = np.array([0, threshold - 1, threshold, 2**64 - 1], np.uint64).tobytes()
    assert poisson_sample(4, 0.25, lambda count: drawn).tolist() == [0, 1]
    assert poisson_sample(4, 1.0, lambda count: drawn).tolist() == [0, 1, 2, 3]


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (240,), generator=generator)
    return torch.eye(5)[labels] + 0.3 * torch.randn(240, 5, generator=generator), labels


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_without_noise_and_clipping_it_is_gradient_descent(averaging: float) -> None:
    inputs, labels = problem()
    trained, plain = model(), model()
    options = DpSgd(batch_size=240, steps=6, learning_rate=0.5, momentum=0.5, clip_norm=8.0, averaging=averaging)
    dp_sgd(trained, inputs, labels, options, noise_multiplier=0.002, noise=Silence())
    velocity = [torch.zeros_like(p) for p in plain.parameters()]
    average = [torch.zeros_like(p) for p in plain.parameters()]
    for _ in range(6):
        loss = nn.functional.cross_entropy(plain(inputs), labels)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        with torch.no_grad():
            for v, a, p, g in zip(velocity, average, plain.parameters(), gradients, strict=True):
                v.mul_(0.5).add_(0.5 * (1 - dpsgd.MARGIN) * g)
                p.sub_(0.5 * v)
                a.mul_(averaging).add_((1 - averaging) * p)
    for a, p in zip(average, trained.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), a / (1 - averaging**6), atol=1e-4, rtol=1e-4)


def test_neighbours_move_a_step_by_at_most_the_clipping_norm() -> None:
    """One step on all records and one without the last: the weights differ by the learning rate times clip_norm / n at most."""
    inputs, labels = problem()
    inputs[-1] *= 100
    options = DpSgd(batch_size=10_000, steps=1, learning_rate=1.0, momentum=0.0, averaging=0.0)
    whole, without = model(), model()
    dp_sgd(whole, inputs, labels, options, noise_multiplier=4.0, noise=Silence())
    # A hole instead of the record: the divisor stays (here it is undone).
    dp_sgd(without, inputs[:-1], labels[:-1], options, noise_multiplier=4.0, noise=Silence())
    start = nn.utils.parameters_to_vector(model().parameters()).double()
    moved = (nn.utils.parameters_to_vector(whole.parameters()).double() - start) * 240
    other = (nn.utils.parameters_to_vector(without.parameters()).double() - start) * 239
    assert 0.5 < float((moved - other).norm().detach()) <= 1.0 + 1e-4


def test_noise_is_asked_for_in_every_step_and_coordinate() -> None:
    inputs, labels = problem()
    recorder = Recorder()
    net = model()
    dp_sgd(net, inputs, labels, DpSgd(batch_size=20, steps=7), noise_multiplier=2.0, noise=recorder)
    width = sum(p.numel() for p in net.parameters())
    assert recorder.asked == [(SIGMA_UNITS, width)] * 7


def test_empty_batches_are_noise_alone() -> None:
    inputs, labels = problem()
    largest: Callable[[int], bytes] = lambda count: b"\xff" * count
    net, before = model(), model()
    dp_sgd(net, inputs, labels, DpSgd(batch_size=20, steps=2), noise_multiplier=2.0, noise=Silence(), random_bytes=largest)
    for p, q in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_seeds_do_not_make_it_repeat() -> None:
    inputs, labels = problem()
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002  (that seed must not matter either)
        net = model()
        dp_sgd(net, inputs, labels, DpSgd(batch_size=240, steps=2), noise_multiplier=2.0)
        results.append(nn.utils.parameters_to_vector(net.parameters()).detach())
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


def test_the_model_is_left_as_it_came() -> None:
    inputs, labels = problem()
    net = model().eval()
    names = list(net.state_dict())
    dp_sgd(net, inputs, labels, DpSgd(batch_size=20, steps=2), noise_multiplier=2.0)
    assert list(net.state_dict()) == names
    assert not net.training
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in net.parameters())
    nn.functional.cross_entropy(net(inputs), labels).backward()
    assert all(p.grad is not None and not hasattr(p, "grad_sample") for p in net.parameters())


def test_batch_normalisation_is_refused() -> None:
    inputs, labels = problem()
    with pytest.raises(BadInput, match="cannot be trained by DP-SGD"):
        dp_sgd(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)), inputs, labels, DpSgd(), noise_multiplier=1.0)


def test_divergence_is_reported() -> None:
    inputs, labels = problem()
    with pytest.raises(RunFailed, match="not finite"):
        dp_sgd(model(), inputs, labels, DpSgd(batch_size=240, steps=5, learning_rate=1e300), noise_multiplier=1.0)


def test_the_event_costs_what_opacus_says() -> None:
    event = DpSgd(batch_size=600, steps=500).event(records=60_000, noise_multiplier=1.1)
    accountant = RDPAccountant()
    accountant.history = [(1.1, 0.01, 500)]
    orders = [1 + x / 10.0 for x in range(1, 100)] + list(range(12, 64))
    expected = accountant.get_epsilon(delta=1e-5, alphas=orders)
    assert rdp_epsilon(orders, event.rdp(orders), 1e-5)[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"steps": 0}, {"clip_norm": 0.0}, {"averaging": -0.1}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        DpSgd(**wrong)
