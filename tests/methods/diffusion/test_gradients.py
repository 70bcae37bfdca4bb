"""V2 and V3: each step is charged, one process asks, a killed training asks the same again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.events import GaussianEvent, event_from_json
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

from .local_ensemble import LocalEnsemble, silent_run, transfer_data
from .tiny import ensemble, method


@pytest.mark.parametrize(("mode", "draw"), [(Mode.AGGREGATED_OUTPUT_GRAD, "all"), (Mode.SHARDED_OUTPUT_GRAD, "one")])
def test_every_step_is_asked_and_charged_once(mode: Mode, draw: str, tmp_path: Path) -> None:
    asked = ensemble()
    outcome = execute(method(mode), transfer_data(asked), silent_run(tmp_path))
    assert [charge[:2] for charge in asked.charges] == [(draw, 10)] * 6
    assert {task for task, _ in asked.asked} == {"gradients"}
    steps = {int(inputs["step"][0]) for _, inputs in asked.asked}
    assert steps <= {499, 374, 249, 124} and len(steps) > 1
    (release,) = outcome.privacy.releases
    event = event_from_json(dict(release.event_json))
    if draw == "one":
        assert event == OneTeacherEvent(asked.charges[0][2], 10, 3, 6)
        assert len(asked.drawn) == 6
    else:
        assert isinstance(event, GaussianEvent) and event.count == 60
    # All critics learn from every question, so that traffic and states do not tell who was drawn.
    assert [int(state["updates"]) for state in asked.states] == [6, 6, 6]
    assert 0.999 * 10 < outcome.privacy.epsilon <= 10
    # A longer training costs more: with the noise that the shorter one had, it does not fit.
    longer = method(mode, distillation=replace(method(mode).distillation, steps=12))
    more, noise = ensemble(), asked.charges[0][2]
    with pytest.raises(BudgetExhausted, match="the plan costs epsilon"):
        execute(replace(longer, noise_multiplier=noise), transfer_data(more), silent_run(tmp_path / "unfit"))
    assert not more.charges
    told = execute(longer, transfer_data(more), silent_run(tmp_path / "longer"))
    assert more.rows == 120 and more.charges[0][2] > noise
    assert told.privacy.epsilon <= 10


def test_half_precision_reaches_the_training_and_not_the_questions(tmp_path: Path) -> None:
    """numpy has no bfloat16: what is asked is float32, whatever the student multiplies in."""
    found = {}
    for precision in ("float32", "bfloat16"):
        asked = ensemble()
        run = LocalRun(tmp_path / precision, precision=precision, reporter=Silent())
        execute(method(Mode.AGGREGATED_OUTPUT_GRAD), transfer_data(asked), run)
        assert {inputs[name].dtype.name for _, inputs in asked.asked for name in ("x", "student", "signal")} == {
            "float32"
        }
        found[precision] = asked.asked[-1][1]["student"]
    assert not np.array_equal(found["float32"], found["bfloat16"]), "the precision did not reach the training"


@pytest.mark.parametrize("mode", [Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD])
def test_normalised_gradients_cost_what_clipped_ones_cost(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips: list[float] = []
    honest = LocalEnsemble.ask_vectors

    def keep(self: LocalEnsemble, *args: object, **named: object) -> np.ndarray:
        clips.append(named["clip"])  # type: ignore[arg-type]
        return honest(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalEnsemble, "ask_vectors", keep)
    plain, scaled = ensemble(), ensemble()
    told = [
        execute(
            method(mode, clip=4.0, normalise=normalise), transfer_data(asked), silent_run(tmp_path / str(normalise))
        )
        for asked, normalise in ((plain, False), (scaled, True))
    ]
    assert {task for task, _ in scaled.asked} == {"directions"} and clips == [4.0] * 6 + [1.0] * 6
    assert scaled.charges == plain.charges and told[0].privacy.epsilon == told[1].privacy.epsilon
    assert told[0].metrics != told[1].metrics


def test_a_killed_training_asks_the_same_again_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aggregator answers a repeated question from its store; here a store of the same kind stands for it."""
    mode = Mode.AGGREGATED_OUTPUT_GRAD
    whole = ensemble()
    wanted = execute(method(mode), transfer_data(whole), silent_run(tmp_path / "whole"))
    killed, honest = ensemble(), LocalEnsemble.ask_vectors
    store: dict[bytes, np.ndarray] = {}

    def stored(self: LocalEnsemble, task: str, inputs: dict[str, np.ndarray], **named: object) -> np.ndarray:
        key = b"".join(inputs[name].tobytes() for name in sorted(inputs))
        if key not in store:
            if len(store) == 4 and die:
                raise KeyboardInterrupt
            store[key] = honest(self, task, inputs, **named)  # type: ignore[arg-type]
        return store[key]

    monkeypatch.setattr(LocalEnsemble, "ask_vectors", stored)
    die = True
    with pytest.raises(KeyboardInterrupt):
        execute(method(mode), transfer_data(killed), silent_run(tmp_path / "killed"))
    die = False
    found = execute(method(mode), transfer_data(killed), silent_run(tmp_path / "killed"))
    assert killed.charges == whole.charges and found.metrics == wanted.metrics
