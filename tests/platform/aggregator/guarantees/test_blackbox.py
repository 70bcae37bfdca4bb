"""A black-box audit of the engine: does what it answers fit what it wrote into the ledger?

The auditor asks many distinct queries on which the teachers vote alike, once with the votes of one data set and once
with a neighbour's (one teacher votes otherwise), and looks at labels and statuses only. Clopper-Pearson bounds on the
errors of the best rule between the two give a lower bound on epsilon. The claim is read from the ledger: what these
queries were charged, divided among them. An honest engine stays below; engines with the faults below do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from stillhouse.platform.aggregator.engine import Engine
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.audit import ErrorCounts, output_errors
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax, Mechanism
from stillhouse.platform.privacy.noise import Shape, SystemNoise
from support.aggregation import Place, ask, batch
from support.noise import repeatable_noise

DRAWS = 6_000
SIGNIFICANCE = 1e-6
DELTA = 0.02
PLAIN = GNMax(2.0)
CONFIDENT = ConfidentGNMax(threshold=11, sigma1=2.0, sigma2=3.0)
# Counts of classes 0 and 1: one vote moves.
HERE, THERE = (11, 8), (10, 9)
BALANCE, TIPPED = (10, 9), (9, 10)


class Altered:
    """Noise that a faulty engine might add; as a stand-in for the honest one it shows what the audit would see."""

    gdp = True

    def __init__(self, inner: SystemNoise) -> None:
        self.inner = inner

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        return self.inner.gaussian(sigma, shape)

    def laplace(self, scale: float, shape: Shape) -> np.ndarray:
        return self.inner.laplace(scale, shape)


class Halved(Altered):
    """Half of the standard deviation that was charged for."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        return self.inner.gaussian(sigma / 2, shape)


class SensitivityOne(Altered):
    """Calibrated as if one changed vote moved the histogram by 1 and not by sqrt 2."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        return self.inner.gaussian(sigma / np.sqrt(2), shape)


class NoCheckNoise(Altered):
    """Noise on the answers, none on the check."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        flat = isinstance(shape, int) or len(shape) == 1
        return np.zeros(shape, np.int64) if flat else self.inner.gaussian(sigma, shape)


class SharedByPairs(Altered):
    """The same draw for two queries."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        drawn = self.inner.gaussian(sigma, shape)
        drawn[1::2] = drawn[: 2 * (len(drawn) // 2) : 2]
        return drawn


class SharedByAll(Altered):
    """One draw for a whole batch."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        drawn = self.inner.gaussian(sigma, shape)
        drawn[:] = drawn[:1]
        return drawn


def table(columns: list[tuple[int, int]]) -> np.ndarray:
    """Votes (V, Q) with these counts of classes 0 and 1."""
    counts = np.array(columns)
    voters = np.arange(counts.sum(axis=1).max())[:, None]
    return np.where(voters < counts[:, 0], 0, np.where(voters < counts.sum(axis=1), 1, -1))


def outputs(
    folder: Path, mechanism: Mechanism, columns: list[tuple[int, int]], *, seed: int, noise: type[Altered] = Altered
) -> tuple[list[tuple[str, int]], float]:
    """What the engine says to as many distinct queries as there are columns, and the mu a query that it charged."""
    folder.mkdir(exist_ok=True)
    place = Place(folder)
    place.ledger().grant("scans", epsilon=1e6, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
    engine: Engine = place.engine(noise(repeatable_noise(seed)), classes=2)
    asked = batch(*range(len(columns)), mechanism=mechanism)
    result = ask(engine, asked, table(columns))
    rho = place.spent() / 1e9
    place.close()
    return list(zip(result.statuses, result.labels.tolist(), strict=True)), float(np.sqrt(2 * rho / len(columns)))


def shown(
    folder: Path,
    mechanism: Mechanism,
    here: tuple[int, int],
    there: tuple[int, int],
    *,
    draws: int = DRAWS,
    **more: Any,
) -> tuple[ErrorCounts, float]:
    """Errors of the best rule between the two data sets, and the mu that was charged a query (the larger)."""
    first, mu = outputs(folder / "here", mechanism, [here] * draws, seed=1, **more)
    second, other = outputs(folder / "there", mechanism, [there] * draws, seed=2, **more)
    return output_errors(first, second), max(mu, other)


def refuted(errors: ErrorCounts, mu: float) -> bool:
    """Whether the lower bound on epsilon exceeds the claim: in GDP terms, or as an epsilon at DELTA."""
    by_mu = errors.mu(significance=SIGNIFICANCE) > mu
    return bool(by_mu or errors.epsilon(delta=DELTA, significance=SIGNIFICANCE) > gdp_epsilon(mu, DELTA))


@pytest.mark.parametrize(("here", "there"), [(HERE, THERE), (BALANCE, TIPPED)])
@pytest.mark.parametrize("mechanism", [PLAIN, CONFIDENT], ids=["gnmax", "confident_gnmax"])
def test_an_honest_engine_stays_below_its_claim(tmp_path, mechanism, here, there):
    errors, mu = shown(tmp_path, mechanism, here, there)
    assert not refuted(errors, mu)
    assert errors.epsilon(delta=DELTA, significance=SIGNIFICANCE) <= gdp_epsilon(mu, DELTA)


def test_the_audit_comes_close_to_the_claim(tmp_path):
    """Or it could not catch anything: for two classes the label is the best that an attacker could look at."""
    errors, mu = shown(tmp_path, PLAIN, BALANCE, TIPPED)
    assert errors.mu(significance=SIGNIFICANCE) > 0.6 * mu


@pytest.mark.parametrize(("noise", "draws"), [(Halved, DRAWS), (SensitivityOne, 3 * DRAWS)])
def test_too_little_noise_is_caught(tmp_path, noise, draws):
    assert refuted(*shown(tmp_path, PLAIN, BALANCE, TIPPED, noise=noise, draws=draws))


def test_a_check_without_noise_is_caught(tmp_path):
    assert refuted(*shown(tmp_path, CONFIDENT, HERE, THERE, noise=NoCheckNoise))


def pairs(folder: Path, changed: tuple[int, int], *, seed: int, noise: type[Altered]) -> tuple[list[Any], float]:
    """Labels of pairs of queries, of which the second is the same for both neighbours, and the mu for a pair."""
    columns = [column for _ in range(DRAWS // 2) for column in (changed, TIPPED)]
    said, mu = outputs(folder, PLAIN, columns, seed=seed, noise=noise)
    return list(zip(said[::2], said[1::2], strict=True)), mu * 2**0.5


@pytest.mark.parametrize(("noise", "caught"), [(Altered, False), (SharedByPairs, True)])
def test_noise_that_two_queries_share_is_caught(tmp_path, noise, caught):
    """The second label tells how large the noise of the first one was; then it hides nothing."""
    first, mu = pairs(tmp_path / "here", BALANCE, seed=1, noise=noise)
    second, _ = pairs(tmp_path / "there", TIPPED, seed=2, noise=noise)
    assert refuted(output_errors(first, second), mu) is caught


@pytest.mark.parametrize(("noise", "caught"), [(Altered, False), (SharedByPairs, True), (SharedByAll, True)])
def test_labels_of_one_batch_are_independent(tmp_path, noise, caught):
    """Ties everywhere: neighbours in a batch agree half of the time, and no label has more than its share."""
    said, _ = outputs(tmp_path, PLAIN, [(50, 50)] * 4_000, seed=3, noise=noise)
    labels = np.array([label for _, label in said])
    # Ties of the noisy counts go to class 0: its share is a little above one half, so pairs agree a little more often.
    agreements = int(np.sum(labels[::2] == labels[1::2]))
    assert bool(binomtest(agreements, 2_000, 0.51).pvalue < SIGNIFICANCE) is caught
