import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.events import GaussianEvent, PureDpEvent
from stillhouse.platform.privacy.mechanisms import (
    ABSTAINED,
    MECHANISMS,
    ConfidentGNMax,
    ConfidentHistogram,
    Decision,
    GaussianHistogram,
    GNMax,
    InteractiveGNMax,
    LNMax,
    Mechanism,
    mechanism_from_json,
    plurality,
)
from support.noise import ZeroNoise, repeatable_noise

LABELS = [LNMax(20.0), GNMax(40.0), ConfidentGNMax(200, 150, 40), InteractiveGNMax(100, 50, 20, 0.9)]
HISTOGRAMS = [GaussianHistogram(40.0), ConfidentHistogram(200, 150, 40)]
ALL = LABELS + HISTOGRAMS
histograms = arrays.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(0, 50))


def test_all_kinds_are_tested():
    assert {mechanism.name for mechanism in ALL} == set(MECHANISMS)


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
    for mechanism in [*LABELS[2:], ConfidentHistogram(200, 150, 40)]:
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
        released = [GaussianHistogram(width), ConfidentHistogram(0, width, width)]
        for mechanism in (LNMax(width), GNMax(width), ConfidentGNMax(0, width, width), *released):
            decisions = mechanism.check(table, noise, teachers=1000)
            assert (decisions == Decision.ANSWER).all()
            assert mechanism.answer(table, noise).tolist() == np.argmax(table, axis=1).tolist()
        for mechanism in released:
            assert np.array_equal(mechanism.noisy_histograms(table, noise), table)


def test_all_coordinates_are_drawn_whatever_the_votes():
    table = np.array([[250, 0, 0], [83, 83, 84]])
    for mechanism in ALL:
        kind = "laplace" if mechanism.name == "lnmax" else "gaussian"
        for release in (mechanism.answer, mechanism.noisy_histograms):
            noise = ZeroNoise()
            release(table, noise)
            assert [(call[0], call[2]) for call in noise.calls] == [(kind, (2, 3))]
    for mechanism in (ConfidentGNMax(200, 150, 40), ConfidentHistogram(200, 150, 40)):
        noise = ZeroNoise()
        mechanism.check(table, noise, teachers=250)
        assert noise.calls == [("gaussian", 150.0, (2,))]


def test_mechanisms_without_a_check_draw_nothing():
    noise = ZeroNoise()
    for mechanism in (GNMax(40.0), GaussianHistogram(40.0)):
        assert mechanism.check(np.array([[1, 2]]), noise, teachers=3).tolist() == [Decision.ANSWER]
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


def test_who_releases_histograms_and_who_is_taken_for_a_gnmax():
    """The data-dependent bounds are chosen by kind, and hold for labels alone."""
    assert [mechanism.releases_histograms for mechanism in ALL] == [False] * 4 + [True] * 2
    assert not any(isinstance(mechanism, (GNMax, ConfidentGNMax, LNMax)) for mechanism in HISTOGRAMS)


@given(st.floats(0.5, 500), st.floats(0.5, 500), st.integers(1, 5000))
def test_a_histogram_costs_what_gnmaxs_label_costs(sigma, sigma1, answers):
    """The same event, hence the same price under every kind of budget; and that of the Gaussian mechanism, order / sigma^2."""
    pairs = [
        (GaussianHistogram(sigma), GNMax(sigma)),
        (ConfidentHistogram(200, sigma1, sigma), ConfidentGNMax(200, sigma1, sigma)),
    ]
    orders = (1.5, 2.0, 32.0)
    for whole, label in pairs:
        assert whole.check_event() == label.check_event() and whole.answer_event() == label.answer_event()
        assert whole.fingerprint() != label.fingerprint(), "and they are two questions"
        assert whole.answer_event().times(answers).nano_rho() == label.answer_event().times(answers).nano_rho()
        curve = event_cost(BudgetKind.RDP, whole.answer_event(), orders=orders)
        assert np.allclose(curve, 1e9 * np.array(orders) / sigma**2, rtol=1e-6, atol=2)


@pytest.mark.parametrize("mechanism", HISTOGRAMS, ids=lambda m: m.name)
def test_labels_are_those_of_the_released_histograms(mechanism):
    """The same noise: the label tells nothing that the counts do not."""
    table = np.random.default_rng(0).multinomial(250, [0.4, 0.35, 0.25], 2000)
    counts = mechanism.noisy_histograms(table, repeatable_noise(3))
    assert counts.dtype == np.int64 and counts.shape == table.shape
    assert np.array_equal(plurality(counts), mechanism.answer(table, repeatable_noise(3)))
    assert np.array_equal(plurality(counts), np.argmax(counts, axis=1))
    assert plurality(np.array([[2, 2, 1], [-5, -3, -3]])).tolist() == [0, 1]


def noise_pvalues(counts, sigma):
    """For noise (Q, K): that each column is round(N(0, sigma^2)), and that no two neighbours in a row or column are related."""
    from scipy.stats import chisquare, norm, pearsonr

    edges = np.arange(-int(3 * sigma), int(3 * sigma) + 1, max(1, int(sigma / 4)))
    bounds = np.concatenate([[-np.inf], edges - 0.5, [np.inf]])
    expected = np.diff(norm.cdf(bounds, scale=sigma)) * len(counts)
    fits = [chisquare(np.histogram(column, bounds)[0], expected).pvalue for column in counts.T]
    signs = [counts, np.abs(counts)]
    pairs = [(x[:, i], x[:, j]) for x in signs for i in range(x.shape[1]) for j in range(i)]
    pairs += [(x[:-1, i], x[1:, i]) for x in signs for i in range(x.shape[1])]
    return fits, [pearsonr(*pair).pvalue for pair in pairs]


@pytest.mark.parametrize(
    ("mechanism", "sigma"), [(GaussianHistogram(5.0), 5.0), (ConfidentHistogram(0, 50.0, 9.0), 9.0)]
)
def test_every_count_has_its_own_gaussian_noise(mechanism, sigma):
    table = np.tile([[190, 60, 0]], (30_000, 1))
    noise = mechanism.noisy_histograms(table, repeatable_noise(7)) - table
    fits, relations = noise_pvalues(noise, sigma)
    assert min(fits) > 1e-5 and min(relations) > 1e-5
    assert np.all(np.abs(noise.std(axis=0) / np.sqrt(sigma**2 + 1 / 12) - 1) < 5 / np.sqrt(2 * len(noise)))


@pytest.mark.parametrize("fault", ["narrow", "one draw a row", "one draw for two queries", "kept positive"])
def test_the_test_of_the_noise_can_fail(fault):
    sound = repeatable_noise(8).gaussian(5.0, (30_000, 3))
    faulty = {
        "narrow": repeatable_noise(8).gaussian(4.8, (30_000, 3)),
        "one draw a row": np.repeat(sound[:, :1], 3, axis=1),
        "one draw for two queries": np.repeat(sound[:15_000], 2, axis=0),
        "kept positive": np.maximum(sound, -12),
    }[fault]
    fits, relations = noise_pvalues(faulty, 5.0)
    assert min(fits + relations) < 1e-5


@pytest.mark.parametrize("mechanism", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize(
    "table", [np.array([[1.0, 2.0]]), np.array([1, 2]), np.array([[5]]), np.array([[-1, 2]]), np.array([[300, 1]])]
)
def test_histograms_are_checked(mechanism, table):
    with pytest.raises(BadInput):
        mechanism.check(table, ZeroNoise(), teachers=250, student=np.full(table.shape, 0.5))
    if table.ndim != 2 or table.max() < 250:
        for release in (mechanism.answer, mechanism.noisy_histograms):
            with pytest.raises(BadInput):
                release(table, ZeroNoise())


def test_missing_votes_are_abstentions_and_no_queries_are_no_error():
    table = np.array([[3, 1]])
    assert GNMax(1.0).check(table, ZeroNoise(), teachers=250).tolist() == [1]
    empty = np.zeros((0, 3), dtype=np.int64)
    for mechanism in ALL:
        assert mechanism.answer(empty, repeatable_noise()).shape == (0,)
        assert mechanism.noisy_histograms(empty, repeatable_noise()).shape == (0, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GNMax(0),
        lambda: LNMax(-1),
        lambda: ConfidentGNMax(-1, 1, 1),
        lambda: ConfidentGNMax(1, 0, 1),
        lambda: GaussianHistogram(0),
        lambda: ConfidentHistogram(-1, 1, 1),
        lambda: ConfidentHistogram(1, 1, 0),
        lambda: InteractiveGNMax(1, 1, 1, 1.1),
        lambda: InteractiveGNMax(float("nan"), 1, 1, 0.5),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(BadInput):
        make()
