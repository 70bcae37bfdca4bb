"""DP-SGD trained directly (Abadi et al. 2016, arXiv 1607.00133): one classifier, the whole budget, and nothing else.

It is the baseline classifier of DGD, published instead of used as a discriminator. Records must lie in one place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from safetensors.torch import save_file

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.privacy.statement import PrivacyStatement, Release
from ...platform.privacy.validate import positive
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ..dgd.baseline import Baseline, PrivateBaseline, train_without_privacy
from ..dgd.classifiers import accuracy
from ..dgd.coverage import Coverage, dpsgd_plan
from ..transfer import LABELS, NOTHING_BOUGHT, BudgetTerms, TransferData


@dataclass(frozen=True)
class DirectDpSgd:
    """Train `baseline` by DP-SGD with the least noise that the budget allows (or with `noise_multiplier`), and release it."""

    works_on: ClassVar[str] = "ensemble"

    baseline: Baseline = field(default_factory=Baseline)
    noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None:
            positive(noise_multiplier=self.noise_multiplier)

    @property
    def asks(self) -> bool:
        """It asks no teachers."""
        return False

    def fit(self, data: TransferData, run: Run) -> Outcome:
        """Train, score.

        Raises:
            BudgetExhausted: the training does not fit; nothing was spent.
        """
        curator = data.curator
        if curator is None:
            raise BadInput(
                "DP-SGD needs all records in one place", why="these silos have an owner each", mend="use method=pate"
            )
        settings = self.baseline.dpsgd
        plan = dpsgd_plan(
            data.mechanism, queries=0, answers=0, epsilon=data.epsilon, delta=data.delta,
            sample_rate=settings.sample_rate(curator.records), steps=settings.steps, moments_sigma=None,
            noise_multiplier=self.noise_multiplier,
        )  # fmt: skip
        assert plan.noise_multiplier is not None
        work = PrivateBaseline(self.baseline, plan.noise_multiplier)
        question = self.question(data)

        def release() -> Any:
            self.baseline.refuse_unless_trainable(
                data.score.shape, data.classes, noise_multiplier=work.noise_multiplier
            )
            curator.refuse_unless_affordable(plan.events, mend="raise the budget with `stillhouse ledger grant`")
            return curator.release(work, run)

        state = run.stage("baseline", release, inputs=question, once=True)
        run.stage(LABELS, lambda: NOTHING_BOUGHT, inputs=question, once=True)
        model = self.baseline.load(data.score.shape, data.classes, state)
        if run.world.first:
            save_file(model.released(), run.folder / "student.safetensors")
        epsilon = plan.epsilon(data.delta)
        releases = [Release(name, event.to_json(), epsilon) for name, event in plan.events]
        told = PrivacyStatement.of_releases(
            epsilon, data.delta, releases=releases, neighbouring=Coverage.DPSGD_BASELINE.neighbouring,
            accounting="data-independent, Renyi, tight conversion",
        )  # fmt: skip
        metrics = {
            "student_accuracy": Metric(accuracy(model, data.score), "fraction", "higher"),
            "epsilon": Metric(epsilon, "epsilon", "lower"),
        }
        return Outcome("dpsgd", metrics, told, artefacts={"student": "student.safetensors"})

    def nonprivate(self, data: TransferData, private: ImageData, run: Run) -> float:
        """Return the accuracy of the same classifier trained without privacy."""
        return accuracy(train_without_privacy(self.baseline, private, run, name="nonprivate"), data.score)

    def question(self, data: TransferData) -> dict[str, Any]:
        """Return all that the result depends on."""
        return {
            "method": asdict(self), "ensemble": data.ensemble_id, "epsilon": data.epsilon, "delta": data.delta,
        }  # fmt: skip

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        return Coverage.DPSGD_BASELINE.terms(epsilon=epsilon, delta=delta)
