"""Figures that only a simulation on public benchmark data may look at: they read private votes or records without noise.

They put the student's accuracy into context and are never part of what is released; the report marks them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..methods.transfer import TransferData
from ..platform.data.images import ImageData
from ..platform.errors import BadInput
from ..platform.privacy import rdp
from ..platform.privacy.accounting import PATE_ORDERS, rdp_epsilon
from ..platform.privacy.mechanisms import ConfidentGNMax, GNMax, LNMax, Mechanism
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from .missing_votes import FILE as MISSING_VOTES
from .simulation import Simulation

STAGE = "diagnostics"


@dataclass(frozen=True)
class Diagnostics:
    """Accuracies on the score set, its vote histograms (Q, K), and the data-dependent epsilon of the realised queries.

    `data_dependent` is None for a mechanism that has no such bound here, and where votes of some silos were missing.
    """

    mean_teacher: float
    ensemble: float
    nonprivate: float
    histograms: np.ndarray
    data_dependent: float | None

    @classmethod
    def kept(cls, method: Any, data: TransferData, run: LocalRun) -> bool:
        """Whether an earlier start of this run left them."""
        return run.find_stage(STAGE, _inputs(method, data)) is not MISSING


def diagnosed(method: Any) -> bool:
    """Whether there are such figures for it: its silos vote, and it has a non-private reference."""
    return bool(getattr(method, "asks", True)) and hasattr(method, "nonprivate")


def _inputs(method: Any, data: TransferData) -> dict[str, Any]:
    """All that the figures depend on: the question, the method's settings (of the non-private reference), the delta, the score set."""
    return {
        "question": method.question(data),
        "method": asdict(method),
        "delta": data.delta,
        "score": data.score.content_hash(),
    }


def diagnose(
    method: Any,
    data: TransferData,
    private: ImageData,
    run: LocalRun,
    simulated: Simulation | None,
    labels: Mapping[str, Any],
) -> Diagnostics:
    """Return the figures, from an earlier start where there is one. `labels` are what the method bought."""

    def compute() -> dict[str, Any]:
        if simulated is None:
            raise BadInput("there are no silos to look at", mend="remove the run folder and start again")
        votes = simulated.fleet.vote(data.score.images)
        counts = histograms(votes, data.classes)
        asked = histograms(simulated.fleet.vote(_asked(data, labels)), data.classes)
        answered = np.array([status == "answered" for status in labels["statuses"]])
        figures = Diagnostics(
            mean_teacher=float((votes == data.score.labels).mean()),
            ensemble=float((counts.argmax(1) == data.score.labels).mean()),
            nonprivate=method.nonprivate(data, private, run),
            histograms=counts,
            # Where votes were missing, these are not the counts that were noised.
            data_dependent=None
            if (run.folder / MISSING_VOTES).exists()
            else data_dependent_epsilon(data.mechanism, asked, answered, data.delta),
        )
        return asdict(figures)

    return Diagnostics(**run.stage(STAGE, compute, _inputs(method, data)))


def _asked(data: TransferData, labels: Mapping[str, Any]) -> np.ndarray:
    """The images whose labels were bought: kept with the labels where they were made, else by their number in the pool."""
    return labels["images"] if "images" in labels else data.pool[labels["indices"]]


def histograms(votes: np.ndarray, classes: int) -> np.ndarray:
    """Count votes (N, Q) into histograms (Q, K)."""
    return np.stack([(votes == k).sum(0) for k in range(classes)], axis=1)


def data_dependent_epsilon(
    mechanism: Mechanism, counts: np.ndarray, answered: np.ndarray, delta: float
) -> float | None:
    """Return the epsilon of Theorem 6 for the realised queries. It is a function of the votes: private, for study only."""
    orders = PATE_ORDERS
    if isinstance(mechanism, ConfidentGNMax):
        curve = rdp.confident_gnmax(
            counts, threshold_at=mechanism.threshold, sigma1=mechanism.sigma1, sigma2=mechanism.sigma2,
            orders=orders, answered=answered,
        )  # fmt: skip
    elif isinstance(mechanism, GNMax):
        curve = rdp.gnmax(counts[answered], mechanism.sigma, orders).sum(0)
    elif isinstance(mechanism, LNMax):
        curve = rdp.lnmax(counts[answered], mechanism.scale, orders).sum(0)
    else:
        return None
    return rdp_epsilon(orders, curve, delta, conversion="tight")[0]
