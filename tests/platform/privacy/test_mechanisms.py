import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.events import GaussianEvent, PureDpEvent
from stillhouse.platform.privacy.mechanisms import (
    ABSTAINED,
    ConfidentGNMax,
    Decision,
    GNMax,
    InteractiveGNMax,
    LNMax,
    Mechanism,
    mechanism_from_json,
)
from support.noise import ZeroNoise, repeatable_noise

ALL = [LNMax(20.0), GNMax(40.0), ConfidentGNMax(200, 150, 40), InteractiveGNMax(100, 50, 20, 0.9)]
histograms = arrays.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(0, 50))


@pytest.mark.parametrize("mechanism", ALL, ids=lambda m: m.name)
def test_json_and_fingerprint(mechanism):
    copy = mechanism_from_json(json.loads(json.dumps(mechanism.to_json())))
    assert copy == mechanism
    assert copy.fingerprint() == mechanism.fingerprint()
    assert len(mechanism.fingerprint()) == 64
    assert isinstance(mechanism, Mechanism)


def test_fingerprints_tell_settings_and_kinds_apart_but_not_number_types():
    assert GNMax(40).fingerprint() == GNMax(40.0).fingerprint()
    prints = {m.fingerprint() for m in [*ALL, GNMax(20.0), ConfidentGNMax(200, 40, 150)]}
    assert len(prints) == len(ALL) + 2


@pytest.mark.parametrize(
    "data",
    [{}, {"name": "gnmax"}, {"name": "gnmax", "sigma": 0}, {"name": "gnmax", "sigma": 1, "x": 1}, {"name": "max"}, 3],
)
def test_json_that_is_no_mechanism_is_refused(data):
    with pytest.raises(BadInput):
        mechanism_from_json(data)


def test_costs_follow_the_sensitivities():
    assert LNMax(20.0).check_event() is None
    assert LNMax(20.0).answer_event() == PureDpEvent(0.1)
    assert GNMax(40.0).check_event() is None
    assert GNMax(40.0).answer_event() == GaussianEvent(40.0, 2)
    for mechanism in ALL[2:]:
        assert mechanism.check_event() == GaussianEvent(mechanism.sigma1, 1)
        assert mechanism.answer_event() == GaussianEvent(mechanism.sigma2, 2)


@given(histograms)
def test_one_changed_vote_moves_what_the_events_assume(table):
    """The squared L2 distance of histograms is 2, that of largest counts at most 1."""
    for row in table:
        for source in np.flatnonzero(row):
            for target in range(len(row)):
                if target != source:
                    other = row.copy()
                    other[source] -= 1
                    other[target] += 1
                    assert np.sum((other - row) ** 2) == 2
                    assert abs(int(other.max()) - int(row.max())) <= 1


@given(histograms)
@settings(deadline=None)
def test_without_noise_it_is_the_plurality(table):
    """sigma -> 0 and T = 0: everything is answered, with the most voted class, ties to the lowest index."""
    for noise in (ZeroNoise(), repeatable_noise(1)):
        width = 1e-6
        for mechanism in (LNMax(width), GNMax(width), ConfidentGNMax(0, width, width)):
            decisions = mechanism.check(table, noise, teachers=1000)
            assert (decisions == Decision.ANSWER).all()
            assert mechanism.answer(table, noise).tolist() == np.argmax(table, axis=1).tolist()


def test_all_coordinates_are_drawn_whatever_the_votes():
    table = np.array([[250, 0, 0], [83, 83, 84]])
    for mechanism, kind in ((LNMax(20.0), "laplace"), (GNMax(40.0), "gaussian"), (ALL[2], "gaussian")):
        noise = ZeroNoise()
        mechanism.answer(table, noise)
        assert [(call[0], call[2]) for call in noise.calls] == [(kind, (2, 3))]
    noise = ZeroNoise()
    ALL[2].check(table, noise, teachers=250)
    assert noise.calls == [("gaussian", 150.0, (2,))]


def test_mechanisms_without_a_check_draw_nothing():
    noise = ZeroNoise()
    assert GNMax(40.0).check(np.array([[1, 2]]), noise, teachers=3).tolist() == [Decision.ANSWER]
    assert noise.calls == []


def test_confident_threshold_is_reached_exactly_at_its_ceiling():
    table = np.array([[199, 0], [200, 0], [201, 0]])
    check = ConfidentGNMax(199.5, 150, 40).check(table, ZeroNoise(), teachers=250)
    assert check.tolist() == [Decision.ABSTAIN, Decision.ANSWER, Decision.ANSWER]
    assert check.dtype == np.int8
    assert ABSTAINED == -1


def test_confident_pass_rate_is_what_the_bound_assumes():
    from scipy.stats import binomtest
    from stillhouse.platform.privacy.rdp import threshold_log_pass

    mechanism = ConfidentGNMax(200, 15, 4)
    table = np.tile([[190, 60]], (50_000, 1))
    passed = int(np.sum(mechanism.check(table, repeatable_noise(5), teachers=250)))
    expected = float(np.exp(threshold_log_pass(table[:1], 200, 15)[0][0]))
    assert binomtest(passed, len(table), expected).pvalue > 1e-6


def test_interactive_branches():
    mechanism = InteractiveGNMax(threshold=50, sigma1=5, sigma2=5, confidence=0.8)
    votes = np.array([[100, 0], [100, 0], [50, 50]])
    student = np.array([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]])
    decisions = mechanism.check(votes, ZeroNoise(), teachers=100, student=student)
    assert decisions.tolist() == [Decision.ANSWER, Decision.REINFORCE, Decision.ABSTAIN]
    assert mechanism.reinforce(student).tolist() == [1, 0, 0]
    assert mechanism.needs_student


@pytest.mark.parametrize(
    "student", [None, np.ones((1, 2)), np.array([[0.5, 0.6]]), np.array([[1.5, -0.5]]), np.array([[np.nan, 1]])]
)
def test_interactive_needs_probabilities(student):
    mechanism = InteractiveGNMax(50, 5, 5, 0.8)
    with pytest.raises(BadInput):
        mechanism.check(np.array([[3, 4]]), ZeroNoise(), teachers=7, student=student)


@pytest.mark.parametrize("mechanism", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize(
    "table", [np.array([[1.0, 2.0]]), np.array([1, 2]), np.array([[5]]), np.array([[-1, 2]]), np.array([[300, 1]])]
)
def test_histograms_are_checked(mechanism, table):
    with pytest.raises(BadInput):
        mechanism.check(table, ZeroNoise(), teachers=250, student=np.full(table.shape, 0.5))


def test_missing_votes_are_abstentions_and_no_queries_are_no_error():
    table = np.array([[3, 1]])
    assert GNMax(1.0).check(table, ZeroNoise(), teachers=250).tolist() == [1]
    empty = np.zeros((0, 3), dtype=np.int64)
    for mechanism in ALL:
        assert mechanism.answer(empty, repeatable_noise()).shape == (0,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GNMax(0),
        lambda: LNMax(-1),
        lambda: ConfidentGNMax(-1, 1, 1),
        lambda: ConfidentGNMax(1, 0, 1),
        lambda: InteractiveGNMax(1, 1, 1, 1.1),
        lambda: InteractiveGNMax(float("nan"), 1, 1, 0.5),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(BadInput):
        make()
