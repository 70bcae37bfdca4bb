"""The kept curve is dp-accounting's, to the last digit, and nobody can spoil it for the next."""

from __future__ import annotations

import numpy as np
from dp_accounting import rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.privacy.accounting import PATE_ORDERS
from stillhouse.platform.privacy.events import Event, SubsampledGaussianEvent
from stillhouse.platform.privacy.poisson_curve import poisson_gaussian_rdp
from stillhouse.platform.privacy.sampled_silos_event import SampledSilosEvent

GRIDS = st.sampled_from([tuple(PATE_ORDERS[::10]), (2.0, 8.5), (1.25,)])


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from([SubsampledGaussianEvent, SampledSilosEvent]),
    noise=st.sampled_from([0.6, 1.0, 4.0]),
    rate=st.sampled_from([0.001, 0.1, 0.7]),
    times=st.integers(1, 10**6),
    count=st.integers(1, 9),
    orders=GRIDS,
)
def test_both_events_cost_what_dp_accounting_says(
    kind: type, noise: float, rate: float, times: int, count: int, orders: tuple[float, ...]
) -> None:
    event: Event = kind(noise, rate, times, count)
    accountant = rdp.RdpAccountant(orders=list(orders))
    np.testing.assert_array_equal(event.rdp(orders), accountant.compose(event.dp_event()).rdp)


def test_who_changes_an_answer_changes_only_his_own() -> None:
    first = poisson_gaussian_rdp(1.0, 0.1, 1, [2.0, 3.0])
    kept = first.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(poisson_gaussian_rdp(1.0, 0.1, 1, [2.0, 3.0]), kept)
