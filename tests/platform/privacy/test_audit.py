"""The audits are audited: each lower bound must hold as often as it says, for mechanisms of known epsilon."""

import numpy as np
import pytest
from scipy.stats import binom
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import audit
from stillhouse.platform.privacy.accounting import gdp_epsilon

DELTA = 1e-5
SEEDS = 100


def at_most_expected_failures(failures, runs, significance=0.05):
    """Whether so many failures could come from a bound that fails with probability `significance` (alpha 1e-4)."""
    return binom.sf(failures - 1, runs, significance) > 1e-4


def gaussian_scores(mu, seed, n=2000):
    generator = np.random.default_rng(seed)
    return generator.normal(mu, 1, n), generator.normal(0, 1, n)


def test_one_run_reference_cases(reference, agree):
    cases = reference["accounting"]["one_run_audit"]
    assert len(cases) == 14
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        shown = i["m"], i["n_guess"], i["n_correct"]
        agree(audit.one_run_p_value(*shown, epsilon=1.0, delta=i["delta"]), o["p_value_at_eps_1"])
        found = audit.one_run_epsilon(*shown, delta=i["delta"], significance=i["significance"])
        # Their bisection stops at 1e-6.
        agree(found, o["epsilon_lower"], rtol=0, atol=2e-6)
        if o["epsilon_lower_fdp"] is not None:
            found = audit.one_run_gdp_epsilon(*shown, delta=i["delta"], significance=i["significance"])
            agree(found, o["epsilon_lower_fdp"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("mu", [0.1, 0.3, 0.5, 1.0, 2.0])
def test_clopper_pearson_and_gdp_cover(mu):
    truth = gdp_epsilon(mu, DELTA)
    too_high = {"clopper_pearson": 0, "gdp": 0}
    for seed in range(SEEDS):
        scores = gaussian_scores(mu, seed)
        too_high["clopper_pearson"] += audit.clopper_pearson_epsilon(*scores, delta=DELTA) > truth
        too_high["gdp"] += audit.gdp_mu(*scores) > mu
    assert all(at_most_expected_failures(count, SEEDS) for count in too_high.values()), too_high


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("guesses", [40, 400, 2000])
def test_one_run_covers(mu, guesses):
    """Independent Gaussian scores are what one run of a mu-GDP mechanism shows at the most."""
    truth = gdp_epsilon(mu, DELTA)
    too_high = {"pure": 0, "gdp": 0}
    runs = 30
    for seed in range(runs):
        generator = np.random.default_rng(1000 + seed)
        inside = generator.integers(0, 2, 4000).astype(bool)
        scores = generator.normal(mu * inside, 1)
        correct = audit.one_run_guesses(scores[inside], scores[~inside], guesses)
        too_high["pure"] += audit.one_run_epsilon(4000, guesses, correct, delta=DELTA) > truth
        too_high["gdp"] += audit.one_run_gdp_mu(4000, guesses, correct) > mu
    assert all(at_most_expected_failures(count, runs) for count in too_high.values()), too_high


def test_coverage_test_would_catch_a_bound_without_confidence():
    """Plugging in observed rates instead of their upper bounds is what a broken audit does."""
    failures = 0
    for seed in range(SEEDS):
        inside, outside = gaussian_scores(0.3, seed)
        errors = audit.score_errors(inside, outside, power=lambda e: e.mu(significance=0.05))
        fpr, fnr = errors.false_positives / errors.out_trials, errors.false_negatives / errors.in_trials
        failures += -audit.ndtri(fpr) - audit.ndtri(fnr) > 0.3
    assert not at_most_expected_failures(failures, SEEDS)


def test_power():
    """2000 + 2000 scores: the bounds are not vacuous, and the GDP form is the stronger one."""
    medians = {}
    for mu in (0.5, 1.0, 2.0):
        found = [
            (
                audit.clopper_pearson_epsilon(*scores, delta=DELTA),
                gdp_epsilon(audit.gdp_mu(*scores), DELTA),
            )
            for scores in (gaussian_scores(mu, seed) for seed in range(10))
        ]
        medians[mu] = np.median(found, axis=0)
    assert medians[0.5][0] > 0.25
    assert medians[1.0][0] > 1.2
    assert medians[2.0][0] > 2.4
    assert all(gdp > plain for plain, gdp in medians.values())
    assert medians[1.0][1] > 0.65 * gdp_epsilon(1.0, DELTA)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_upper_rate_covers(p):
    generator = np.random.default_rng(0)
    seen = generator.binomial(200, p, 2000)
    failures = sum(audit.upper_rate(int(k), 200, 0.05) < p for k in seen)
    assert at_most_expected_failures(failures, 2000)
    assert failures > 20


def test_randomised_response_of_known_epsilon():
    """A two-valued output: the bound comes close to the truth and passes it no more often than it may."""
    epsilon, n = 1.0, 20_000
    keep = 1 / (1 + np.exp(-epsilon))
    found = []
    for seed in range(SEEDS):
        generator = np.random.default_rng(seed)
        first = np.where(generator.random(n) < keep, 0, 1)
        second = np.where(generator.random(n) < keep, 1, 0)
        found.append(audit.output_errors(first.tolist(), second.tolist()).epsilon(delta=0.0))
    assert at_most_expected_failures(int(np.sum(np.array(found) > epsilon)), SEEDS)
    assert np.median(found) > 0.9


def test_identical_outputs_show_nothing_and_disjoint_ones_show_much():
    same = audit.output_errors([0, 1] * 500, [0, 1] * 500)
    assert same.epsilon(delta=0.0) == 0.0
    apart = audit.output_errors([0] * 1000, [1] * 1000)
    assert apart.epsilon(delta=DELTA) > 4
    assert apart.mu() > 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: audit.upper_rate(3, 2, 0.05),
        lambda: audit.upper_rate(1, 2, 0.0),
        lambda: audit.ErrorCounts(1, 2, 1, 2).epsilon(delta=1.0),
        lambda: audit.clopper_pearson_epsilon(np.ones(2), np.ones(2), delta=0.1),
        lambda: audit.clopper_pearson_epsilon(np.array([np.nan] * 9), np.ones(9), delta=0.1),
        lambda: audit.output_errors([1], [2]),
        lambda: audit.one_run_p_value(10, 20, 5, epsilon=1.0, delta=0.0),
        lambda: audit.one_run_gdp_mu(10, 5, 6),
        lambda: audit.one_run_guesses(np.ones(3), np.ones(3), 7),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(BadInput):
        call()
