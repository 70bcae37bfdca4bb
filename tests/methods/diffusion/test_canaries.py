"""Check 15: what an adversary learns of one record from what each variant releases, and never more than was promised.

    pytest -m slow -s tests/methods/diffusion/test_canaries.py     # prints what the audits found

The canary is a white image in a shard of a few digits. All that a student of V2 to V4 learns comes from the released rows, so the
adversary looks at these, which is more than any student would show: a test of the direction in which the canary moves the rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from stillhouse.methods.diffusion.described import described_deviation
from stillhouse.methods.diffusion.gradients import gradient_events
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.works import PrivateDenoiser
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.diffusion.denoising import Training, denoising_losses, train_denoiser
from stillhouse.platform.diffusion.networks import Network, fresh
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.diffusion.teacher import DiffusionTeacher
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.audit import clopper_pearson_epsilon
from stillhouse.platform.privacy.calibration import dpsgd_noise_multiplier
from stillhouse.platform.privacy.vector_mean import VectorMean
from stillhouse.platform.training.dpsgd import DpSgd
from support.noise import repeatable_noise

from .local_ensemble import few_digits, silent_run
from .tiny import method

TEACHERS, ROWS, TRIALS, DELTA = 4, 10, 4000, 1e-4
TEACHER = DiffusionTeacher(hidden=32, steps=300, batch_size=8, critic_width=16)


def area(members: np.ndarray, strangers: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([members, strangers]))
    n, m = len(members), len(strangers)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def with_canary(shard: ImageData) -> ImageData:
    images = shard.images.copy()
    images[0] = 255
    return ImageData(images, shard.labels, shard.classes, shard.name)


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """Every teacher's rows for one batch, and the first one's when its shard holds the canary."""
    shards = [few_digits(8, start=8 * k) for k in range(TEACHERS)]
    states = [TEACHER.train(shard, number) for number, shard in enumerate(shards)]
    other = TEACHER.train(with_canary(shards[0]), 0)
    noise = np.random.default_rng(0).standard_normal((ROWS, 1, 8, 8)).astype(np.float32)
    inputs = {"x": noise, "step": np.full(ROWS, 250), "label": np.full(ROWS, int(shards[0].labels[0]))}
    inputs["signal"] = TEACHER.schedule.signal(torch.from_numpy(inputs["step"])).numpy()
    inputs["x"] = inputs["x"] * 0.3 + 0.6  # Near the canary, where its teacher has something to say.
    found = {}
    for task in ("targets", "gradients"):
        asked = inputs | ({"student": np.zeros_like(noise)} if task == "gradients" else {})
        found[task] = [TEACHER.answer(state, task, asked)[0] for state in states], TEACHER.answer(other, task, asked)[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.RELEASED_TARGETS, Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD])
def test_no_audit_of_released_rows_finds_more_than_was_promised(
    mode: Mode, answers: dict[str, tuple[list[np.ndarray], np.ndarray]]
) -> None:
    draw = "one" if mode is Mode.SHARDED_OUTPUT_GRAD else "all"
    own, canary = answers["targets" if mode is Mode.RELEASED_TARGETS else "gradients"]
    clip, multiplier = 1.0, 4.0
    mechanism = VectorMean(clip, multiplier, draw)  # type: ignore[arg-type]
    event = mechanism.event(rows=ROWS, width=64, teachers=TEACHERS)
    promised = plan_epsilon([event], DELTA)
    if mode is not Mode.RELEASED_TARGETS:
        made = method(mode, clip=clip)
        ((_, whole),) = gradient_events(made, multiplier, width=64, teachers=TEACHERS)
        assert whole == event.times(made.distillation.steps), "a training charges this event at each of its steps"
    grid = mechanism.grid(64)
    units, moved = [grid.put(rows).astype(np.int64) for rows in own], grid.put(canary).astype(np.int64)
    direction = (moved - units[0]).astype(float)
    assert np.linalg.norm(direction) > 0.05 * grid.bound, "the canary must move its teacher, or the audit shows nothing"
    noise, chosen = repeatable_noise(5), np.random.default_rng(1)

    def score(first: np.ndarray) -> float:
        rows = [first, *units[1:]]
        total = rows[int(chosen.integers(TEACHERS))] if draw == "one" else np.sum(rows, axis=0)
        return float((mechanism.noisy(total, noise) * direction).sum())

    inside = np.array([score(moved) for _ in range(TRIALS)])
    outside = np.array([score(units[0]) for _ in range(TRIALS)])
    found = clopper_pearson_epsilon(inside, outside, delta=DELTA)
    print(f"{mode.value}: promised {promised:.3f}, found {found:.3f}, area {area(inside, outside):.3f}")
    assert 0 <= found <= promised
    # The audit has teeth: with a hundredth of the noise it refutes the promise.
    weak = VectorMean(clip, multiplier / 100, draw)  # type: ignore[arg-type]

    def naked(first: np.ndarray) -> float:
        rows = [first, *units[1:]]
        total = rows[int(chosen.integers(TEACHERS))] if draw == "one" else np.sum(rows, axis=0)
        return float((weak.noisy(total, noise) * direction).sum())

    inside, outside = (np.array([naked(first) for _ in range(TRIALS)]) for first in (moved, units[0]))
    assert clopper_pearson_epsilon(inside, outside, delta=DELTA) > promised


@pytest.mark.slow
def test_the_noise_of_the_description_hides_nothing(answers: dict[str, tuple[list[np.ndarray], np.ndarray]]) -> None:
    """Sigma 1 sounds like some privacy; divided by T = 500 it is none. Honest noise of the same sigma hides a single row."""
    own, canary = answers["gradients"]
    clip, rng = 1.0, np.random.default_rng(0)

    def clipped(row: np.ndarray) -> np.ndarray:
        return row * min(1.0, clip / np.linalg.norm(row))

    a, b = clipped(own[0][0].astype(float)), clipped(canary[0].astype(float))
    direction = (b - a) / np.linalg.norm(b - a)
    areas = {}
    for name, spread in (("described", described_deviation(clip, 1.0, 500)), ("honest", 2 * clip)):
        scores = [(row + spread * rng.standard_normal((1000, 64))) @ direction for row in (b, a)]
        areas[name] = area(scores[0], scores[1])
    print(f"area of telling one record from one row: {areas}")
    assert areas["described"] > 0.999 and areas["honest"] < 0.77


@pytest.mark.slow
def test_a_teacher_remembers_what_a_private_student_does_not(tmp_path: Path) -> None:
    """Membership by the denoising loss: an overfitted teacher against V1's student at epsilon 2."""
    members, strangers = few_digits(60), few_digits(60, start=500)
    schedule, network = Schedule(), Network(hidden=128)
    run = silent_run(tmp_path)
    noise = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def told(weights: dict[str, torch.Tensor]) -> float:
        model = fresh(network, (1, 8, 8), 10, 0)
        model.load_state_dict(weights)

        @torch.no_grad()
        def scores(data: ImageData) -> np.ndarray:
            losses = [
                denoising_losses(
                    model, schedule, centred(torch.from_numpy(data.images)), torch.from_numpy(data.labels),
                    torch.full((60,), step), noise,
                )
                for step in (60, 120, 180)
            ]  # fmt: skip
            return -torch.stack(losses).mean(0).numpy()

        return area(scores(members), scores(strangers))

    teacher = train_denoiser(
        run, fresh(network, (1, 8, 8), 10, 1), schedule, members, Training(steps=3000, batch_size=30), name="teacher",
        inputs=None,
    )  # fmt: skip
    epsilon = 2.0
    settings = DpSgd(batch_size=30, steps=60, learning_rate=2e-3, adaptive=True, physical_batch=60)
    multiplier = dpsgd_noise_multiplier(epsilon=epsilon, delta=DELTA, sample_rate=0.5, steps=60)
    student = PrivateDenoiser(network, schedule, settings, 4, multiplier, repeatable_noise()).compute(members, run)
    areas = told(teacher), told(student)
    print(f"area under the curve of membership: teacher {areas[0]:.3f}, student at epsilon {epsilon:g} {areas[1]:.3f}")
    assert areas[0] > 0.8 and areas[1] < 0.65
