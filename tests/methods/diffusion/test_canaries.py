"""Check 15: what an adversary learns of one record from what each variant releases, and never more than was promised.

    pytest -m slow -s tests/methods/diffusion/test_canaries.py     # prints what the audits found

The canary is a white image in a shard of a few digits. All that a student of V2 to V4 learns comes from the released rows, so the
adversary looks at these, which is more than any student would show: a test of the direction in which the canary moves the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import rankdata
from stillhouse.methods.diffusion.described import described_deviation
from stillhouse.methods.diffusion.distilling import Distillation
from stillhouse.methods.diffusion.gradients import gradient_events
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.works import PrivateDenoiser
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.diffusion.denoising import Training, denoising_losses, drawn_losses
from stillhouse.platform.diffusion.networks import Denoiser, Network, fresh
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.diffusion.teacher import DiffusionTeacher
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.audit import clopper_pearson_epsilon
from stillhouse.platform.privacy.vector_mean import VectorMean
from stillhouse.platform.training.dpsgd import DpSgd, dp_sgd
from stillhouse.platform.training.outcome import execute
from support.noise import RepeatableBytes, repeatable_noise

from .local_ensemble import LocalEnsemble, few_digits, silent_run, transfer_data
from .tiny import labelled_data, method

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
def test_no_audit_of_weights_from_dp_sgd_finds_more_than_was_promised() -> None:
    """The canary has a place in the data or leaves it empty; the adversary has the weights of V1's student. The DP teacher's are of the
    same work, and its student follows from them alone (`test_separation`). Small steps keep the direction of the canary's gradient."""
    made, multiplier, schedule, data = method(Mode.DPSGD_STUDENT), 2.0, Schedule(), with_canary(few_digits(4))
    settings = DpSgd(batch_size=2, steps=3, learning_rate=1e-5, momentum=0.0, averaging=0.0, clip_norm=0.1)
    network = Network(hidden=8)
    work = PrivateDenoiser(network, schedule, settings, made.draws, multiplier)
    ((_, event),) = work.events(len(data))
    promised = plan_epsilon([event], DELTA)
    images, labels = centred(torch.from_numpy(data.images)), torch.from_numpy(data.labels)
    empty = images.clone()
    empty[0] = torch.nan

    def losses(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return drawn_losses(model, schedule, images, labels)

    def start() -> Denoiser:
        return fresh(network, data.shape, data.classes, 0)

    def mean_gradient(record: int) -> torch.Tensor:
        model, many = start(), torch.full((400,), record)
        loss = losses(model, images[many], labels[many]).mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    torch.manual_seed(0)
    # What the others cannot have moved, as far as the adversary knows them.
    others = torch.linalg.qr(torch.stack([mean_gradient(record) for record in (1, 2, 3)]).T).Q
    direction = mean_gradient(0)
    direction -= others @ (others.T @ direction)
    weights = torch.nn.utils.parameters_to_vector(start().parameters()).detach()
    noise, chance = repeatable_noise(5), RepeatableBytes(6)

    def audit(noise_multiplier: float, trials: int) -> tuple[float, float]:
        def score(inputs: torch.Tensor) -> float:
            model = start()
            dp_sgd(
                model, inputs, labels, settings, noise_multiplier=noise_multiplier, noise=noise, losses=losses,
                draws=made.draws, bytes_source=chance,
            )  # fmt: skip
            moved = weights - torch.nn.utils.parameters_to_vector(model.parameters()).detach()
            return float(moved @ direction)

        inside, outside = (np.array([score(inputs) for _ in range(trials)]) for inputs in (images, empty))
        return clopper_pearson_epsilon(inside, outside, delta=DELTA), area(inside, outside)

    found, under = audit(multiplier, 300)
    naked = audit(multiplier / 100, 200)
    print(
        f"{made.mode}: promised {promised:.3f}, found {found:.3f}, area {under:.3f}; with a hundredth of the noise {naked}"
    )
    assert 0 <= found <= promised < naked[0]


MEMBERS = 60


@pytest.mark.slow
def test_a_teacher_remembers_what_private_students_do_not(tmp_path: Path) -> None:
    """Membership by the denoising loss: an overfitted teacher against the students of all modes at epsilon 2."""
    members, strangers = few_digits(MEMBERS), few_digits(MEMBERS, start=500)
    schedule, network = Schedule(), Network(hidden=128)
    noise = torch.randn(MEMBERS, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def told(weights: Mapping[str, torch.Tensor]) -> float:
        model = fresh(network, (1, 8, 8), 10, 0)
        model.load_state_dict(dict(weights))

        @torch.no_grad()
        def scores(data: ImageData) -> np.ndarray:
            losses = [
                denoising_losses(
                    model, schedule, centred(torch.from_numpy(data.images)), torch.from_numpy(data.labels),
                    torch.full((MEMBERS,), step), noise,
                )
                for step in (60, 120, 180)
            ]  # fmt: skip
            return -torch.stack(losses).mean(0).numpy()

        return area(scores(members), scores(strangers))

    silos = DiffusionTeacher(hidden=128, steps=600, batch_size=15, critic_width=16)
    states = [silos.train(members.take(range(15 * k, 15 * k + 15)), k) for k in range(4)]
    areas: dict[Mode, float] = {}
    epsilon = 2.0
    settings = DpSgd(batch_size=30, steps=60, learning_rate=2e-3, adaptive=True, physical_batch=60)
    # Where every step is paid for there are few. As described none is, and its noise has vanished: the control, which may remember.
    steps = {Mode.AGGREGATED_OUTPUT_GRAD: 60, Mode.SHARDED_OUTPUT_GRAD: 60, Mode.RELEASED_TARGETS: 250}
    for mode in (Mode.NONPRIVATE, Mode.AS_DESCRIBED, *steps, Mode.DPSGD_STUDENT, Mode.DP_TEACHER):
        made = method(
            mode, student=network, teacher=network, dpsgd=settings, draws=4, queries=200, teachers=4,
            training=Training(steps=3000, batch_size=30),
            distillation=Distillation(steps=steps.get(mode, 1000), batch_size=20),
        )  # fmt: skip
        data: object
        if mode.asks_teachers:
            data = transfer_data(LocalEnsemble(silos, list(states)), epsilon=epsilon)
        else:
            data, _ = labelled_data(MEMBERS, private=mode.by_dpsgd, epsilon=epsilon)
        # The student that is described learns from the very teacher that is judged beside it.
        folder = tmp_path / (mode.value if mode.covered else "open")
        execute(made, data, silent_run(folder))  # type: ignore[arg-type]
        areas[mode] = told(load_file(folder / "student.safetensors"))
    print(
        "area under the curve of membership: " + ", ".join(f"{mode.value} {area:.3f}" for mode, area in areas.items())
    )
    # Guessing has a standard deviation of .053 here, and some noise is the system's.
    assert areas[Mode.NONPRIVATE] > 0.72 and areas[Mode.AS_DESCRIBED] > 0.58
    assert all(area < 0.7 for mode, area in areas.items() if mode.covered)
