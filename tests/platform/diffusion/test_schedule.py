"""The forward process: its identities, where a chain ends, and what the scheduler steps to."""

from __future__ import annotations

import math

import pytest
import torch
from stillhouse.platform.diffusion.sampling import centred, descend, pixels, sample
from stillhouse.platform.diffusion.schedule import PREDICTIONS, Schedule
from stillhouse.platform.errors import BadInput

from .tiny import SHAPE, drawn


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_true_prediction_gives_the_image_back(prediction: str) -> None:
    schedule = Schedule(prediction=prediction)
    noise, step, _ = drawn(64)
    images = torch.tanh(drawn(64, seed=1)[0]).double()
    noise = noise.double()
    noisy = schedule.noisy(images, step, noise)
    found = schedule.clean(schedule.target(images, step, noise), noisy, step, clamp=False)
    assert (found - images).abs().max() < 1e-10
    assert torch.equal(schedule.clean(schedule.target(images, step, noise), noisy, step), found.clamp(-1, 1))


def test_the_forward_process_is_that_of_the_paper() -> None:
    """By its definition, from the variances themselves."""
    schedule = Schedule(steps=500)
    betas = torch.linspace(1e-4, 0.04, 500, dtype=torch.float64)
    bar = torch.cumprod(1 - betas, 0)
    images, noise = torch.full((3, *SHAPE), 0.5).double(), torch.full((3, *SHAPE), -2.0).double()
    step = torch.tensor([0, 250, 499])
    wanted = bar[step].sqrt().view(-1, 1, 1, 1) * 0.5 - 2 * (1 - bar[step]).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(schedule.noisy(images, step, noise), wanted.expand_as(images), atol=1e-6)
    assert bar[-1] < 1e-4


def test_a_chain_that_does_not_end_in_noise_is_refused() -> None:
    with pytest.raises(BadInput, match="starts from pure noise"):
        Schedule(steps=500, beta_end=0.02)
    assert float(Schedule(steps=1000, beta_end=0.02).scheduler().alphas_cumprod[-1]) < 1e-3
    with pytest.raises(BadInput, match="unknown prediction"):
        Schedule(prediction="score")


@pytest.mark.parametrize("rungs", [1, 4, 20, 500])
def test_the_ladder_is_where_the_scheduler_steps(rungs: int) -> None:
    schedule = Schedule()
    scheduler = schedule.scheduler()
    scheduler.set_timesteps(rungs)
    assert schedule.ladder(rungs) == scheduler.timesteps.tolist()
    assert schedule.ladder(rungs)[0] == 499


def test_rungs_that_the_scheduler_would_step_beside_are_refused() -> None:
    with pytest.raises(BadInput, match="a number that divides it"):
        Schedule().ladder(7)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_ideal_denoiser_of_a_gaussian_gives_its_mean_and_variance(prediction: str) -> None:
    """x_0 ~ N(m, s^2): E[x_0 | x_r] is linear in x_r, and following it from noise must end in that law."""
    mean, deviation = 0.3, 0.2
    schedule = Schedule(prediction=prediction)

    def ideal(noisy: torch.Tensor, step: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        signal, spread = schedule.parts(noisy, step)
        gain = signal * deviation**2 / (signal**2 * deviation**2 + spread**2)
        image = mean + gain * (noisy - signal * mean)
        return schedule.target(image, step, (noisy - signal * image) / spread)

    noise = torch.randn(4000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(4000, dtype=torch.int64)
    found = descend(ideal, schedule, noise, label, rungs=250, clip=False)
    count = found.numel()
    assert abs(float(found.mean()) - mean) < 5 * deviation / math.sqrt(count)
    # The chain is deterministic, so what is left is the error of 250 steps.
    assert abs(float(found.std()) / deviation - 1) < 0.03


def test_a_chain_cut_short_goes_on_to_the_same_end() -> None:
    schedule, rungs = Schedule(), 4
    noise, _, label = drawn(5)

    def halve(noisy: torch.Tensor, step: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return noisy / 2 + label.view(-1, 1, 1, 1) / 10

    whole = descend(halve, schedule, noise, label, rungs=rungs)
    found = descend(halve, schedule, noise, label, rungs=rungs, down_to=3)
    scheduler = schedule.scheduler()
    scheduler.set_timesteps(rungs)
    last = scheduler.step(halve(found, torch.zeros(5), label), int(scheduler.timesteps[3]), found).prev_sample
    assert torch.equal(last, whole) and not torch.equal(found, whole)
    assert torch.equal(descend(halve, schedule, noise, label, rungs=rungs, down_to=0), noise)


def test_samples_follow_from_the_generator_and_stay_in_range() -> None:
    def wild(noisy: torch.Tensor, step: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return 3 * noisy

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sample(
            wild, Schedule(), torch.zeros(7, dtype=torch.int64), SHAPE, rungs=4, generator=generator,
            device=torch.device("cpu"),
        )  # fmt: skip

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    assert draw(1).abs().max() <= 1


def test_pixels_and_images_are_each_others_inverse() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(pixels(centred(every)), every)
    assert centred(every).min() == -1 and centred(every).max() == 1
