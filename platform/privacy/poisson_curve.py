"""The Renyi curve of Gaussian noise on Poisson samples, computed once for each noise, rate and grid of orders.

dp-accounting takes about two milliseconds for a fractional order, and a plan is priced again and again: by each guess of a calibration,
at each stage of a run, by each charge of a ledger. All of them ask for the same curve, times how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .validate import renyi_orders

# Of some 300 orders each: three megabytes.
_KEPT = 256


def poisson_gaussian_rdp(
    noise_multiplier: float, sample_rate: float, releases: int, orders: Sequence[float] | np.ndarray
) -> np.ndarray:
    """What dp-accounting's Renyi accountant says of `releases` Poisson-sampled Gaussians, at each order."""
    grid = renyi_orders(orders)
    return releases * _one_release(float(noise_multiplier), float(sample_rate), tuple(grid.tolist()))


@lru_cache(maxsize=_KEPT)
def _one_release(noise_multiplier: float, sample_rate: float, orders: tuple[float, ...]) -> np.ndarray:
    from dp_accounting import dp_event, rdp

    event = dp_event.PoissonSampledDpEvent(sample_rate, dp_event.GaussianDpEvent(noise_multiplier))
    return np.asarray(rdp.RdpAccountant(orders=list(orders)).compose(event).rdp, dtype=float)
