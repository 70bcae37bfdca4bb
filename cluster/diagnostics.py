"""Figures that only a simulation on public benchmark data may look at: they read private votes or records without noise.

They put the student's accuracy into context and are never part of what is released; the report marks them so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..methods.transfer import TransferData
from ..platform.data.images import ImageData
from ..platform.errors import BadInput
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from .federation import Simulation, vote_figures

STAGE = "diagnostics"


@dataclass(frozen=True)
class Diagnostics:
    """Accuracies on the score set, and for each of its images the share of teachers behind the top vote."""

    mean_teacher: float
    ensemble: float
    nonprivate: float
    agreement: tuple[float, ...]

    @classmethod
    def kept(cls, run: LocalRun) -> bool:
        """Whether an earlier start of this run left them."""
        return run.find_stage(STAGE, None) is not MISSING


def diagnose(method: Any, data: TransferData, private: ImageData, run: LocalRun, simulated: Simulation | None) -> Diagnostics:
    """Return the figures, from an earlier start where there is one."""

    def compute() -> dict[str, Any]:
        if simulated is None:
            raise BadInput("there are no silos to look at", mend="remove the run folder and start again")
        figures = vote_figures(simulated.fleet.vote(data.score.images), data.score.labels, data.classes)
        return asdict(Diagnostics(nonprivate=method.nonprivate(data, private, run), **figures))

    kept = run.stage(STAGE, compute, None)
    return Diagnostics(kept["mean_teacher"], kept["ensemble"], kept["nonprivate"], tuple(kept["agreement"]))
