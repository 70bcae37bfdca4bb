import json
import math

import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.statement import (
    ADD_OR_REMOVE,
    REPLACE_ONE,
    PrivacyStatement,
    Release,
    combine,
    public,
    uncovered,
)

LABELS = PrivacyStatement.of_releases(
    2.0,
    1e-5,
    releases=[Release("answers", GaussianEvent(40.0, 2, 200).to_json(), 2.0)],
    accounting="exact GDP, data-independent",
)


def test_line_names_everything_an_epsilon_needs():
    line = LABELS.line()
    for part in ("epsilon = 2", "delta = 1e-05", "replace one record", "covered"):
        assert part in line
    assert "\n" not in line


@pytest.mark.parametrize("statement", [LABELS, uncovered("trained without noise"), public()])
def test_json_round_trip(statement):
    assert PrivacyStatement.from_json(json.loads(json.dumps(statement.to_json(), allow_nan=False))) == statement


def test_one_uncovered_step_makes_the_total_infinite():
    total = combine([LABELS, uncovered("the generator saw all private images")])
    assert math.isinf(total.epsilon)
    assert total.coverage == "uncovered"
    assert "the generator saw all private images" in total.line()
    assert "epsilon = inf" in total.line()
    assert total.releases == LABELS.releases


def test_covered_steps_add_up():
    total = combine([LABELS, LABELS, public()])
    assert (total.epsilon, total.delta, total.coverage) == (4.0, 2e-5, "covered")
    assert combine([LABELS]) == LABELS


def test_releases_say_their_neighbours():
    assert LABELS.neighbouring == REPLACE_ONE
    training = PrivacyStatement.of_releases(
        2.0, 1e-5, releases=(), accounting="Renyi", neighbouring=ADD_OR_REMOVE, unit="image"
    )
    assert (training.neighbouring, training.unit, training.coverage) == (ADD_OR_REMOVE, "image", "covered")
    assert f"({ADD_OR_REMOVE}); covered" in training.line()
    with pytest.raises(BadInput, match="different neighbours"):
        combine(
            [LABELS, PrivacyStatement.of_releases(2.0, 1e-5, releases=(), accounting="", neighbouring=ADD_OR_REMOVE)]
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: PrivacyStatement(-1.0, 1e-5),
        lambda: PrivacyStatement(math.nan, 1e-5),
        lambda: PrivacyStatement(1.0, 1.0),
        lambda: PrivacyStatement(1.0, 1e-5, neighbouring=""),
        lambda: PrivacyStatement(1.0, 1e-5, coverage="partly"),
        lambda: PrivacyStatement(1.0, 1e-5, coverage="uncovered", reasons=("x",)),
        lambda: PrivacyStatement(math.inf, 1e-5, coverage="uncovered"),
        lambda: combine([]),
        lambda: combine([LABELS, PrivacyStatement(1.0, 1e-5, unit="user")]),
        lambda: combine([LABELS, PrivacyStatement(1.0, 1e-5, neighbouring="add or remove one")]),
        lambda: PrivacyStatement.from_json({"epsilon": 1.0}),
    ],
)
def test_statements_that_say_nothing_are_refused(make):
    with pytest.raises(BadInput):
        make()
