"""DP-FedAvg as a method: silos are independent, the plan is charged whole and first, its epsilon is about replacing one record."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.fedavg import DpFedAvg
from stillhouse.methods.fedavg.network import KINDS, Network
from stillhouse.methods.federated import FederatedTraining, Federation, client, least_noise, terms
from stillhouse.methods.transfer import TransferData
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE
from stillhouse.platform.training.fedavg import FedAvg
from stillhouse.platform.training.local_sgd import LocalSgd
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun, Run

SILOS, DELTA = 8, 1e-5
SMALL = DpFedAvg(
    Network(components=40), Federation(FedAvg(rounds=3, clip_norm=5.0), LocalSgd(epochs=2, learning_rate=3.0))
)


class Owner:
    """Digits in eight silos; counts what it gave out."""

    def __init__(self, *, affordable: bool = True, records: int = 400, silos: int | None = SILOS) -> None:
        self.private = load("digits").private.take(range(records))
        self.partition = None if silos is None else Manifest.make(records, silos, key="test")
        self.affordable = affordable
        self.released: list[FederatedTraining] = []

    @property
    def records(self) -> int:
        return len(self.private)

    def refuse_unless_affordable(self, events: object, *, mend: str) -> None:
        if not self.affordable:
            raise BudgetExhausted("it does not fit", mend=mend)

    def release(self, work: FederatedTraining, run: Run) -> object:
        self.released.append(work)
        return work.compute(self.private, run)


class Mute:
    def ask(self, images: object, mechanism: object, *, student: object = None) -> object:
        raise AssertionError("DP-FedAvg asks for no votes")


def finish(method: DpFedAvg, owner: Owner | None, folder: Path, *, epsilon: float = 60.0) -> Outcome:
    source = load("digits")
    data = TransferData(
        pool=source.pool.images, score=source.score, ensemble=Mute(), ensemble_id="digits-test", mechanism=GNMax(5.0), delta=DELTA,
        protocol="test", epsilon=epsilon, curator=owner,
    )  # type: ignore[arg-type]  # fmt: skip
    return execute(method, data, LocalRun(folder, seed=0, reporter=Silent()))


def test_the_whole_budget_buys_one_classifier_about_replacing_one_record(tmp_path: Path) -> None:
    owner = Owner()
    outcome = finish(SMALL, owner, tmp_path)
    assert outcome.privacy.epsilon == pytest.approx(60, rel=1e-6) and outcome.privacy.epsilon <= 60 * (1 + 1e-9)
    assert outcome.privacy.neighbouring == REPLACE_ONE and outcome.privacy.coverage == "covered"
    assert [release.event_json for release in outcome.privacy.releases] == [
        event.to_json() for _, event in owner.released[0].events(owner.records)
    ]
    assert any("add or remove one silo" in note and "says nothing of a record" in note for note in outcome.notes)
    # By chance 0.1; 30 runs, each with noise of its own, gave 0.51 to 0.71.
    assert outcome.metrics["student_accuracy"].value > 0.3
    assert set(load_file(tmp_path / "student.safetensors")) == {"linear.weight"}


def test_a_second_start_finds_it_and_pays_nothing(tmp_path: Path) -> None:
    owner = Owner()
    first = finish(SMALL, owner, tmp_path)
    again = finish(SMALL, owner, tmp_path)
    assert len(owner.released) == 1 and again.metrics == first.metrics


def test_plain_federated_averaging_has_no_finite_epsilon(tmp_path: Path) -> None:
    owner = Owner()
    told = finish(replace(SMALL, private=False), owner, tmp_path).privacy
    assert math.isinf(told.epsilon) and told.coverage == "uncovered" and "without noise" in told.reasons[0]
    assert owner.released[0].events(1) == [] and owner.released[0].uncovered


def test_what_cannot_be_paid_or_trained_is_refused_before_the_charge(tmp_path: Path) -> None:
    poor, rich = Owner(affordable=False), Owner()
    with pytest.raises(BudgetExhausted):
        finish(SMALL, poor, tmp_path / "a")
    with pytest.raises(BudgetExhausted, match=r"3 rounds cost epsilon .* of 1 at delta"):
        finish(replace(SMALL, noise_multiplier=1.0), rich, tmp_path / "b", epsilon=1.0)
    with pytest.raises(BadInput, match="noise for federated averaging that is not private"):
        replace(SMALL, private=False, noise_multiplier=1.0)
    assert poor.released == rich.released == []


@pytest.mark.parametrize("owner", [None, Owner(silos=None, records=20)], ids=["elsewhere", "in one place"])
def test_without_silos_here_it_says_so(tmp_path: Path, owner: Owner | None) -> None:
    with pytest.raises(BadInput, match="simulated here"):
        finish(SMALL, owner, tmp_path)


def updates(private: ImageData, manifest: Manifest) -> list[torch.Tensor]:
    """Every silo's first update, as `FederatedTraining` makes it."""
    model = SMALL.network.build(np.zeros((0, 1, 8, 8), np.uint8), (1, 8, 8), 10, seed=0)
    start = torch.zeros(sum(p.numel() for p in model.trained_part.parameters()))
    silos = [
        client(model, model.trained_part, private.take(manifest.indices(i)), SMALL.federation.client, seed=i)
        for i in range(manifest.shards)
    ]
    return [silo(start, 1) for silo in silos]


def test_a_changed_record_changes_one_silos_update_and_not_a_bit_of_another(tmp_path: Path) -> None:
    private, manifest = load("digits").private.take(range(200)), Manifest.make(200, SILOS, key="test")
    images, labels = private.images.copy(), private.labels.copy()
    images[7], labels[7] = 255 - images[7], (labels[7] + 1) % 10
    before = updates(private, manifest)
    after = updates(ImageData(images, labels, 10, "digits"), manifest)
    touched = int(manifest.assignment[7])
    assert [i for i in range(SILOS) if not torch.equal(before[i], after[i])] == [touched]


def test_a_partition_of_other_records_is_refused(tmp_path: Path) -> None:
    owner = Owner()
    owner.partition = Manifest.make(30, 3, key="test")
    with pytest.raises(BadInput, match="a partition of 30 records for 400"):
        finish(SMALL, owner, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_is_trained_and_loaded_again(tmp_path: Path, kind: str) -> None:
    method = replace(SMALL, network=Network(kind, components=20, hidden=16, width=4, dropout=0.1), private=False)
    outcome = finish(method, Owner(records=160), tmp_path)
    assert 0 <= outcome.metrics["student_accuracy"].value <= 1
    assert load_file(tmp_path / "student.safetensors")


@pytest.mark.parametrize("rate", [1.0, 0.25])
@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_noise_fits_the_ledgers_budget_and_fills_it(rate: float, epsilon: float) -> None:
    server = FedAvg(rounds=20, sample_rate=rate)
    noise = least_noise(server, epsilon=epsilon, delta=DELTA)
    budget = terms(server, epsilon=epsilon, delta=DELTA)
    kind, orders = (BudgetKind.GAUSSIAN, ()) if budget is None else (budget.kind, budget.orders)
    assert budget is None or budget.neighbouring == REPLACE_ONE != ADD_OR_REMOVE
    cap = budget_cap(kind, epsilon=epsilon, delta=DELTA, orders=orders)
    cost = event_cost(kind, server.event(noise), orders=orders)
    assert all(c <= limit for c, limit in zip(cost, cap, strict=True))
    less = event_cost(kind, server.event(noise * 0.999), orders=orders)
    assert any(c > limit for c, limit in zip(less, cap, strict=True))
    assert 0.93 * epsilon < plan_epsilon([server.event(noise)], DELTA) <= epsilon * (1 + 1e-9)


@pytest.mark.parametrize("wrong", [{"kind": "mlp"}, {"components": 0}, {"dropout": 1.0}], ids=str)
def test_impossible_networks_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Network(**wrong)


def test_pates_student_wants_a_public_pool() -> None:
    with pytest.raises(BadInput, match="needs a public pool"):
        Network("pate").build(np.zeros((0, 1, 8, 8), np.uint8), (1, 8, 8), 10, seed=0)
