"""The coupled step: who corrects whom, who shares a correction, when sets are used up, and what a state holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.noisy_labels.crowd import coupled
from stillhouse.methods.noisy_labels.crowd.answers import Answers
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, build
from stillhouse.methods.noisy_labels.crowd.coupled import CrowdLayer, MutualCorrection, MutualSettings
from stillhouse.methods.noisy_labels.crowd.distilled import Distilled
from stillhouse.methods.noisy_labels.crowd.heads import CrowdHead
from stillhouse.platform.training.seeds import seed_for
from torch import Tensor

from .small_crowd import CLASSES, small_crowd

DATA = small_crowd(64)
STEPS = 4


def settings(**changed: Any) -> MutualSettings:
    parts: dict[str, Any] = {
        "warm_up": 1, "eta": 0.5, "virtual": "whole", "meta_batch": 8, "meta_size": 30, "groups": 3, "weighted": True,
        "duplicates": False, "confusion_rate": 10.0,
    }  # fmt: skip
    return MutualSettings(**{**parts, **changed})


def layer(eta: float | None = 0.5, **changed: Any) -> CrowdLayer:
    torch.manual_seed(0)
    networks = [build(Backbone(hidden=8, dropout=0.3), DATA.inputs, CLASSES) for _ in range(2)]
    heads = [CrowdHead(10, CLASSES, diagonal=2.0) for _ in range(2)]
    items, answers = torch.from_numpy(DATA.inputs), Answers(DATA.answers)
    made = CrowdLayer(networks, heads, items, answers, averaged=float)
    if eta is not None:
        made.mutual = MutualCorrection(
            settings(eta=eta, **changed), items, answers, steps_per_epoch=STEPS, rate=lambda: 0.1,
            seed_for=lambda *names: seed_for(0, *names),
        )  # fmt: skip
    return made.train()


def batches(steps: int) -> list[Tensor]:
    return [torch.arange(16) + 16 * (step % STEPS) for step in range(steps)]


def run(made: CrowdLayer, steps: int, *, first: int = 0) -> list[float]:
    """Losses of the steps; from `first` on, torch's generator goes on from where it is."""
    if not first:
        torch.manual_seed(1)
    losses = []
    for rows in batches(steps)[first:]:
        loss = made(rows)["loss"]
        made.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in made.parameters():
                assert weight.grad is not None
                weight -= 0.1 * weight.grad
        losses.append(float(loss.detach()))
    return losses


def spied(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each meta step is given, and each correction before it is spread over the answers."""
    calls: list[dict[str, Any]] = []
    real_gradient, real_normalised = coupled.meta_gradient, coupled.max_normalised

    def gradient(
        network: Any, head: Any, seen: Any, inputs: Tensor, labels: Tensor, groups: Tensor, *rest: Any, **kw: Any
    ) -> Any:
        calls.append({"network": network, "inputs": inputs, "labels": labels, "groups": groups, "seen": seen})
        return real_gradient(network, head, seen, inputs, labels, groups, *rest, **kw)

    def normalised(found: Tensor, matrices: Tensor, eta: float) -> Tensor:
        calls[-1] |= {"U": real_normalised(found, matrices, eta), "matrices": matrices}
        return calls[-1]["U"]

    real_correction = MutualCorrection.correction

    def correction(self: MutualCorrection, number: int, network: Any, head: Any, seen: Any) -> Tensor:
        found = real_correction(self, number, network, head, seen)
        calls[-1]["spread"] = found
        return found

    monkeypatch.setattr(MutualCorrection, "correction", correction)
    monkeypatch.setattr(coupled, "meta_gradient", gradient)
    monkeypatch.setattr(coupled, "max_normalised", normalised)
    return calls


def test_the_warm_up_is_crowd_layer() -> None:
    assert run(layer(), STEPS) == run(layer(None), STEPS)
    corrected, plain = run(layer(), STEPS + 1), run(layer(None), STEPS + 1)
    assert corrected[:STEPS] == plain[:STEPS]
    assert corrected[STEPS] != plain[STEPS]


def test_eta_zero_is_crowd_layer_bit_for_bit() -> None:
    """Must-show 2: the whole meta step is taken, with dropout, and no number moves."""
    zero, plain = layer(0.0), layer(None)
    assert run(zero, 3 * STEPS) == run(plain, 3 * STEPS)
    for (name, first), second in zip(zero.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(first, second), name


def test_the_correction_s_size_and_its_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Must-show 2: max |U*| = eta max V', and annotators of one group share one matrix."""
    calls = spied(monkeypatch)
    made = layer(0.7)
    run(made, 2 * STEPS)
    assert len(calls) == 2 * STEPS
    for call in calls:
        assert float(call["U"].abs().max()) == pytest.approx(0.7 * float(call["matrices"].max()), rel=1e-5)
        assert call["U"].shape == (3, CLASSES, CLASSES)
        who, spread = call["seen"].annotators, call["spread"]
        for answer, annotator in enumerate(who.tolist()):
            assert torch.equal(spread[answer], call["U"][call["groups"][annotator]])


def test_each_model_is_corrected_by_the_other_one_s_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spied(monkeypatch)
    made = layer()
    run(made, STEPS + 1)
    assert made.mutual is not None
    items = torch.from_numpy(DATA.inputs)
    sets = [set(map(tuple, items[torch.from_numpy(found.items)].tolist())) for found in made.mutual.distilled]
    assert sets[0] != sets[1]
    networks = list(made.networks)
    for call in calls:
        number = networks.index(call["network"])
        assert set(map(tuple, call["inputs"].tolist())) <= sets[1 - number]


def test_when_one_set_is_used_up_both_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spied(monkeypatch)
    made = layer(warm_up=0)
    run(made, 1)
    assert made.mutual is not None
    state = made.mutual.state_dict()
    # 12 and 20 items in batches of 8: two batches, of which the shorter set's second has 4.
    state["distilled"] = [
        {"items": np.arange(count), "labels": np.zeros(count, np.int64)} for count in (12, 20)
    ]  # fmt: skip
    made.mutual.load_state_dict(state)
    calls.clear()
    torch.manual_seed(1)
    for rows in batches(STEPS)[1:]:
        made(rows)
    second = [call["inputs"] for call in calls[1::2]]  # the second model, from the first one's set
    assert [len(part) for part in second] == [4, 8, 4]
    first = [call["inputs"] for call in calls[::2]]
    assert [len(part) for part in first] == [8, 8, 8]
    assert not torch.equal(second[0], second[2])  # in another order


def test_sets_and_groups_are_made_anew_each_epoch_and_kept_between() -> None:
    made = layer()
    assert made.mutual is not None
    run(made, STEPS)
    assert made.mutual.distilled == ()
    seen: list[tuple[Distilled, ...]] = []
    for rows in batches(2 * STEPS):
        made(rows)
        seen.append(made.mutual.distilled)
    assert all(seen[step][0] is seen[0][0] for step in range(STEPS))
    assert all(seen[step][0] is seen[STEPS][0] for step in range(STEPS, 2 * STEPS))
    assert seen[0][0] is not seen[STEPS][0]
    assert all(len(groups) == 10 for groups in made.mutual.groups)


def test_a_state_goes_on_where_it_was_taken() -> None:
    """In the middle of a corrected epoch."""
    losses = run(layer(), 3 * STEPS)
    part, again = layer(), layer()
    run(part, STEPS + 2)
    assert again.mutual is not None and part.mutual is not None
    again.load_state_dict(part.state_dict())
    again.mutual.load_state_dict(part.mutual.state_dict())
    assert run(again, 3 * STEPS, first=STEPS + 2) == losses[STEPS + 2 :]
