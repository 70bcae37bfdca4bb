import math
from functools import lru_cache

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import accounting
from stillhouse.platform.privacy.events import (
    GaussianEvent,
    PureDpEvent,
    SelectionEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
)
from stillhouse.platform.privacy.rdp import laplace_scalar

BASES = {
    "dpsgd q=.01 nm=1 n=1000": SubsampledGaussianEvent(1.0, 0.01, 1000),
    "gaussian nm=4": GaussianEvent(4.0),
}


def curve_of(case):
    """Our curve of a reference case, as a function of the orders."""
    i, kind = case["inputs"], case["kind"]
    if kind == "gaussian":
        return GaussianEvent(i["noise_multiplier"], 1, i["count"]).rdp
    if kind == "poisson_subsampled_gaussian":
        return SubsampledGaussianEvent(i["noise_multiplier"], i["sampling_probability"], i["count"]).rdp
    if kind == "zcdp":
        return lambda orders: i["rho"] * np.asarray(orders)
    if kind == "laplace":
        return lambda orders: i["count"] * laplace_scalar(i["noise_multiplier"], orders)
    assert kind == "repeat_and_select"
    shape = float(i["shape"])
    return SelectionEvent(BASES[i["base"]], i["mean"], None if math.isinf(shape) else shape).rdp


def pld_events(case):
    i = case["inputs"]
    if case["kind"] == "gaussian":
        return [GaussianEvent(i["noise_multiplier"], 1, i["count"])]
    if case["kind"] == "poisson_subsampled_gaussian":
        return [SubsampledGaussianEvent(i["noise_multiplier"], i["sampling_probability"], i["count"])]
    return None


def test_event_reference_cases(reference, agree):
    from dp_accounting import rdp

    cases = reference["accounting"]["accounting"]
    assert len(cases) == 56
    default_orders = np.asarray(rdp.RdpAccountant().orders)
    for case in cases:
        curve = curve_of(case)
        agree(curve(case["orders"]), case["rdp"])
        full = curve(default_orders)
        for delta, epsilon in case["rdp_epsilon_default_orders"].items():
            agree(accounting.rdp_epsilon(default_orders, full, float(delta))[0], epsilon)


def test_pld_reference_cases(reference, agree, monkeypatch):
    # Each distribution serves two deltas; building it is what takes the time.
    monkeypatch.setattr(accounting, "_loss_distribution", lru_cache(accounting._loss_distribution))
    checked = 0
    for case in reference["accounting"]["accounting"]:
        for delta, epsilon in case.get("pld_epsilon", {}).items():
            i, events = case["inputs"], pld_events(case)
            if case["kind"] == "gaussian" and i["count"] == 1:
                agree(accounting.gdp_epsilon(1 / i["noise_multiplier"], float(delta)), epsilon, rtol=3e-4)
            if case["kind"] == "laplace":
                # A released number may use its own curve; as "some pure-DP mechanism" it can only cost more.
                generic = accounting.pld_epsilon([PureDpEvent(1 / i["noise_multiplier"], i["count"])], float(delta))
                assert generic >= epsilon
            else:
                agree(accounting.pld_epsilon(events, float(delta)), epsilon, rtol=1e-6)
            checked += 1
    assert checked == 40


def test_conversion_reference_cases(reference, agree):
    for case in reference["pate"]["eps_from_delta_classic"]:
        i, o = case["inputs"], case["outputs"]
        found = accounting.rdp_epsilon(i["orders"], np.array(i["rdp"]), i["delta"], conversion="classic")
        agree(found, [o["epsilon"], o["order"]])
    cases = reference["accounting"]["rdp_to_epsilon"]
    assert len(cases) == 15
    for case in cases:
        i, o = case["inputs"], case["outputs"]
        agree(accounting.rdp_epsilon(i["orders"], np.array(i["rdp"]), i["delta"]), [o["epsilon"], o["order"]])


def test_analytic_gaussian_reference_cases(reference, agree):
    cases = reference["accounting"]["analytic_gaussian"]
    assert len(cases) == 15
    for case in cases:
        i = case["inputs"]
        agree(accounting.gdp_epsilon(1 / i["noise_multiplier"], i["delta"]), case["outputs"]["epsilon"])
    cases = reference["accounting"]["analytic_gaussian_sigma"]
    assert len(cases) == 10
    for case in cases:
        i = case["inputs"]
        agree(1 / accounting.gdp_mu(i["epsilon"], i["delta"]), case["outputs"]["sigma"])


def exact_delta(mu, epsilon):
    with mpmath.workdps(60):
        mu, epsilon = mpmath.mpf(mu), mpmath.mpf(epsilon)
        return mpmath.ncdf(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * mpmath.ncdf(-mu / 2 - epsilon / mu)


@given(st.floats(1e-3, 30), st.floats(0, 60))
def test_gdp_delta_keeps_its_digits(mu, epsilon):
    exact = exact_delta(mu, epsilon)
    assert accounting.gdp_delta(mu, epsilon) == pytest.approx(float(exact), rel=1e-8, abs=1e-300)


@settings(deadline=None)
@given(st.floats(1e-2, 20), st.sampled_from([1e-3, 1e-5, 1e-9]))
def test_gdp_epsilon_inverts_delta_on_the_safe_side(mu, delta):
    epsilon = accounting.gdp_epsilon(mu, delta)
    assert float(exact_delta(mu, epsilon)) <= delta * (1 + 1e-8)
    if epsilon:
        assert float(exact_delta(mu, epsilon * (1 - 1e-6))) > delta


@given(st.floats(1e-6, 1e3), st.sampled_from([1e-2, 1e-5, 1e-9]))
@settings(deadline=None)
def test_exact_is_below_tight_is_below_classic(rho, delta):
    exact = accounting.gdp_epsilon(math.sqrt(2 * rho), delta)
    tight = accounting.zcdp_epsilon(rho, delta)
    classic = accounting.zcdp_epsilon(rho, delta, conversion="classic")
    assert exact <= tight * (1 + 1e-9) + 1e-12
    assert tight <= classic * (1 + 1e-6)


@pytest.mark.parametrize(("rho", "epsilon"), [(0.193, 3.174), (1.0, 7.786), (5.0, 20.174)])
def test_closed_form_is_the_grid_search(rho, epsilon):
    orders = 1 + np.logspace(-3, 4, 100_000)
    grid = accounting.rdp_epsilon(orders, rho * orders, 1e-5, conversion="classic")[0]
    closed = accounting.zcdp_epsilon(rho, 1e-5, conversion="classic")
    assert closed == pytest.approx(epsilon, abs=1e-3)
    assert grid == pytest.approx(closed, abs=1e-3)


@given(st.floats(1e-4, 10), st.floats(1.0, 10))
def test_epsilon_grows_with_what_was_spent(rho, factor):
    for convert in (
        lambda r: accounting.zcdp_epsilon(r, 1e-5),
        lambda r: accounting.gdp_epsilon(math.sqrt(2 * r), 1e-5),
    ):
        # Both are found by a search that ends at the last digits of a double.
        assert convert(rho) <= convert(rho * factor) * (1 + 1e-12)


def test_plan_epsilon_is_exact_for_gaussians_and_order_free():
    plan = [GaussianEvent(150.0, 1, 640), GaussianEvent(40.0, 2, 286)]
    assert accounting.plan_epsilon(plan, 1e-5) == accounting.plan_epsilon(plan[::-1], 1e-5)
    assert accounting.plan_epsilon([GaussianEvent(10.0, 2, 100)], 1e-5) == pytest.approx(6.57297, abs=1e-5)
    assert accounting.plan_epsilon([GaussianEvent(40.0, 2, 1000)], 1e-5) == pytest.approx(4.98331, abs=1e-5)
    assert accounting.plan_epsilon([], 1e-5) == 0.0
    mixed = accounting.plan_epsilon([*plan, PureDpEvent(0.1)], 1e-5)
    assert mixed > accounting.plan_epsilon(plan, 1e-5)


def test_pld_of_many_noisy_maxima_uses_the_pure_dp_bound():
    assert accounting.pld_epsilon([PureDpEvent(0.1, 100)], 1e-5) == pytest.approx(4.3068, abs=1e-3)
    assert accounting.pld_epsilon([], 1e-5) == 0.0
    both = accounting.pld_epsilon([GaussianEvent(10.0), PureDpEvent(0.1)], 1e-5)
    assert both > accounting.pld_epsilon([GaussianEvent(10.0)], 1e-5)
    with pytest.raises(BadInput):
        accounting.pld_epsilon([SmoothSensitivityEvent(0.01, 6.0)], 1e-5)


def test_compose():
    np.testing.assert_array_equal(accounting.compose([np.array([1.0, 2.0]), np.array([0.5, 1.0])]), [1.5, 3.0])
    assert accounting.compose_events([], [2.0, 3.0]).tolist() == [0.0, 0.0]
    with pytest.raises(BadInput):
        accounting.compose([])
    with pytest.raises(BadInput):
        accounting.compose([np.ones(2), np.ones(3)])


@pytest.mark.parametrize("curve", [[-1.0], [math.nan], [1.0, 2.0]])
def test_broken_curves_are_refused(curve):
    with pytest.raises(BadInput):
        accounting.rdp_epsilon([2.0], np.array(curve), 1e-5)


def test_no_conversion_below_the_truth_is_on_offer():
    """The central-limit GDP accountant of Opacus lies below the true epsilon; nothing here may name or use it."""
    with pytest.raises(BadInput, match="classic"):
        accounting.rdp_epsilon([2.0], np.array([1.0]), 1e-5, conversion="gdp")
    true = accounting.pld_epsilon([SubsampledGaussianEvent(1.0, 0.01, 1000)], 1e-5)
    assert true == pytest.approx(1.8282, abs=1e-3)
    assert accounting.plan_epsilon([SubsampledGaussianEvent(1.0, 0.01, 1000)], 1e-5) >= true
