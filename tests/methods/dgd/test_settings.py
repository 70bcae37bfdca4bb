"""Settings that make no sense together are refused when they are made, with what to change."""

from __future__ import annotations

from typing import Any

import pytest
from stillhouse.methods.dgd import Dgd
from stillhouse.methods.dgd.baseline import Baseline
from stillhouse.methods.dgd.student import StudentSettings
from stillhouse.platform.errors import BadInput


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"coverage": "everything"}, "unknown coverage"),
        ({"source": "internet"}, "unknown source"),
        ({"selection": "best"}, "unknown selection"),
        ({"coverage": "public_inputs"}, "has no generator"),
        ({"coverage": "bootstrap_student"}, "needs two rounds"),
        ({"queries": 10, "answers": 11}, "cannot be answered"),
        ({"queries": 0, "coverage": "public_inputs", "source": "mixed"}, "0 queries in 1 rounds"),
        ({"queries": -1}, "queries is -1"),
        ({"split": 1.0}, "share of the records"),
        ({"moments_sigma": 0.0}, "moments_sigma"),
        ({"baseline": Baseline(kind="cnn")}, "joint moments"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_refusals(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        Dgd(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"kind": "transformer"}, {"base_point": "middle"}, {"dropout": 1.0}, {"distil": -1.0}]
)
def test_wrong_students(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        StudentSettings(**wrong)


def test_shares_of_rounds_add_up() -> None:
    for total in (7, 10, 300):
        for rounds in (1, 2, 3):
            method = Dgd(queries=total, rounds=rounds)
            assert sum(method.share(total, i) for i in range(rounds)) == total


def test_moments_are_released_only_where_all_else_is_private() -> None:
    assert Dgd().releases_moments
    assert not Dgd(coverage="labels_only").releases_moments
    assert not Dgd(source="mixed").releases_moments
    assert not Dgd(moments_sigma=None).releases_moments
