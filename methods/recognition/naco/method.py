"""NACO: detecting forged face videos by what is natural in real ones.

Zhang, Xiao, Li, Lin, Li & Ge, Learning Natural Consistency Representation for Face Forgery Video Detection, ECCV 2024, arXiv
2407.10550. An independent implementation from the published description; what its abstract does not state is ours (`docs/naco.md`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ....platform.data.videos import VideoData
from ....platform.errors import BadInput
from ....platform.privacy.statement import uncovered
from ....platform.training.outcome import Metric, Outcome
from ....platform.training.run import Run
from .consistency import Consistency
from .finetuning import finetune
from .pretraining import Pretrained, pretrain
from .reporting import Tested, examined, write_card, write_tested
from .settings import NacoSettings
from .started import check_faces, started_network

NOT_PRIVATE = "the detector was learned from videos of people without noise"
UNITS = {
    "spm_r2": ("share of variance of masked features, held-out real clips", "higher"),
    "interpolation_r2": ("the same, of straight lines between visible frames", None),
    "spm_error": ("mean square error, in units of the target", "lower"),
    "spm_zero": ("the same, of the mean of visible frames", None),
    "spm_interpolation": ("the same, of straight lines", None),
    "shuffled_farther": ("share of held-out real clips", "higher"),
    "near": ("distance of two clips of a video", None),
    "far": ("distance to the same clip out of order", None),
    "feature_deviation": ("mean over channels", None),
}


@dataclass(frozen=True)
class Naco(NacoSettings):
    """Learn natural consistency from real videos, then to detect forged ones, and be tested on families seen and held out."""

    works_on: ClassVar[str] = "videos"
    charges: ClassVar[bool] = False

    def fit(self, data: VideoData, run: Run) -> Outcome:
        """Stage 1, stage 2, test.

        Raises:
            BadInput: settings and data do not fit.
            RunFailed: a training diverged.
        """
        self._check(data)
        network, origin = started_network(run, self)
        identity: dict[str, Any] = {"data": data.content_hash(), **origin}
        metrics: dict[str, Metric] = {}
        notes: list[str] = []
        consistency: Consistency | None = None
        if self.pretraining.done:
            first = pretrain(run, self, network, data.train, data.validation)
            consistency = first.model
            metrics |= _learned(first)
            notes += first.notes
            identity["pretrained"] = asdict(self.pretraining)
        network.eval()
        tested: Tested | None = None
        if self.finetuning.mode != "none":
            second = finetune(run, self, network, data.train, data.validation, consistency, identity)
            notes += second.notes
            if second.auc is not None:
                metrics["validation_auc"] = Metric(second.auc, "AUC of validation videos, seen families", "higher")
            tested = examined(run, self, network, data, second.validation)
            metrics = tested.metrics() | metrics
            notes += tested.notes
        else:
            notes.append("stage 2 was not asked for: there is a representation, and no detector")
        artefacts: dict[str, str] = {}
        if run.world.first:
            artefacts |= write_card(run, self, network, data, tested)
            if tested is not None:
                artefacts |= write_tested(run, self, network, data, tested)
        metrics["parameters"] = Metric(sum(weight.numel() for weight in network.parameters()), "weights")
        return Outcome(
            self.algorithm, metrics, uncovered(NOT_PRIVATE), artefacts=artefacts,
            baselines={} if tested is None else tested.baselines, notes=tuple(notes),
        )  # fmt: skip

    def _check(self, data: VideoData) -> None:
        """Fail before anything is trained."""
        train, test = data.train, data.test
        check_faces(self, data)
        if not len(train) and not self.only_tested:
            raise BadInput(f"{data.name} has no training videos", mend="check the data")
        if self.finetuning.mode == "none":
            if not self.pretraining.done:
                raise BadInput("neither stage is to be done", mend="give pretraining steps, or set finetuning.mode")
            return
        if not test.forged.any() or test.forged.all():
            raise BadInput(
                f"{data.name} does not have real and forged test videos",
                mend="use data that has, or set method.finetuning.mode=none for stage 1 alone",
            )
        if self.only_tested:
            return
        if self.finetuning.fakes == "given" and (not train.forged.any() or train.forged.all()):
            raise BadInput(
                f"{data.name} does not have real and forged training videos",
                mend="use data that has, method.finetuning.fakes=self_blended, or method.finetuning.mode=none",
            )
        short = int(np.sum([train.tracks.frames(n) < self.clips.span for n in range(len(train))]))
        if short == len(train):
            raise BadInput(
                f"every training video is shorter than a clip of {self.clips.span} frames",
                mend="lower method.clips.length or method.clips.stride",
            )


def _learned(first: Pretrained) -> dict[str, Metric]:
    return {name: Metric(value, *UNITS[name]) for name, value in first.found.items()}  # type: ignore[arg-type]
