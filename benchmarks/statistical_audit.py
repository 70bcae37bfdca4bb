"""Black-box audit of the noisy argmax: does it leak no more than claimed, and would the audit notice if it did?

    python benchmarks/statistical_audit.py

100,000 draws on each of two neighbouring histograms, with the production noise (operating-system randomness, so figures
differ a little from run to run). The Clopper-Pearson lower bound on epsilon (significance 1e-6, at the given delta) must
stay below the claim for the honest mechanism and pass above it for one that draws half its noise. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.audit import ErrorCounts, output_errors
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.noise import SystemNoise

SIGNIFICANCE = 1e-6
# Two classes are the hardest case, and this gap is close to the best test at the claimed epsilon.
HERE, THERE = np.array([12, 10]), np.array([11, 11])


def attack(sigma: float, draws: int) -> ErrorCounts:
    """Errors of the likelihood-ratio rule between answers on the two histograms."""
    noise = SystemNoise()
    first, second = (GNMax(sigma).answer(np.tile(counts, (draws, 1)), noise).tolist() for counts in (HERE, THERE))
    return output_errors(first, second)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--sigma", type=float, default=2.0)
    parser.add_argument("--delta", type=float, default=0.02)
    settings = parser.parse_args()
    mu = float(np.sqrt(GNMax(settings.sigma).answer_event().rdp([2.0])[0]))
    claim = gdp_epsilon(mu, settings.delta)
    print(f"claim: GNMax(sigma={settings.sigma:g}) is {mu:.4f}-GDP, epsilon {claim:.4f} at delta {settings.delta:g}")
    found = {}
    for name, sigma in (("honest", settings.sigma), ("half its noise", settings.sigma / 2)):
        start = time.perf_counter()
        errors = attack(sigma, settings.draws)
        seconds = time.perf_counter() - start
        found[name] = errors.epsilon(delta=settings.delta, significance=SIGNIFICANCE)
        print(
            f"{name}: Clopper-Pearson epsilon >= {found[name]:.4f}, mu >= {errors.mu(significance=SIGNIFICANCE):.4f} "
            f"from 2 x {settings.draws:,} draws in {seconds:.2f} s"
        )
    stays_below, is_caught = found["honest"] <= claim, found["half its noise"] > claim
    print(f"honest stays below the claim: {stays_below}; half the noise is caught: {is_caught}")
    noise, count = SystemNoise(), 1_000_000
    start = time.perf_counter()
    noise.gaussian(40.0, count)
    print(f"noise: {(time.perf_counter() - start) / count * 1e6:.3f} us a sample")
    return 0 if stays_below and is_caught else 1


if __name__ == "__main__":
    sys.exit(main())
