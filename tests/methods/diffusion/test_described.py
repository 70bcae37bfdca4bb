"""V0 and the teacher alone: no epsilon anywhere, a frozen teacher, the literal noise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.diffusion import described
from stillhouse.methods.diffusion.described import described_deviation
from stillhouse.methods.diffusion.distilling import Question
from stillhouse.methods.diffusion.made import hash_of
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.synthetic import read_synthetic
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.statement import NOT_ESTABLISHED
from stillhouse.platform.report.comparison import epsilon_range
from stillhouse.platform.report.report import statement_text
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from support.noise import ZeroNoise

from .local_ensemble import silent_run
from .tiny import labelled_data, method


@pytest.mark.parametrize("mode", [Mode.AS_DESCRIBED, Mode.NONPRIVATE])
def test_no_finite_epsilon_is_printed_anywhere(mode: Mode, tmp_path: Path) -> None:
    data, _ = labelled_data(private=False)
    outcome = execute(method(mode), data, silent_run(tmp_path))
    told = outcome.privacy
    assert math.isinf(told.epsilon) and told.coverage == "uncovered" and not told.releases
    assert math.isinf(outcome.metrics["epsilon"].value)
    _, _, _, beside = read_synthetic(tmp_path / "synthetic.npz")
    assert beside == told
    written = json.loads((tmp_path / "outcome.json").read_text())
    assert written["privacy"]["epsilon"] == "inf" and written["metrics"]["epsilon"]["value"] == "inf"
    if mode is Mode.AS_DESCRIBED:
        assert NOT_ESTABLISHED in told.line() and any(NOT_ESTABLISHED in note for note in outcome.notes)
    # In reports and tables of studies as well; a method that claims nothing has the sign of infinity.
    shown = "not established" if mode is Mode.AS_DESCRIBED else "\u221e"
    assert statement_text(told) == shown == epsilon_range([outcome])
    # What may be looked at, is.
    assert {"membership_auc_distance", "membership_auc_loss", "nearest_neighbour_ratio"} <= set(outcome.metrics)
    assert outcome.baselines["real data"]["accuracy"].better == "higher"


def test_the_noise_is_the_literal_one_and_the_teacher_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = labelled_data(private=False)
    made, noise, run = method(Mode.AS_DESCRIBED), ZeroNoise(), silent_run(tmp_path)
    questions: list[Question] = []
    deviations: list[float] = []
    sanitised = described.sanitised

    def spy(gradient: torch.Tensor, *, deviation: float, **named: object) -> torch.Tensor:
        deviations.append(deviation)
        return sanitised(gradient, deviation=deviation, **named)  # type: ignore[arg-type]

    distil = described.distil

    def watched(*args: object, **named: object) -> object:
        before = [hash_of(teacher.state_dict()) for teacher in teachers]
        found = distil(*args, **named)  # type: ignore[arg-type]
        assert [hash_of(teacher.state_dict()) for teacher in teachers] == before
        questions.append(args[4](next(iter(args[3]))))  # type: ignore[operator, call-overload]
        return found

    teachers: list[torch.nn.Module] = []
    fresh = described.fresh

    def seen(*args: object) -> torch.nn.Module:
        teachers.append(fresh(*args))  # type: ignore[arg-type]
        return teachers[-1]

    monkeypatch.setattr(described, "sanitised", spy)
    monkeypatch.setattr(described, "fresh", seen)
    monkeypatch.setattr(described, "distil", lambda *a, **n: (teachers.pop(), watched(*a, **n))[1])
    found = described.as_described(made, data, run, {}, noise)
    assert set(deviations) == {1.0 * made.clip / 500} == {described_deviation(made.clip, 1.0, 500)}
    assert len(noise.calls) == len(deviations) > 0
    assert len(teachers) == 1 and not any(p.requires_grad for p in teachers[0].parameters())
    assert not questions[0].targets.requires_grad
    # The student is fed records: the loss's real part is one of them.
    records = data.train.images.astype(np.float32) / 127.5 - 1  # type: ignore[union-attr]
    assert any(np.allclose(questions[0].real[0].numpy(), record, atol=1e-6) for record in records)  # type: ignore[index]
    assert found.source == hash_of(found.weights)


@pytest.mark.parametrize(("dilution", "wanted"), [(True, 1.0 * 5.0 / 500), (False, 1.0 * 5.0)])
def test_without_the_dilution_the_noise_is_sigma_times_the_bound(
    dilution: bool, wanted: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = labelled_data(private=False)
    seen: list[dict[str, object]] = []
    sanitised = described.sanitised

    def spy(gradient: torch.Tensor, **named: object) -> torch.Tensor:
        seen.append(named)
        return sanitised(gradient, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(described, "sanitised", spy)
    made = method(Mode.AS_DESCRIBED, dilution=dilution, normalise=True, clip=5.0)
    found = described.as_described(made, data, silent_run(tmp_path), {})
    assert {call["deviation"] for call in seen} == {wanted} and all(call["normalise"] for call in seen)
    assert found.statement.epsilon == float("inf")


def test_a_student_that_predicts_the_image_in_half_precision_is_clipped_all_the_same(tmp_path: Path) -> None:
    """Its estimate would be of half precision, of which clipping knows no bound."""
    data, _ = labelled_data(private=False)
    made = method(Mode.AS_DESCRIBED, schedule=Schedule(prediction="sample"))
    found = described.as_described(made, data, LocalRun(tmp_path, precision="bfloat16", reporter=Silent()), {})
    assert all(value.isfinite().all() for value in found.weights.values())


def test_a_teacher_is_trained_once_for_all_students_of_a_folder(tmp_path: Path) -> None:
    data, _ = labelled_data(private=False)
    first, second = (silent_run(tmp_path) for _ in range(2))
    described.as_described(method(Mode.AS_DESCRIBED), data, first, {"student": 1})
    described.as_described(method(Mode.AS_DESCRIBED, clip=1.0), data, second, {"student": 2})
    assert "teacher" not in first.reused and "teacher" in second.reused and "student" not in second.reused


def test_records_in_a_curators_hands_are_not_for_it(tmp_path: Path) -> None:
    data, curator = labelled_data(private=True)
    with pytest.raises(BadInput, match="this mode looks at records"):
        execute(method(Mode.NONPRIVATE), data, silent_run(tmp_path))
    assert not curator.charges
