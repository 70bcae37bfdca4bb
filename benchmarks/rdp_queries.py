"""Data-dependent Renyi bounds of a million queries, on one core.

    OMP_NUM_THREADS=1 python benchmarks/rdp_queries.py

Prints the processor seconds for GNMax over 10 classes at 19 and at 298 orders, and the ratio against evaluating the same bounds
one query and one order at a time (timed on a sample and extrapolated).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from stillhouse.platform.privacy import rdp
from stillhouse.platform.privacy.accounting import PATE_ORDERS

FEW_ORDERS = np.array([1.1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 25, 32, 64, 128, 256])
SIGMA = 40.0


def histograms(queries: int) -> np.ndarray:
    """Votes of 250 teachers, from unanimous to scattered."""
    generator = np.random.default_rng(0)
    agreement = generator.beta(4, 1, queries)
    winners = generator.binomial(250, np.maximum(agreement, 0.1))
    rest = generator.multinomial(250 - winners, np.full(9, 1 / 9))
    return np.column_stack((winners, rest)).astype(np.int64)


def one_by_one(counts: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The same sum, one query and one order at a time."""
    curve = np.zeros(len(orders))
    for row in range(len(counts)):
        for column, order in enumerate(orders):
            curve[column] += rdp.gnmax(counts[row : row + 1], SIGMA, [order])[0, 0]
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=100, help="queries timed one by one")
    settings = parser.parse_args()
    counts = histograms(settings.queries)
    sample = counts[: settings.sample]
    for orders in (FEW_ORDERS, PATE_ORDERS):

        def bound(rows: np.ndarray, orders: np.ndarray = orders) -> np.ndarray:
            return rdp.gnmax(rows, SIGMA, orders)

        start = time.process_time()
        rdp.total(bound, counts, orders)
        together = time.process_time() - start
        start = time.process_time()
        singly = one_by_one(sample, orders)
        single = (time.process_time() - start) * len(counts) / len(sample)
        np.testing.assert_allclose(rdp.total(bound, sample, orders), singly, rtol=1e-9)
        print(
            f"{len(counts):,} queries x {len(orders)} orders: {together:.2f} CPU s; "
            f"one by one {single:,.0f} CPU s (extrapolated): {single / together:,.0f} times as long"
        )


if __name__ == "__main__":
    main()
