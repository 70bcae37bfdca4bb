"""Clipping, noise, and the pull-back into the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm
from stillhouse.platform.diffusion.discriminator import Critic, fresh_critic
from stillhouse.platform.diffusion.sanitise import clip_rows, normalise_rows, sanitised, surrogate, with_noise
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.diffusion.upstream import Adversary, upstream
from support.graph import leaves_behind
from support.noise import ZeroNoise, repeatable_noise
from torch.func import functional_call

from .tiny import CLASSES, MLP, SHAPE, UNET, double, drawn

ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
REAL = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=300)
@given(
    st.one_of(arrays(np.float32, (4, 7), elements=ANY), arrays(np.float32, (4, 7), elements=REAL)),
    st.floats(1e-3, 1e3),
)
def test_no_row_is_longer_than_the_bound_and_clipping_again_changes_nothing(rows: np.ndarray, clip: float) -> None:
    found = clip_rows(torch.from_numpy(rows), clip)
    assert found.double().norm(dim=1).max() <= clip * (1 + 1e-7)
    assert torch.equal(clip_rows(found, clip), found)
    whole = np.isfinite(rows).all(1)
    assert not found[~torch.from_numpy(whole)].any()
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    for row in np.flatnonzero(whole):
        if lengths[row] <= clip:
            assert np.array_equal(found[row].numpy(), rows[row])  # Short rows are left alone, to the bit.
        else:
            wanted = rows[row].astype(np.float64) * (clip / lengths[row])
            assert np.allclose(found[row].numpy(), wanted, rtol=1e-5, atol=1e-7 * clip)


@given(
    st.one_of(arrays(np.float32, (4, 7), elements=ANY), arrays(np.float32, (4, 7), elements=REAL)),
    st.floats(1e-3, 1e3),
)
def test_a_normalised_row_has_the_bound_s_length_and_its_own_direction(rows: np.ndarray, length: float) -> None:
    found = normalise_rows(torch.from_numpy(rows), length).double().numpy()
    for row, one in zip(rows.astype(np.float64), found, strict=True):
        if not np.isfinite(row).all() or not row.any():
            assert not one.any()
            continue
        wanted = row / np.linalg.norm(row) * length
        assert np.allclose(one, wanted, rtol=1e-5, atol=1e-6 * length)
        assert np.linalg.norm(one) <= length * (1 + 1e-7), "the sensitivity is that of clipping"


def test_sanitising_by_normalising_adds_the_same_noise() -> None:
    rows = 0.01 * torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    options = {"clip": 2.0, "deviation": 0.5}
    apart = [sanitised(rows, noise=repeatable_noise(3), normalise=normalise, **options) for normalise in (False, True)]
    assert torch.allclose(apart[1] - apart[0], normalise_rows(rows, 2.0) - rows, atol=1e-6)


def test_a_row_is_clipped_by_its_own_length_alone() -> None:
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    other = rows.clone()
    other[3] *= 100
    keep = torch.arange(6) != 3
    assert torch.equal(clip_rows(rows, 1.0)[keep], clip_rows(other, 1.0)[keep])


def test_the_noise_has_its_deviation_and_is_independent() -> None:
    rows = torch.zeros(400, 64)
    noise = repeatable_noise(1)
    found = [with_noise(rows, 0.7, noise) for _ in range(3)]
    for part in found:
        # 25,600 numbers: a standard deviation of 0.44 % of the estimate.
        assert abs(float(part.std()) / 0.7 - 1) < 0.02
        assert abs(float(part.mean())) < 5 * 0.7 / math.sqrt(part.numel())
    whole = torch.cat(found)
    assert abs(float(whole.std()) / 0.7 - 1) < 0.01
    # Between steps, samples and coordinates.
    for a, b in ((found[0], found[1]), (found[0][:-1], found[0][1:]), (found[0][:, :-1], found[0][:, 1:])):
        correlation = float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
        assert abs(correlation) < 5 / math.sqrt(a.numel())


def test_noise_is_asked_for_once_and_never_where_there_is_none() -> None:
    noise = ZeroNoise()
    rows = torch.tensor([[3.0, 4.0]])
    assert torch.equal(sanitised(rows, clip=1.0, deviation=2.0, noise=noise), clip_rows(rows, 1.0))
    assert [call[0] for call in noise.calls] == ["gaussian"] and noise.calls[0][2] == (1, 2)
    assert torch.equal(with_noise(rows, 0.0, noise), rows) and len(noise.calls) == 1


@pytest.mark.parametrize("settings_of", [MLP, UNET], ids=["mlp", "unet"])
@pytest.mark.parametrize("pair", [False, True])
def test_the_chain_rule_holds_to_the_last_digits(settings_of: object, pair: bool) -> None:
    """Without clip and noise, pulling u back gives the gradient of the loss by the weights."""
    schedule, adversary = Schedule(), Adversary(0.7, saturating=True, pair=pair)
    student = double(settings_of)  # type: ignore[arg-type]
    critic = fresh_critic(Critic(width=8, inputs="pair" if pair else "batch"), SHAPE, CLASSES, 1).double().eval()
    with torch.no_grad():
        critic.head.weight.normal_()
    noise, step, label = drawn(6)
    noisy, teacher = noise.double(), torch.tanh(drawn(6, seed=3)[0]).double()

    def output() -> torch.Tensor:
        return schedule.clean(student(noisy, step, label), noisy, step, clamp=False)

    images = output()
    losses = (images - teacher).square().flatten(1).sum(1)
    losses = losses + 0.7 * adversary.student_losses(critic, teacher, images, label)
    wanted = torch.autograd.grad(losses.mean(), list(student.parameters()))
    x = output()
    u = upstream(x, teacher, label, critic, adversary)
    found = torch.autograd.grad(surrogate(x, u), list(student.parameters()))
    for a, b in zip(wanted, found, strict=True):
        assert (a - b).abs().max() <= 1e-12 * max(1.0, float(a.abs().max()))


def test_a_samples_gradient_is_its_own() -> None:
    critic = fresh_critic(Critic("conv", width=8), SHAPE, CLASSES, 1).eval()
    with torch.no_grad():
        critic.head.weight.normal_()
    noise, _, label = drawn(6)
    teacher = torch.tanh(drawn(6, seed=3)[0])
    first = upstream(noise, teacher, label, critic, Adversary())
    noise[2], teacher[2] = 1.0, -1.0
    second = upstream(noise, teacher, label, critic, Adversary())
    keep = torch.arange(6) != 2
    assert torch.allclose(first[keep], second[keep], atol=1e-6) and not torch.allclose(first[2], second[2])


def test_nothing_but_the_students_weights_is_behind_the_surrogate() -> None:
    """A walk through the graph: neither the teacher's images nor the critic nor a record can be reached."""
    student = double()
    critic = fresh_critic(Critic(width=8), SHAPE, CLASSES, 1).double()
    noise, step, label = drawn(4)
    teacher = torch.tanh(noise).double().requires_grad_()
    record = torch.tanh(-noise).double().requires_grad_()
    x = student(noise.double(), step, label)
    u = upstream(x, teacher, label, critic, Adversary(), record)
    loss = surrogate(x, sanitised(u, clip=1.0, deviation=0.0, noise=ZeroNoise()))
    assert leaves_behind(loss) == {id(parameter) for parameter in student.parameters()}
    assert teacher.grad is None and record.grad is None and all(p.grad is None for p in critic.parameters())


def area(first: np.ndarray, second: np.ndarray) -> float:
    """Of the ROC curve of telling two samples apart by their values."""
    ranks = np.concatenate([first, second]).argsort().argsort() + 1
    return float((ranks[len(first) :].sum() - len(second) * (len(second) + 1) / 2) / (len(first) * len(second)))


@pytest.mark.parametrize("timesteps", [1, 3])
def test_dividing_the_noise_by_the_steps_divides_the_multiplier(timesteps: int) -> None:
    """Telling two neighbours by one step: a shift of C against noise sigma C / T, and of 2 C against 2 C sigma."""
    clip, sigma, count = 1.5, 1.0, 8000
    noise = repeatable_noise(timesteps)
    zero, direction = torch.zeros(count, 1), torch.ones(count, 1) * 100
    spread = sigma * clip / timesteps
    found = [sanitised(rows, clip=clip, deviation=spread, noise=noise).numpy()[:, 0] for rows in (zero, direction)]
    wanted = norm.cdf(timesteps / (sigma * math.sqrt(2)))
    assert area(*found) == pytest.approx(wanted, abs=5 * math.sqrt(wanted * (1 - wanted) / count) + 1e-3)
    honest = [
        sanitised(rows, clip=clip, deviation=2 * clip * sigma, noise=noise).numpy()[:, 0]
        for rows in (-direction, direction)
    ]
    assert area(*honest) == pytest.approx(norm.cdf(1 / (sigma * math.sqrt(2))), abs=0.02)


def test_an_update_tells_a_private_input_whatever_the_noise() -> None:
    """Its direction lies in the rows of the Jacobian at the input; with an input that is public there is nothing to tell."""
    student, schedule, guesses, draws = double(), Schedule(), 20, 5
    records = drawn(guesses)[0].double()
    public = drawn(1, seed=7)[0].double()
    step, label = torch.tensor([250]), torch.tensor([0])
    parameters, noise = dict(student.named_parameters()), repeatable_noise(1)

    def image(weights: dict[str, torch.Tensor], given: torch.Tensor) -> torch.Tensor:
        made = functional_call(student, weights, (given, step, label))
        return schedule.clean(made, given, step, clamp=False)

    def jacobian(given: torch.Tensor) -> torch.Tensor:
        found = torch.func.jacrev(lambda weights: image(weights, given).flatten())(parameters)
        return torch.cat([part.flatten(1) for part in found.values()], 1)

    bases = [torch.linalg.qr(jacobian(records[k : k + 1]).T)[0].detach() for k in range(guesses)]

    def identified(record: int, given: torch.Tensor) -> bool:
        """Guess the record from one update of a student that is fed `given`, by a teacher who answers with the record."""
        made = image(parameters, given)
        u = upstream(made.detach(), records[record : record + 1], label, None, Adversary(0.0))
        loss = surrogate(made, sanitised(u, clip=1.0, deviation=2 * 100.0, noise=noise))
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        update = torch.cat([part.flatten() for part in gradients])
        update = update / update.norm()
        residuals = [float((update - basis @ (basis.T @ update)).norm()) for basis in bases]
        return int(np.argmin(residuals)) == record

    tried = [k for k in range(guesses) for _ in range(draws)]
    assert all(identified(k, records[k : k + 1]) for k in tried)
    hits, chance = sum(identified(k, public) for k in tried), 1 / guesses
    assert abs(hits - chance * len(tried)) <= 4 * math.sqrt(chance * (1 - chance) * len(tried))
