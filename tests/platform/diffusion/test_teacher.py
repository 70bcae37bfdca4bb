"""Training a denoiser, its average, and the teacher that a silo runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.diffusion.average import Average
from stillhouse.platform.diffusion.denoising import Training, denoising_losses, train_denoiser
from stillhouse.platform.diffusion.networks import fresh
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.diffusion.teacher import DiffusionTeacher, OtherSchedule, State
from stillhouse.platform.diffusion.upstream import upstream
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.values import value_from_bytes, value_to_bytes
from torch import nn

from .tiny import CLASSES, MLP, SHAPE, TEACHER, digits, drawn, question


@pytest.fixture(scope="module")
def state() -> State:
    return TEACHER.train(digits(30), seed=3)


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_teacher_depends_on_its_shard_and_its_seed_alone(state: State) -> None:
    torch.manual_seed(99)
    assert same(TEACHER.train(digits(30), seed=3), state)
    assert not same(TEACHER.train(digits(30), seed=4), state)
    images = digits(30).images.copy()
    images[7] = 255 - images[7]
    other = TEACHER.train(ImageData(images, digits(30).labels, CLASSES, "digits"), seed=3)
    assert not same(other, state)


@pytest.mark.parametrize("task", ["targets", "gradients", "directions"])
def test_one_record_moves_every_row_of_an_answer(state: State, task: str) -> None:
    """So a batch of B rows has the sensitivity 2 C sqrt(B), and not 2 C."""
    data = digits(30)
    images = data.images.copy()
    images[7] = 255 - images[7]
    other = TEACHER.train(ImageData(images, data.labels, CLASSES, data.name), seed=3)
    asked = question(6, student=task != "targets")
    assert (TEACHER.answer(state, task, asked)[0] != TEACHER.answer(other, task, asked)[0]).any(1).all()


def test_a_state_travels(state: State) -> None:
    assert same(value_from_bytes(value_to_bytes(state)), state)


def test_targets_are_the_denoisers_estimates_and_change_nothing(state: State) -> None:
    before = {name: value.clone() for name, value in state.items()}
    found, after = TEACHER.answer(state, "targets", question(6))
    assert found.shape == (6, 64) and found.dtype == np.float32 and after is state and same(state, before)
    network = fresh(TEACHER.denoiser, SHAPE, CLASSES, 0)
    network.load_state_dict({k.removeprefix("denoiser/"): v for k, v in state.items() if k.startswith("denoiser/")})
    noise, step, label = drawn(6)
    with torch.no_grad():
        wanted = TEACHER.schedule.clean(network(noise, step, label), noise, step)
    assert np.array_equal(found, wanted.flatten(1).numpy())


def test_a_question_of_gradients_is_one_step_of_the_critic(state: State) -> None:
    """Against the same written with modules that stay in memory, for three questions."""
    noise, _, label = drawn(6)
    student = torch.tanh(noise)
    critic = TEACHER.discriminator.build(SHAPE, CLASSES)
    critic.load_state_dict({k.removeprefix("critic/"): v for k, v in state.items() if k.startswith("critic/")})
    optimizer = torch.optim.Adam(critic.parameters(), TEACHER.critic_rate, betas=(0.5, 0.999))
    targets = torch.from_numpy(TEACHER.answer(state, "targets", question(6))[0]).view(6, *SHAPE)
    now = state
    for updates in range(1, 4):
        before = {name: value.clone() for name, value in now.items()}
        found, after = TEACHER.answer(now, "gradients", question(6, student=True))
        assert same(now, before), "the state that was given must not be touched"
        optimizer.zero_grad()
        TEACHER.adversary.critic_losses(critic, targets, student, label).mean().backward()
        optimizer.step()
        learnt = {name: value.clone() for name, value in critic.state_dict().items()}
        wanted = upstream(student, targets, label, critic, TEACHER.adversary)
        # A forward pass moves the spectral norm's vectors on; the next step starts from the ones that were kept.
        critic.load_state_dict(learnt)
        assert np.allclose(found, wanted.flatten(1).numpy(), atol=1e-6)
        assert int(after["updates"]) == updates
        for name, value in learnt.items():
            assert torch.allclose(after[f"critic/{name}"], value, atol=1e-7), name
        assert all(torch.equal(after[k], state[k]) for k in state if k.startswith("denoiser/"))
        now = after


def test_without_an_adversary_the_gradient_is_that_of_the_distance(state: State) -> None:
    plain = DiffusionTeacher(**{**TEACHER.to_json(), "adversarial": 0.0})
    found, after = plain.answer(state, "gradients", question(6, student=True))
    targets, _ = plain.answer(state, "targets", question(6))
    assert after is state
    assert np.allclose(found, 2 * (question(6, student=True)["student"].reshape(6, -1) - targets), atol=1e-5)


def test_directions_are_gradients_of_length_one(state: State) -> None:
    asked = question(6, student=True)
    gradients, after = TEACHER.answer(state, "gradients", asked)
    directions, same_after = TEACHER.answer(state, "directions", asked)
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    assert (np.abs(lengths - 1) > 0.1).all(), "else nothing would be scaled"
    assert np.allclose(directions, gradients / lengths, atol=1e-6)
    assert same(after, same_after), "the critic learns from them alike"


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        ("votes", {}, "no task"),
        ("targets", {"student": np.zeros((4, *SHAPE), np.float32)}, "is given"),
        ("gradients", {}, "is given"),
        ("targets", {"x": np.zeros((4, 1, 7, 8), np.float32)}, "x has shape"),
        ("targets", {"x": np.full((4, *SHAPE), np.nan, np.float32)}, "not finite"),
        ("targets", {"step": np.array([0, 1, 2, 500])}, "step holds something else"),
        ("targets", {"step": np.array([0.0, 1, 2, 3])}, "step holds something else"),
        ("targets", {"label": np.array([0, 1, 2, -1])}, "label holds something else"),
        ("targets", {"label": np.array([0, 1, 2])}, "label has shape"),
        ("targets", {"signal": np.full(4, 0.5, np.float64)}, "another noise schedule"),
        ("targets", {"signal": np.full((4, 1), 0.5, np.float32)}, "signal has shape"),
    ],
)
def test_what_does_not_fit_is_refused(state: State, task: str, change: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        TEACHER.answer(state, task, question(4) | change)


@pytest.mark.parametrize("step", [0, 50, 250, 499])
@pytest.mark.parametrize("task", ["targets", "gradients"])
def test_a_teacher_answers_its_own_schedule_only(state: State, task: str, step: int) -> None:
    """What counts is the noise that is mixed in: another prediction is no other schedule, and two may meet at a step."""
    asked = question(4, student=task == "gradients") | {"step": np.full(4, step)}
    for schedule, same in (
        (Schedule(), True), (Schedule(prediction="epsilon"), True), (Schedule(beta_end=0.041), step == 0),
        (Schedule(beta_start=1e-3), False), (Schedule(steps=1000, beta_end=0.02), step == 0),
    ):  # fmt: skip
        inputs = asked | {"signal": schedule.signal(torch.full((4,), step)).numpy()}
        if same:
            assert TEACHER.answer(state, task, inputs)[0].shape == (4, 64)
        else:
            with pytest.raises(OtherSchedule, match="steps and beta_end"):
                TEACHER.answer(state, task, inputs)


def test_settings_go_through_json_and_are_checked() -> None:
    assert DiffusionTeacher(**TEACHER.to_json()) == TEACHER
    for wrong in (
        {"timesteps": 100},
        {"network": "vit"},
        {"critic_inputs": "triple"},
        {"steps": 0},
        {"adversarial": -1},
    ):
        with pytest.raises(BadInput):
            DiffusionTeacher(**wrong)  # type: ignore[arg-type]


def test_training_lowers_the_loss_and_a_killed_one_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data, schedule, settings = digits(64), Schedule(), Training(steps=160, batch_size=16)
    images, label = centred(torch.from_numpy(data.images)), torch.from_numpy(data.labels)
    noise, step, _ = drawn(64, seed=5)

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            return float(denoising_losses(network, schedule, images, label, step, noise).mean())

    def trained(folder: str, *, die_at: int | None = None) -> tuple[dict[str, torch.Tensor], float, float]:
        network = fresh(MLP, SHAPE, CLASSES, 0)
        before = loss(network)
        run = LocalRun(tmp_path / folder, reporter=Silent())
        with pytest.MonkeyPatch.context() as patch:
            if die_at is not None:
                updates = Average.update
                count = 0

                def update(self: Average) -> None:
                    nonlocal count
                    count += 1
                    if count > die_at:
                        raise KeyboardInterrupt
                    updates(self)

                patch.setattr(Average, "update", update)
                patch.setattr("stillhouse.platform.training.loop.time.monotonic", _ticking())
            weights = train_denoiser(run, network, schedule, data, settings, name="teacher", inputs=None)
        network.load_state_dict(weights)
        return weights, before, loss(network)

    whole, before, after = trained("whole")
    assert after < 0.8 * before
    with pytest.raises(KeyboardInterrupt):
        trained("killed", die_at=90)
    resumed, _, _ = trained("killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def _ticking():  # type: ignore[no-untyped-def]
    """A clock that makes a checkpoint due after every epoch."""
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1000
        return now

    return tick


def test_an_average_forgets_early_weights_and_can_be_kept() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average, decay, wanted = Average(layer, 0.9), 0.9, None
    with torch.no_grad():
        wanted = layer.weight.item()
        for number in range(40):
            layer.weight.fill_(float(number))
            average.update()
            share = min(decay, (1 + number) / (10 + number))
            wanted = share * wanted + (1 - share) * number
    assert average.weights["weight"].item() == pytest.approx(wanted, rel=1e-5)
    other = Average(layer, 0.9)
    other.load_state_dict(value_from_bytes(value_to_bytes(average.state_dict())))
    average.update()
    other.update()
    assert torch.equal(average.weights["weight"], other.weights["weight"])
