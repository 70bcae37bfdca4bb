"""What stands between the records and a student: its inputs, its noise, its graph, and a teacher that is not touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.diffusion import by_dpsgd, described, distilling, gradients
from stillhouse.methods.diffusion.made import hash_of
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.works import PrivateDenoiser
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.diffusion.networks import Denoiser, Network
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.privacy.vector_mean import VectorMean
from stillhouse.platform.training.dpsgd import DpSgd
from stillhouse.platform.training.outcome import execute
from support.graph import leaves_behind
from support.noise import ZeroNoise, repeatable_noise
from torch import Tensor, nn

from .local_ensemble import LocalEnsemble, few_digits, silent_run, transfer_data
from .tiny import TEACHER, ensemble, labelled_data, method

ASKING = (Mode.RELEASED_TARGETS, Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD)
BY_STEP = ASKING[1:]


@pytest.mark.parametrize("mode", ASKING)
def test_inputs_of_every_step_follow_from_noise_and_earlier_answers_alone(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teachers of other records who happen to give the same answers are asked the same questions, to the bit."""
    answers: list[np.ndarray] = []
    honest = LocalEnsemble.ask_vectors

    def keep(self: LocalEnsemble, *args: object, **named: object) -> np.ndarray:
        answers.append(honest(self, *args, **named))  # type: ignore[arg-type]
        return answers[-1]

    first = ensemble()
    monkeypatch.setattr(LocalEnsemble, "ask_vectors", keep)
    execute(method(mode), transfer_data(first), silent_run(tmp_path / "first"))
    replayed = iter(answers)

    def repeat(self: LocalEnsemble, *args: object, **named: object) -> np.ndarray:
        own = honest(self, *args, **named)  # type: ignore[arg-type]
        told = next(replayed)
        assert not np.array_equal(own, told), "other records give other answers, or nothing is shown here"
        return told

    other = LocalEnsemble.trained(TEACHER, [few_digits(10, start=500 + 10 * k) for k in range(3)])
    monkeypatch.setattr(LocalEnsemble, "ask_vectors", repeat)
    execute(method(mode), transfer_data(other), silent_run(tmp_path / "other"))
    assert len(first.asked) == len(other.asked) == (4 if mode is Mode.RELEASED_TARGETS else 6)
    for (_, a), (_, b) in zip(first.asked, other.asked, strict=True):
        assert (
            set(a) == set(b)
            and ("centre" in a) == (mode is Mode.RELEASED_TARGETS)
            and all(np.array_equal(a[name], b[name]) for name in a)
        )
    # Nor does anything else reach the student, after the last question.
    one, two = (hash_of(load_file(tmp_path / name / "student.safetensors")) for name in ("first", "other"))
    assert one == two


@pytest.mark.parametrize("timesteps", [500, 200])
@pytest.mark.parametrize("mode", ASKING)
def test_answers_carry_the_noise_that_is_promised_whatever_the_length_of_the_chain(
    mode: Mode, timesteps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, multiplier, teachers = 2.0, 50.0, 3
    noise: list[np.ndarray] = []
    honest = VectorMean.noisy

    def keep(self: VectorMean, total: np.ndarray, source: object) -> np.ndarray:
        found = honest(self, total, source)  # type: ignore[arg-type]
        told = [self.value(units, teachers=teachers, centre=None) for units in (found, total)]
        noise.append(told[0].astype(float) - told[1])
        return found

    monkeypatch.setattr(VectorMean, "noisy", keep)
    chain = {"beta_end": 0.1} if timesteps == 200 else {}
    asked = ensemble(teachers, timesteps=timesteps, **chain)
    made = method(
        mode, schedule=Schedule(timesteps, **chain), clip=clip, noise_multiplier=multiplier, queries=400,
        distillation=replace(method(mode).distillation, batch_size=70),
    )  # fmt: skip
    execute(made, transfer_data(asked, epsilon=1000.0), silent_run(tmp_path))
    drawn = np.concatenate(noise)
    wanted = 2 * clip * multiplier / (1 if mode is Mode.SHARDED_OUTPUT_GRAD else teachers)
    # 25,600 numbers at least: the estimate's own deviation is 0.44 %.
    assert drawn.size >= 25_600 and drawn.std() == pytest.approx(wanted, rel=0.01)
    # Between questions, rows and coordinates.
    few = [part[: len(noise[-1])] for part in noise]
    for a, b in ((few[0], few[1]), (drawn[:-1], drawn[1:]), (drawn[:, :-1], drawn[:, 1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("timesteps", [500, 1000])
def test_dp_sgd_adds_the_noise_that_was_charged_whatever_the_length_of_the_chain(
    timesteps: int, tmp_path: Path
) -> None:
    """One step of plain SGD on the same records, with noise and without: the weights differ by the noise alone."""
    clip, multiplier, records = 0.5, 3.0, few_digits(12)
    settings = DpSgd(batch_size=12, steps=1, learning_rate=1.0, momentum=0.0, averaging=0.0, clip_norm=clip)
    found = []
    for noise in (repeatable_noise(4), ZeroNoise()):
        work = PrivateDenoiser(Network(hidden=48), Schedule(timesteps), settings, 2, multiplier, noise)
        found.append(work.compute(records, silent_run(tmp_path)))
    drawn = torch.cat([(found[0][name] - found[1][name]).double().flatten() for name in found[0]]) * 12
    # Ten thousand numbers: 0.7 % of the estimate.
    assert len(drawn) > 10_000 and float(drawn.std()) == pytest.approx(clip * multiplier, rel=0.04)
    ((_, event),) = replace(work, settings=replace(settings, batch_size=6)).events(12)
    assert event.noise_multiplier == multiplier  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", [*ASKING, Mode.DP_TEACHER, Mode.AS_DESCRIBED])
def test_no_backward_pass_reaches_anything_but_the_student(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk through the graph of every step of a real training, from the very loss that is differentiated."""
    reached: list[set[int]] = []
    losses: list[Tensor] = []
    trained: list[nn.Module] = []
    sanitised: list[Tensor] = []

    def trains(honest: Callable[..., object]) -> Callable[..., object]:
        def train(run: object, student: nn.Module, loss: Callable[..., Any], *rest: object, **named: object) -> object:
            def watched(model: nn.Module, batch: object) -> object:
                told = loss(model, batch)
                value = told["loss"] if isinstance(told, Mapping) else told
                assert value is losses[-1], "something stands beside what was sanitised"
                assert not isinstance(told, Mapping) or not any(
                    told[name].requires_grad for name in set(told) - {"loss"}
                )
                return told

            trained.append(student)
            return honest(run, student, watched, *rest, **named)

        return train

    def walked(honest: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def surrogate(output: Tensor, gradient: Tensor) -> Tensor:
            assert not gradient.requires_grad
            if sanitised:
                assert torch.equal(gradient.flatten(), sanitised[-1].flatten()), "not what came out of the mechanism"
            losses.append(honest(output, gradient))
            reached.append(leaves_behind(losses[-1]))
            return losses[-1]

        return surrogate

    def kept(honest: Callable[..., Any]) -> Callable[..., Any]:
        def mechanism(*args: object, **named: object) -> Any:
            found = honest(*args, **named)
            sanitised.append(torch.as_tensor(np.array(found)) if isinstance(found, np.ndarray) else found)
            return found

        return mechanism

    for module in (distilling, gradients):
        monkeypatch.setattr(module, "surrogate", walked(module.surrogate))
        monkeypatch.setattr(module, "train", trains(module.train))
    monkeypatch.setattr(described, "sanitised", kept(described.sanitised))
    if mode in BY_STEP:
        monkeypatch.setattr(LocalEnsemble, "ask_vectors", kept(LocalEnsemble.ask_vectors))
    data: object = transfer_data(ensemble())
    if mode not in ASKING:
        data, _ = labelled_data(private=mode is not Mode.AS_DESCRIBED)
    execute(method(mode), data, silent_run(tmp_path))  # type: ignore[arg-type]
    assert trained and all(student is trained[0] for student in trained)
    assert len(reached) >= method(mode).distillation.steps
    assert all(leaves == {id(parameter) for parameter in trained[0].parameters()} for leaves in reached)
    assert bool(sanitised) == (mode in (*BY_STEP, Mode.AS_DESCRIBED))


def test_a_dp_teacher_is_frozen_and_its_student_sees_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, curator = labelled_data(private=True)
    teachers: list[Denoiser] = []
    fresh, distil = by_dpsgd.fresh, by_dpsgd.distil

    def seen(*args: object) -> Denoiser:
        teachers.append(fresh(*args))  # type: ignore[arg-type]
        return teachers[-1]

    def watched(
        run: object, student: Denoiser, schedule: Schedule, loader: object, ask: object, *rest: object, **named: object
    ) -> object:  # fmt: skip
        (teacher,) = (made for made in teachers if made is not student)
        before = hash_of(teacher.state_dict())
        assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())
        batch = next(iter(loader))  # type: ignore[call-overload]
        question = ask(batch)  # type: ignore[operator]
        assert question.real is None and not question.targets.requires_grad
        records = centred(torch.from_numpy(curator.private.images)).flatten(1)
        images = batch[0].flatten(1)
        assert torch.cdist(images, records).min() > 0.1, "a teacher of eight steps does not hit a record by chance"
        learnt = distil(run, student, schedule, loader, ask, *rest, **named)  # type: ignore[arg-type]
        assert hash_of(teacher.state_dict()) == before
        return learnt

    monkeypatch.setattr(by_dpsgd, "fresh", seen)
    monkeypatch.setattr(by_dpsgd, "distil", watched)
    execute(method(Mode.DP_TEACHER), data, silent_run(tmp_path))
    assert len(teachers) == 2


def test_another_record_changes_nothing_of_a_dp_teachers_distillation_but_through_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same teacher handed out, a student of other records is the same, to the bit."""
    found = []
    weights: list[dict[str, Tensor]] = []
    honest = PrivateDenoiser.compute

    def first(self: PrivateDenoiser, private: ImageData, run: object) -> dict[str, Tensor]:
        own = honest(self, private, run)  # type: ignore[arg-type]
        weights.append(own)
        return weights[0]

    monkeypatch.setattr(PrivateDenoiser, "compute", first)
    for name, start in (("one", 0), ("other", 300)):
        data, curator = labelled_data(private=True)
        curator.private = few_digits(60, start=start)
        found.append(execute(method(Mode.DP_TEACHER), data, silent_run(tmp_path / name)))
    assert hash_of(weights[0]) != hash_of(weights[1])
    assert found[0].metrics == found[1].metrics
    one, other = (hash_of(load_file(tmp_path / name / "student.safetensors")) for name in ("one", "other"))
    assert one == other
