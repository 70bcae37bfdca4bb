"""What settings refuse, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone
from stillhouse.methods.noisy_labels.crowd.settings import Settings
from stillhouse.platform.errors import BadInput


@pytest.mark.parametrize("change", [
    {"algorithm": "vote"}, {"optimizer": "lion"}, {"virtual_step": "third_order"}, {"annotators": "all"}, {"epochs": 0},
    {"warm_up": -1}, {"warm_up": True}, {"learning_rate": 0}, {"learning_rate": float("nan")}, {"momentum": 1.0},
    {"validation": 1.0}, {"validation": -0.1}, {"correction_rate": -1}, {"diagonal": -1.0}, {"confusion_weight_decay": -1.0},
    {"milestones": (0,)}, {"groups": 0}, {"meta_batch": 0}, {"smallest_group": 0}, {"networks": 0}, {"networks": 3},
], ids=lambda change: "-".join(f"{name}={value}" for name, value in change.items()))  # fmt: skip
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Settings(**change)


@pytest.mark.parametrize(
    "change", [{"kind": "vit"}, {"hidden": 0}, {"dropout": 1.0}, {"width": 0}, {"stem_padding": 2}]
)
def test_a_backbone_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Backbone(**change)


def test_only_ccc_needs_two_networks() -> None:
    assert Settings(algorithm="crowd_layer", networks=1).networks == 1


def test_the_starting_diagonal_follows_the_head_unless_given() -> None:
    assert Settings().starting_diagonal == 2
    assert Settings(official_head=True).starting_diagonal == 1
    assert Settings(official_head=True, diagonal=3.0).starting_diagonal == 3


def test_milestones_come_as_lists_from_configurations() -> None:
    assert Settings(milestones=[3, 5]).milestones == (3, 5)  # type: ignore[arg-type]
