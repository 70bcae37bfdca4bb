import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import rdp
from stillhouse.platform.privacy.accounting import PATE_ORDERS, gdp_epsilon, plan_epsilon, rdp_epsilon
from stillhouse.platform.privacy.events import GaussianEvent

ORDERS = [1.5, 2.0, 4.0, 8.0, 16.0, 32.0]
histograms = arrays.arrays(np.int64, st.integers(2, 6), elements=st.integers(0, 250)).filter(lambda h: h.sum() > 0)


@pytest.mark.parametrize(("section", "integer"), [("gnmax", False), ("gnmax_rounded_noise", True)])
def test_gnmax_reference_cases(reference, agree, section, integer):
    cases = reference["pate"][section]
    assert len(cases) in (104, 30)
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        counts, sigma, orders = np.array([i["counts"]]), i["sigma"], i["orders"]
        agree(rdp.gnmax_log_q(counts, sigma, integer_noise=integer), o["logq"])
        dependent = rdp.gnmax(counts, sigma, orders, integer_noise=integer)
        agree(dependent, o["rdp_data_dependent"])
        agree(rdp.gnmax_data_independent(sigma, orders), o["rdp_data_independent"])
        used = dependent[0] < rdp.gnmax_data_independent(sigma, orders) * (1 - 1e-12)
        assert not np.any(used & ~np.array(o["data_dependent_bound_used"]))


def test_gaussian_of_log_q_reference_cases(reference, agree):
    cases = reference["pate"]["rdp_gaussian_of_logq"]
    assert len(cases) == 41
    for case in cases:
        i = case["inputs"]
        log_q = np.array([float(i["logq"])])
        agree(rdp.gaussian_data_dependent(log_q, i["sigma"], i["orders"]), case["outputs"]["rdp"])


@pytest.mark.parametrize(("section", "integer"), [("threshold", False), ("threshold_rounded_noise", True)])
def test_threshold_reference_cases(reference, agree, section, integer):
    cases = reference["pate"][section]
    assert len(cases) in (24, 8)
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        counts = np.array([i["counts"]])
        log_pass, _ = rdp.threshold_log_pass(counts, i["threshold"], i["sigma"], integer_noise=integer)
        agree(log_pass, o["log_pr_answered"])
        bound = rdp.threshold(counts, i["threshold"], i["sigma"], i["orders"], integer_noise=integer)
        agree(bound, o["rdp_data_dependent"])
        agree(rdp.threshold_data_independent(i["sigma"], i["orders"]), o["rdp_data_independent"])


def test_lnmax_2018_reference_cases(reference, agree):
    cases = reference["pate"]["lnmax_2018"]
    assert len(cases) == 36
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        counts = np.array([i["counts"]])
        agree(rdp.lnmax_log_q(counts, i["laplace_scale"], integer_noise=False), o["logq"])
        agree(rdp.lnmax(counts, i["laplace_scale"], i["orders"], integer_noise=False), o["rdp"])


def exact_moment(q, epsilon, moment):
    """The 2017 log-moment in 60 digits, with the condition of the theorem."""
    with mpmath.workdps(60):
        q, e = mpmath.mpf(q), mpmath.mpf(epsilon)
        bounds = [e * e * moment * (moment + 1) / 2, e * moment]
        if q <= 1 / (mpmath.exp(e) + 1):
            ratio = (1 - q) / (1 - mpmath.exp(e) * q)
            bounds.append(mpmath.log((1 - q) * ratio**moment + q * mpmath.exp(e * moment)))
        return float(min(bounds))


def test_lnmax_2017_reference_cases(reference, agree):
    """Their log of a number near 1 is good to 4e-16 absolute only; ours is held to 60 digits besides."""
    cases = reference["pate"]["lnmax_2017"]
    assert len(cases) == 24
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        counts, scale, moments = np.array([i["counts"]]), 1 / i["noise_eps"], np.array(i["moments"])
        log_q = rdp.lnmax_log_q(counts, scale, integer_noise=False)
        agree(np.exp(log_q), o["q"])
        runner_up_everywhere = np.full_like(counts, np.sort(counts[0])[-2])
        runner_up_everywhere[0, 0] = counts.max()
        agree(np.exp(rdp.lnmax_log_q(runner_up_everywhere, scale, integer_noise=False)), o["q_approx"])
        ours = moments * rdp.lnmax(counts, scale, moments + 1, integer_noise=False)[0]
        agree(ours, o["log_mgf"], atol=1e-15)
        agree(ours, [exact_moment(np.exp(log_q[0]), 2 / scale, m) for m in i["moments"]])
        flat = np.minimum((2 / scale) ** 2 * (moments + 1) / 2, 2 / scale) * moments
        agree(np.minimum(flat, o["log_mgf_data_independent"]), flat)
        assert np.all(moments * rdp.lnmax_data_independent(scale, moments + 1) <= flat * (1 + 1e-12))


def test_log_moment_2017_reference_cases_and_their_published_flaw(reference, agree):
    cases = reference["pate"]["logmgf_exact_2017"]
    assert len(cases) == 36
    flawed = 0
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        moments, epsilon, q = np.array(i["moments"]), i["priv_eps"], i["q"]
        ours = moments * rdp.lnmax_of_log_q(np.log([q]), epsilon, moments + 1)[0]
        agree(ours, [exact_moment(q, epsilon, m) for m in i["moments"]])
        if 1 / (np.exp(epsilon) + 1) < q < 0.5:
            flawed += 1
            agree(ours, np.minimum(epsilon**2 * moments * (moments + 1) / 2, epsilon * moments))
            assert np.all(ours >= np.array(o["log_mgf"], dtype=float) - 1e-15)
        else:
            agree(ours, o["log_mgf"], atol=1e-15)
    assert flawed == 7


def test_specification_examples(agree):
    """N = 250, sigma = 40, orders 2, 4, 8, 16, 32, continuous noise."""
    orders = [2, 4, 8, 16, 32]
    counts = np.zeros((4, 10), dtype=np.int64)
    counts[0, 0] = 250
    counts[1, :2] = 200, 50
    counts[2, :3] = 180, 40, 30
    counts[3, :2] = 130, 120
    log_q = rdp.gnmax_log_q(counts, 40.0, integer_noise=False)
    agree(log_q, [-10.019228, -5.179152, -4.148464, -0.661519], rtol=1e-6)
    bound = rdp.gnmax(counts, 40.0, orders, integer_noise=False)
    agree(bound[0], [1.52735726e-5, 1.66698968e-5, 2.05891333e-5, 3.68135067e-5, 2.03454988e-4], rtol=1e-7)
    agree(bound[1], [0.00125, 0.00144158, 0.00165488, 0.00235029, 0.00617548], rtol=1e-5)
    agree(bound[2], [0.00125, 0.0025, 0.00400222, 0.00532852, 0.01122258], rtol=1e-5)
    agree(bound[3], np.array(orders) / 1600)


def expected_run(case, counts, agree):
    i, o = case["inputs"], case["outputs"]
    rows = counts[: int(i["rows"].split()[1])]
    settings = {"threshold_at": i["threshold"], "sigma1": i["sigma1"], "sigma2": i["sigma2"], "orders": PATE_ORDERS}
    log_pass, _ = rdp.threshold_log_pass(rows, i["threshold"], i["sigma1"], integer_noise=False)
    for part, dependent in (("data_dependent", True), ("data_independent", False)):
        known = o[part]
        agree(np.exp(log_pass).sum(), known["expected_answered"])
        for suffix, answered in (("expected", None), ("if_all_answered", np.ones(len(rows), dtype=bool))):
            curve = rdp.confident_gnmax(
                rows, **settings, answered=answered, integer_noise=False, data_dependent=dependent
            )
            epsilon, order = rdp_epsilon(PATE_ORDERS, curve, i["delta"], conversion="classic")
            agree([epsilon, order], [known[f"epsilon_{suffix}"], known[f"order_{suffix}"]])
            sample = known["curve_sample"]
            at = [int(np.argmin(np.abs(PATE_ORDERS - a))) for a in sample["orders"]]
            agree(curve[at], sample[f"rdp_{suffix}"])


def test_end_to_end_confident_reference_cases(reference, votes, agree):
    cases = reference["pate"]["end_to_end_confident_gnmax"]
    assert len(cases) == 3
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        if i["votes"] in votes:
            expected_run(case, votes[i["votes"]], agree)
        else:
            # These votes are not redistributed here: the data-independent half needs only how many were answered.
            known, asked = o["data_independent"], int(i["rows"].split()[1])
            for suffix, answers in (("expected", known["expected_answered"]), ("if_all_answered", asked)):
                rho = asked / (2 * i["sigma1"] ** 2) + answers / i["sigma2"] ** 2
                ours = rdp_epsilon(PATE_ORDERS, rho * PATE_ORDERS, i["delta"], conversion="classic")
                agree(ours, [known[f"epsilon_{suffix}"], known[f"order_{suffix}"]])


def test_end_to_end_lnmax_reference_cases(reference, votes, agree):
    cases = reference["pate"]["end_to_end_lnmax_2017"]
    assert len(cases) == 4
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        moments = np.array(i["moments"])
        curve = np.array(o["log_mgf"]) / moments
        if i["votes"] in votes:
            rows, scale = votes[i["votes"]][i["rows"]], 1 / i["noise_eps"]
            curve = rdp.lnmax(rows, scale, moments + 1, integer_noise=False).sum(axis=0)
            agree(curve * moments, o["log_mgf"])
        agree((curve * moments - np.log(i["delta"])) / moments, o["epsilon_by_moment"])
        agree(rdp_epsilon(moments + 1, curve, i["delta"], conversion="classic")[0], o["epsilon"])


def test_mnist_figures(votes):
    """T = 200, sigma1 = 150, sigma2 = 40, the first 640 rows, delta 1e-5."""
    rows = votes["mnist_250_teachers.npy"][:640]
    log_pass, _ = rdp.threshold_log_pass(rows, 200, 150, integer_noise=False)
    expected = float(np.exp(log_pass).sum())
    assert expected == pytest.approx(282.72, abs=0.005)
    curve = rdp.confident_gnmax(rows, threshold_at=200, sigma1=150, sigma2=40, orders=PATE_ORDERS, integer_noise=False)
    assert rdp_epsilon(PATE_ORDERS, curve, 1e-5, conversion="classic")[0] == pytest.approx(1.9988, abs=5e-5)
    rho = 640 / (2 * 150**2) + expected / 40**2
    assert gdp_epsilon((2 * rho) ** 0.5, 1e-5) == pytest.approx(2.527, abs=5e-4)
    plan = [GaussianEvent(150.0, 1, 640), GaussianEvent(40.0, 2, 286)]
    assert plan_epsilon(plan, 1e-5, conversion="classic") == pytest.approx(3.174, abs=0.003)


def test_expectation_is_for_reports_and_realised_answers_are_the_guarantee(votes):
    rows = votes["mnist_250_teachers.npy"][:50]
    settings = {"threshold_at": 200, "sigma1": 150, "sigma2": 40, "orders": ORDERS}
    nothing = rdp.confident_gnmax(rows, **settings, answered=np.zeros(50, dtype=bool))
    some = rdp.confident_gnmax(rows, **settings, answered=np.arange(50) < 20)
    everything = rdp.confident_gnmax(rows, **settings, answered=np.ones(50, dtype=bool))
    assert np.all((nothing < some) & (some < everything))


@given(histograms, st.floats(1, 100), st.booleans())
def test_data_dependent_is_never_above_data_independent(counts, sigma, integer):
    bound = rdp.gnmax(counts[None], sigma, ORDERS, integer_noise=integer)[0]
    assert np.all(bound <= rdp.gnmax_data_independent(sigma, ORDERS) * (1 + 1e-12))
    assert np.all(bound >= 0)
    bound = rdp.lnmax(counts[None], sigma, ORDERS, integer_noise=integer)[0]
    assert np.all(bound <= 2 / sigma)


@given(histograms, st.floats(1, 100))
def test_integer_noise_never_costs_less_than_continuous(counts, sigma):
    integer = rdp.gnmax_log_q(counts[None], sigma)
    assert integer >= rdp.gnmax_log_q(counts[None], sigma, integer_noise=False) - 1e-12
    integer = rdp.lnmax_log_q(counts[None], sigma)
    assert integer >= rdp.lnmax_log_q(counts[None], sigma, integer_noise=False) - 1e-12


@given(histograms, st.randoms(use_true_random=False), st.floats(1, 100))
def test_order_of_classes_does_not_matter(counts, random, sigma):
    mixed = counts.copy()
    random.shuffle(mixed)
    np.testing.assert_allclose(rdp.gnmax(mixed[None], sigma, ORDERS), rdp.gnmax(counts[None], sigma, ORDERS), rtol=1e-9)
    np.testing.assert_allclose(rdp.lnmax(mixed[None], sigma, ORDERS), rdp.lnmax(counts[None], sigma, ORDERS), rtol=1e-9)


@given(histograms, st.floats(1, 100), st.floats(1.001, 5))
def test_more_noise_never_costs_more_data_independently(counts, sigma, factor):
    for curve in (rdp.gnmax_data_independent, rdp.threshold_data_independent, rdp.lnmax_data_independent):
        assert np.all(curve(sigma * factor, ORDERS) <= curve(sigma, ORDERS))


@given(st.floats(5, 100), st.floats(-200, -0.1), st.floats(0, 5))
def test_bound_grows_with_q_below_its_crossing(sigma, log_q, step):
    from stillhouse.platform.privacy.smooth_sensitivity import GnmaxCurve

    for order in (2.0, 8.0):
        curve = GnmaxCurve(sigma, 10, order)
        assume(log_q <= curve.log_q0())
        lower = rdp.gaussian_data_dependent(np.array([log_q - step]), sigma, [order])
        assert lower <= rdp.gaussian_data_dependent(np.array([log_q]), sigma, [order]) * (1 + 1e-9)


@given(histograms, st.floats(1, 100))
def test_bounds_grow_with_the_order(counts, sigma):
    bound = rdp.gnmax(counts[None], sigma, ORDERS)[0]
    assert np.all(np.diff(bound) >= -1e-12 * bound[:-1])


@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 12), st.just(4)), elements=st.integers(0, 90)), st.data())
@settings(deadline=None)
def test_total_is_order_free_and_more_queries_never_cost_less(table, data):
    def cost(rows):
        return rdp.total(lambda c: rdp.gnmax(c, 20.0, ORDERS), rows, ORDERS)

    whole = cost(table)
    np.testing.assert_allclose(cost(table[data.draw(st.permutations(range(len(table))))]), whole, rtol=1e-9)
    np.testing.assert_allclose(cost(table), whole, rtol=0)
    for n in range(len(table)):
        assert np.all(cost(table[: n + 1]) <= whole * (1 + 1e-12))


def test_total_in_pieces_is_the_plain_sum(monkeypatch):
    table = np.random.default_rng(0).multinomial(250, [0.7, 0.2, 0.1], size=97)
    plain = rdp.gnmax(table, 40.0, ORDERS).sum(axis=0)
    monkeypatch.setattr(rdp, "_CELLS", 60)
    np.testing.assert_allclose(rdp.total(lambda c: rdp.gnmax(c, 40.0, ORDERS), table, ORDERS), plain, rtol=1e-12)


def test_vectorised_is_row_by_row_and_order_by_order():
    table = np.random.default_rng(1).multinomial(250, [0.6, 0.3, 0.1], size=40)
    whole = rdp.gnmax(table, 30.0, ORDERS)
    for row in range(len(table)):
        for column, order in enumerate(ORDERS):
            assert rdp.gnmax(table[row : row + 1], 30.0, [order])[0, 0] == pytest.approx(whole[row, column], rel=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rdp.gnmax_log_q(np.array([[1, 2]]), 0.0),
        lambda: rdp.gnmax_log_q(np.array([[1], [2]]), 1.0),
        lambda: rdp.gnmax_log_q(np.array([[1, np.nan]]), 1.0),
        lambda: rdp.gaussian_data_dependent(np.array([0.1]), 1.0, [2]),
        lambda: rdp.gaussian_data_dependent(np.array([np.nan]), 1.0, [2]),
        lambda: rdp.gaussian_data_dependent(np.array([-1.0]), 1.0, [1]),
        lambda: rdp.lnmax_of_log_q(np.array([0.5]), 1.0, [2]),
        lambda: rdp.total(lambda c: c, np.array([[1, 2]]), [2.0], weights=np.ones(3)),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(BadInput):
        call()
