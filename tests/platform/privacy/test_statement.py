import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.statement import (
    ADD_OR_REMOVE,
    REPLACE_ONE,
    PrivacyStatement,
    Release,
    combine,
    doubtful_delta,
    epsilon_up,
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


SUMS = PrivacyStatement.of_releases(2.0, 1e-5, releases=(), accounting="exact GDP", neighbouring=ADD_OR_REMOVE)


@pytest.mark.parametrize("other", [public(), uncovered("trained without noise")], ids=["public", "uncovered"])
def test_what_promises_nothing_about_records_goes_with_any_neighbours(other):
    for parts in ([other, SUMS], [SUMS, other], [public(), other, SUMS]):
        total = combine(parts)
        assert total.neighbouring == ADD_OR_REMOVE and total.delta == 1e-5
        assert (total.coverage, total.epsilon) == (other.coverage, 2.0 + other.epsilon)
    assert combine([other, public()]).neighbouring == REPLACE_ONE
    with pytest.raises(BadInput, match="different neighbours"):
        combine([LABELS, other, SUMS])


@pytest.mark.parametrize(
    ("epsilon", "shown"),
    [(4e-5, "0.0001"), (1.00004, "1.0001"), (2.00004999, "2.0001"), (9.99987, "9.9999"), (2.0, "2"), (0.0, "0")],
)
def test_a_line_never_says_less_than_was_spent(epsilon, shown):
    statement = PrivacyStatement.of_releases(epsilon, 1e-5, releases=(), accounting="Renyi")
    assert statement.line().startswith(f"epsilon = {shown} at delta")


@pytest.mark.parametrize("target", [0.1, 1.0, 1.1, 3.0, 10.0, 12.5])
def test_rounding_does_not_make_a_target_look_passed(target):
    """Not where a run stays a little below it, nor where conversions put it above by as much as a plan may."""
    for spent in (target * (1 - 1e-7), math.nextafter(target, 0), target, target * (1 + 1e-9)):
        assert epsilon_up(spent, decimals=3) == epsilon_up(spent, decimals=4) == epsilon_up(spent) == f"{target:g}"
    assert float(epsilon_up(target * (1 + 1e-5), decimals=4)) > target
    assert epsilon_up(9.99987, decimals=3) == epsilon_up(9.99987) == "10"


def test_a_cap_of_many_digits_is_not_passed_by_rounding():
    assert epsilon_up(5.123456, cap=5.1234567) == "5.123456"
    assert epsilon_up(5.1234567, cap=5.1234567) == epsilon_up(5.1234567, decimals=3, cap=5.1234567) == "5.1234567"
    assert epsilon_up(5.1, cap=5.1234567) == "5.1" and epsilon_up(5.2, cap=5.1234567) == "5.2"
    # Passed it is, then so it looks.
    assert epsilon_up(5.12346, cap=5.1234567) == "5.124"


@given(st.floats(1e-300, 1e12), st.integers(1, 6))
def test_what_is_shown_is_not_below_and_less_than_a_step_above(epsilon, digits):
    by_digits, by_decimals = (float(epsilon_up(epsilon, **how)) for how in ({"digits": digits}, {"decimals": digits}))
    assert min(by_digits, by_decimals) >= epsilon * (1 - 2.1e-9)
    assert by_digits <= epsilon * (1 + 10.0 ** (1 - digits)) * (1 + 1e-12)
    assert by_decimals <= epsilon + 10.0**-digits * (1 + 1e-12) + epsilon * 1e-12
    # Where rounding to the nearest does not lose anything, nothing changes.
    if float(f"{epsilon:.{digits}g}") >= epsilon:
        assert epsilon_up(epsilon, digits=digits) == f"{epsilon:.{digits}g}"


def test_a_delta_that_lets_a_record_out_is_doubtful():
    assert doubtful_delta(1e-3) is None and "0.9 is large" in doubtful_delta(0.9)
    assert doubtful_delta(1e-5, records=99_999) is None and "100,000 records" in doubtful_delta(1e-5, records=100_000)
    assert doubtful_delta(2e-3, records=100) is None
