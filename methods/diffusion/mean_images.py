"""The bar to pass: each class's noisy mean image and Gaussian pixels about it, with one noisy variance of each pixel for all classes.

On a thousand records it beats every private diffusion model; it stands in every table beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...platform.errors import BadInput
from ...platform.privacy.sums import sums_event
from ...platform.privacy.validate import positive
from ...platform.training.files import check_name
from ...platform.training.outcome import Outcome
from ...platform.training.run import Run
from ..condensation.private import PrivatePixels, sample_pixels
from ..condensation.releases import TERMS
from ..labelled import LabelledData, Preparation
from ..transfer import BudgetTerms
from .judging import Judging, judge_synthetic
from .made import hash_of
from .plan import make_plan


@dataclass(frozen=True)
class DpMeanImages:
    """Release class means and pixel variances, draw images, judge them.

    Args:
        algorithm: the name that reports give it.
        noise_multiplier: in units of a record's length; None: the least that the budget allows.
        judging: how the images are judged.
    """

    algorithm: str = "dp_mean_images"
    noise_multiplier: float | None = None
    judging: Judging = field(default_factory=Judging)

    works_on: ClassVar[str] = "labelled"
    charges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.algorithm)
        if self.noise_multiplier is not None:
            positive(noise_multiplier=self.noise_multiplier)

    def fit(self, data: LabelledData, run: Run) -> Outcome:
        """Plan, charge, release, draw, judge.

        Raises:
            BadInput: a file that judging reads is not there.
            BudgetExhausted: the release does not fit; nothing was spent.
        """
        self.judging.refuse_missing_files()
        curator = data.curator
        if curator is None:
            raise BadInput("noisy class means need all records in one place, with a curator who charges")
        plan = make_plan(
            lambda multiplier: [(PrivatePixels.purpose, sums_event(multiplier))], TERMS, epsilon=data.epsilon,
            delta=data.delta, noise_multiplier=self.noise_multiplier,
        )  # fmt: skip
        key = {"data": data.identity, "seed": run.seed, "noise_multiplier": plan.noise_multiplier}

        def release() -> Any:
            curator.refuse_unless_affordable(plan.events, mend="raise the budget with `stillhouse ledger grant`")
            return curator.release(PrivatePixels(plan.noise_multiplier), run)

        sums: Tensor = run.stage("releases", release, inputs=key, once=True)
        labels = self.judging.labels(data.classes, None, 0)
        each = -(-self.judging.images // data.classes)
        # Class by class, but a synthetic set has its classes in turn.
        drawn = sample_pixels(sums, data.shape, each, run.generator).transpose(0, 1).flatten(0, 1)[: len(labels)]
        images = (drawn * 255).round().to(torch.uint8)
        statement = plan.statement(data.delta)
        verdict = judge_synthetic(
            run, images.numpy(), labels.numpy(), data.test, statement, self.judging, train=None,
            inputs=key | {"images": hash_of({"images": images}), "test": data.test.content_hash()},
        )  # fmt: skip
        return Outcome(self.algorithm, verdict.metrics, statement, artefacts=verdict.artefacts)

    def preparations(self, data: LabelledData) -> list[Preparation]:
        """Nothing is needed beforehand."""
        return []

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        return TERMS
