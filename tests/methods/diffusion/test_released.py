"""V4: what is asked, what it costs, and that nothing else of the records is needed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.diffusion.distilling import Distillation
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.platform.diffusion.discriminator import Critic
from stillhouse.platform.diffusion.teacher import OtherSchedule
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.privacy.statement import REPLACE_ONE
from stillhouse.platform.training.outcome import Outcome, execute

from .local_ensemble import LocalCurator, LocalEnsemble, few_digits, silent_run, transfer_data
from .tiny import TEACHER, ensemble, method


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalEnsemble, Outcome, Path]:
    asked, folder = ensemble(), tmp_path_factory.mktemp("released")
    return asked, execute(method(), transfer_data(asked), silent_run(folder)), folder


def test_each_round_asks_at_its_own_rung_and_no_more_than_was_planned(
    finished: tuple[LocalEnsemble, Outcome, Path],
) -> None:
    asked, outcome, _ = finished
    assert [rows for _, rows, _ in asked.charges] == [7, 6, 6, 6] and {draw for draw, _, _ in asked.charges} == {"all"}
    assert [task for task, _ in asked.asked] == ["targets"] * 4
    assert [set(inputs["step"].tolist()) for _, inputs in asked.asked] == [{499}, {374}, {249}, {124}]
    # Classes in turn, on and on.
    assert np.concatenate([inputs["label"] for _, inputs in asked.asked]).tolist() == [k % 10 for k in range(25)]
    (release,) = outcome.privacy.releases
    assert release.event_json["count"] == 25 and outcome.privacy.neighbouring == REPLACE_ONE
    sigma = release.event_json["sigma"] / math.sqrt(release.event_json["squared_sensitivity"])
    assert {multiplier for _, _, multiplier in asked.charges} == {sigma}
    assert 0.999 * 10 < outcome.privacy.epsilon <= 10 and outcome.privacy.delta == 1e-4


def test_a_second_start_asks_nothing(finished: tuple[LocalEnsemble, Outcome, Path]) -> None:
    asked, outcome, folder = finished
    charges = list(asked.charges)
    assert execute(method(), transfer_data(asked), silent_run(folder)).metrics == outcome.metrics
    assert asked.charges == charges


class Nobody:
    """Stands where an ensemble would, when every answer is known: it cannot be counted or asked."""

    def ask_vectors(self, *_: object, **__: object) -> None:
        raise AssertionError("nobody is there")


def test_a_second_start_needs_no_teachers(finished: tuple[LocalEnsemble, Outcome, Path]) -> None:
    asked, outcome, folder = finished
    alone = replace(transfer_data(asked), ensemble=Nobody())  # type: ignore[arg-type]
    assert execute(method(), alone, silent_run(folder)).metrics == outcome.metrics


def test_ten_times_the_training_costs_the_same(tmp_path: Path, finished: tuple[LocalEnsemble, Outcome, Path]) -> None:
    asked, outcome, _ = finished
    long = ensemble()
    training = Distillation(steps=60, batch_size=10, critic=Critic(width=16))
    told = execute(method(distillation=training), transfer_data(long), silent_run(tmp_path))
    assert long.charges == asked.charges and told.privacy == outcome.privacy
    assert told.metrics != outcome.metrics


def test_the_same_run_asks_the_same(tmp_path: Path, finished: tuple[LocalEnsemble, Outcome, Path]) -> None:
    asked, _, _ = finished
    again = ensemble()
    execute(method(), transfer_data(again), silent_run(tmp_path))
    for (_, a), (_, b) in zip(again.asked, asked.asked, strict=True):
        assert set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_nothing_is_asked_if_the_whole_does_not_fit(tmp_path: Path) -> None:
    asked = ensemble()
    with pytest.raises(BudgetExhausted):
        execute(method(noise_multiplier=0.1), transfer_data(asked), silent_run(tmp_path))
    assert not asked.charges


@pytest.mark.parametrize("mode", [Mode.RELEASED_TARGETS, Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD])
def test_nothing_is_asked_if_the_whole_is_more_than_what_is_left(mode: Mode, tmp_path: Path) -> None:
    """The target may be above what the ledger still holds. What was seen once is not counted again after a restart."""
    asked, curator = ensemble(), LocalCurator(few_digits(30), affordable=False)
    data = replace(transfer_data(asked), curator=curator)
    with pytest.raises(BudgetExhausted, match="the whole plan does not fit"):
        execute(method(mode), data, silent_run(tmp_path))
    assert not asked.charges and not asked.asked
    curator.affordable, honest = True, asked.noise
    asked.noise = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        execute(method(mode), data, silent_run(tmp_path))
    assert len(asked.charges) == 1, "the first answer was charged, and its noise failed"
    curator.affordable, asked.noise = False, honest
    outcome = execute(method(mode), data, silent_run(tmp_path))
    assert [dict(r.event_json) for r in outcome.privacy.releases] == [e.to_json() for _, e in curator.planned]


def test_an_aggregator_that_refuses_in_the_middle_ends_the_run(tmp_path: Path) -> None:
    asked = ensemble()
    asked.most_rows = 10
    with pytest.raises(BudgetExhausted, match="nothing is left"):
        execute(method(), transfer_data(asked), silent_run(tmp_path))
    assert asked.rows <= 10


def test_later_rounds_are_clipped_about_what_the_student_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    centres: list[np.ndarray] = []
    honest = LocalEnsemble.ask_vectors

    def keep(self: LocalEnsemble, *args: object, **named: object) -> np.ndarray:
        centres.append(np.asarray(named["centre"]))
        return honest(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalEnsemble, "ask_vectors", keep)
    execute(method(centre=-0.5), transfer_data(ensemble()), silent_run(tmp_path / "own"))
    assert (centres[0] == -0.5).all() and all(np.ptp(centre) > 0 for centre in centres[1:])
    centres.clear()
    execute(method(centre=-0.5, recentre=False), transfer_data(ensemble()), silent_run(tmp_path / "fixed"))
    assert all((centre == -0.5).all() for centre in centres)


def test_teachers_that_only_vote_and_data_of_another_kind_are_refused(tmp_path: Path) -> None:
    data = transfer_data(ensemble())
    with pytest.raises(BadInput, match="labels only"):
        execute(method(), replace(data, ensemble=object()), silent_run(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="works on labelled images"):
        execute(method(Mode.NONPRIVATE), data, silent_run(tmp_path))


@pytest.mark.parametrize("mode", [Mode.RELEASED_TARGETS, Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD])
def test_silos_that_are_known_to_vote_only_are_not_waited_for(mode: Mode, tmp_path: Path) -> None:
    """An ensemble across the wire has `ask_vectors` whatever its silos are: asked, it would wait in vain."""

    class Away:
        def ask_vectors(self, *_: object, **__: object) -> None:
            raise AssertionError("nobody may be asked")

        @property
        def teachers(self) -> int:
            raise AssertionError("nobody may be counted")

    away = replace(transfer_data(ensemble()), ensemble=Away(), teacher={"name": "scatter_ridge", "components": 40})  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"labels only.*use silos=diffusion"):
        execute(method(mode), away, silent_run(tmp_path))


@pytest.mark.parametrize("mode", [Mode.RELEASED_TARGETS, Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD])
def test_teachers_of_another_schedule_are_not_asked(mode: Mode, tmp_path: Path) -> None:
    """Where it is known what they are, before anything; where it is not, by themselves. Nothing is charged in either case."""
    asked = ensemble(beta_end=0.05)
    known = replace(transfer_data(asked), teacher={"name": "diffusion", **asked.settings.to_json()})
    with pytest.raises(BadInput, match=r"beta from 0\.0001 to 0\.04, the silos' teachers have .* to 0\.05"):
        execute(method(mode), known, silent_run(tmp_path / "known"))
    assert not asked.charges and not asked.asked
    with pytest.raises(OtherSchedule):
        execute(method(mode), transfer_data(asked), silent_run(tmp_path / "unknown"))
    assert not asked.charges
    # A prediction of their own is their own affair.
    other = ensemble(prediction="sample")
    told = replace(transfer_data(other), teacher={"name": "diffusion", **other.settings.to_json()})
    execute(method(mode), told, silent_run(tmp_path / "sample"))
    assert other.charges


def test_changing_one_record_changes_one_teacher(finished: tuple[LocalEnsemble, Outcome, Path]) -> None:
    asked = ensemble()
    shards = [few_digits(10, start=10 * k) for k in range(3)]
    images = shards[1].images.copy()
    images[4] = 255 - images[4]
    shards[1] = replace(shards[1], images=images)
    other = LocalEnsemble.trained(TEACHER, shards)
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(asked.states, other.states, strict=True)]
    assert same == [True, False, True]
