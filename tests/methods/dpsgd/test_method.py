"""DP-SGD as a method: one release for the whole budget, refused before it is paid for, found again afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from stillhouse.methods.dgd.baseline import Baseline, PrivateBaseline
from stillhouse.methods.dpsgd import DirectDpSgd
from stillhouse.methods.transfer import TransferData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE
from stillhouse.platform.training import dpsgd
from stillhouse.platform.training.dpsgd import DpSgd
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun, Run

SMALL = DirectDpSgd(Baseline(components=40, dpsgd=DpSgd(batch_size=200, steps=40, learning_rate=20.0), epochs=20))


class Owner:
    """All digits in one place; counts what it gave out."""

    def __init__(self, *, affordable: bool = True) -> None:
        self.private = load("digits").private
        self.affordable = affordable
        self.released: list[PrivateBaseline] = []

    @property
    def records(self) -> int:
        return len(self.private)

    def refuse_unless_affordable(self, events: object, *, mend: str) -> None:
        if not self.affordable:
            raise BudgetExhausted("it does not fit", mend=mend)

    def release(self, work: PrivateBaseline, run: Run) -> object:
        self.released.append(work)
        return work.compute(self.private, run)


class Mute:
    """An ensemble that must not be asked."""

    def ask(self, images: object, mechanism: object, *, student: object = None) -> object:
        raise AssertionError("DP-SGD asks nobody")


def finish(method: DirectDpSgd, owner: Owner | None, folder: Path, *, epsilon: float = 8.0) -> Outcome:
    source = load("digits")
    data = TransferData(
        pool=source.pool.images, score=source.score, ensemble=Mute(), ensemble_id="digits-test", mechanism=GNMax(5.0), delta=1e-5,
        protocol="test", epsilon=epsilon, curator=owner,
    )  # type: ignore[arg-type]  # fmt: skip
    return execute(method, data, LocalRun(folder, seed=0, reporter=Silent()))


def test_the_whole_budget_buys_one_classifier(tmp_path: Path) -> None:
    owner = Owner()
    outcome = finish(SMALL, owner, tmp_path)
    assert 0.93 * 8 < outcome.privacy.epsilon <= 8
    assert outcome.privacy.neighbouring == ADD_OR_REMOVE
    assert outcome.privacy.coverage == "covered"
    assert [release.event_json for release in outcome.privacy.releases] == [
        event.to_json() for _, event in owner.released[0].events(owner.records)
    ]
    assert outcome.metrics["student_accuracy"].value > 0.5
    assert set(load_file(tmp_path / "student.safetensors")) == {"linear.weight"}


def test_a_second_start_finds_it_and_pays_nothing(tmp_path: Path) -> None:
    owner = Owner()
    first = finish(SMALL, owner, tmp_path)
    again = finish(SMALL, owner, tmp_path)
    assert len(owner.released) == 1
    assert again.metrics == first.metrics


def test_what_cannot_be_paid_or_trained_is_refused_before_the_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpsgd, "MOST_UNITS", dpsgd.SIGMA_UNITS)  # Otherwise the grid would be made finer.
    poor, rich = Owner(affordable=False), Owner()
    with pytest.raises(BudgetExhausted):
        finish(SMALL, poor, tmp_path / "a")
    wide = replace(SMALL.baseline, kind="cnn", width=64, hidden=512)
    with pytest.raises(BadInput, match="lost in rounding"):
        finish(replace(SMALL, baseline=wide), rich, tmp_path / "b", epsilon=0.3)
    assert poor.released == rich.released == []


def test_separate_owners_cannot_do_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all records in one place"):
        finish(SMALL, None, tmp_path)
