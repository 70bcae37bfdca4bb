"""DP-SAD, private diffusion by stochastic adversarial distillation, in variants that have an epsilon and one that has not.

Liu, Wang & Ge, ECCV 2024, arXiv 2408.14738, from a secondary source. V1 is DPDM (Dockhorn, Cao, Vahdat & Kreis, TMLR 2023, arXiv
2210.09929); V2 follows GS-WGAN's discipline (Chen, Orekondy & Fritz, NeurIPS 2020), V3 PATE's and G-PATE's. `modes` has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.diffusion.networks import Network, fresh
from ...platform.diffusion.sampling import pixels, sample
from ...platform.errors import BadInput
from ...platform.privacy.budget import BudgetKind
from ...platform.privacy.calibration import one_teacher_noise
from ...platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ..labelled import LabelledData, Preparation
from ..transfer import LABELS, NOTHING_BOUGHT, BudgetTerms, TransferData
from .by_dpsgd import released_by_dpsgd
from .described import as_described, nonprivate
from .gradients import taught_by_gradients
from .judging import accuracy_on_real, judge_synthetic, picture
from .made import Made
from .modes import Mode
from .plan import dpsgd_terms
from .released import refuse_other_teachers, released_targets
from .sampler import FILE as SAMPLER
from .sampler import STUDENT, Sampler
from .settings import Settings

TEACHER_IMAGES = 10  # of each class, in the teacher's picture


@dataclass(frozen=True)
class DpSad(Settings):
    """Train a student diffusion model, release it with images it makes, and judge them."""

    def fit(self, data: TransferData | LabelledData, run: Run) -> Outcome:
        """Make the student, sample, judge.

        Raises:
            BadInput: settings and data do not fit, or a file that judging reads is not there.
            BudgetExhausted: the plan costs more than is left; nothing was spent.
        """
        self.judging.refuse_missing_files()
        made = self._make(data, run)
        test = data.score if isinstance(data, TransferData) else data.test
        train = data.train if isinstance(data, LabelledData) and not self.which.covered else None
        key = self._key(data, run.seed) | {"student": made.source}
        labels = self.judging.labels(test.classes, made.label_shares, run.seed_for("labels"))
        images = self._images(made.network, made.weights, labels, test, run, "synthetic", key)
        verdict = judge_synthetic(
            run, images.numpy(), labels.numpy(), test, made.statement, self.judging, train=train,
            inputs=key | {"test": test.content_hash()},
        )  # fmt: skip
        artefacts = {"student": STUDENT, "sampler": SAMPLER, **verdict.artefacts}
        if run.world.first:
            sampler = Sampler(made.network, self.schedule, made.rungs, test.shape, test.classes, made.label_shares)
            sampler.write(run.folder, made.weights, {"algorithm": self.algorithm, "privacy": made.statement.line()})
        if made.teacher is not None:
            few = torch.arange(test.classes).repeat(TEACHER_IMAGES)
            shown = self._images(made.teacher, made.teacher_weights, few, test, run, "teacher-samples", key)
            artefacts["teacher_grid"] = picture(run, "teacher", shown.numpy(), few.numpy(), test.classes)
        baselines: dict[str, Mapping[str, Metric]] = {}
        if train is not None and self.judging.reference:
            # Nothing of the method is in it: other methods' runs in this folder find it again.
            seen = {"train": train.content_hash(), "test": test.content_hash(), "seed": run.seed}
            real = accuracy_on_real(run, train, test, self.judging, inputs=seen)
            baselines["real data"] = {"accuracy": Metric(real, "fraction", "higher")}
        return Outcome(
            self.algorithm, verdict.metrics, made.statement, artefacts=artefacts, baselines=baselines,
            notes=(*made.notes, *self._notes()),
        )  # fmt: skip

    def preparations(self, data: LabelledData) -> list[Preparation]:
        """Nothing is needed beforehand."""
        return []

    def question(self, data: TransferData) -> dict[str, Any]:
        """Return all that the bought answers depend on."""
        return self._key(data, 0)

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs; None where nothing is charged."""
        mode = self.which
        if not mode.covered:
            return None
        if mode.by_dpsgd:
            return dpsgd_terms(ADD_OR_REMOVE, epsilon=epsilon, delta=delta)
        if mode is not Mode.SHARDED_OUTPUT_GRAD:
            return BudgetTerms(BudgetKind.GAUSSIAN, (), REPLACE_ONE)
        _, order = one_teacher_noise(
            epsilon=epsilon, delta=delta, rows=self.distillation.batch_size, teachers=self.teachers,
            steps=self.distillation.steps,
        )  # fmt: skip
        return BudgetTerms(BudgetKind.RDP, (order,), REPLACE_ONE)

    def _make(self, data: TransferData | LabelledData, run: Run) -> Made:
        mode, key = self.which, self._key(data, run.seed)
        wanted: type[Any] = TransferData if mode.asks_teachers else LabelledData
        if not isinstance(data, wanted):
            raise BadInput(
                f"mode={mode.value} works on {'teachers' if mode.asks_teachers else 'labelled images'}",
                mend="give it what its `works_on` names",
            )
        if isinstance(data, TransferData):
            terms = self.budget_terms(epsilon=data.epsilon, delta=data.delta)
            assert terms is not None
            refuse_other_teachers(self.schedule, data)
            make = released_targets if mode is Mode.RELEASED_TARGETS else taught_by_gradients
            made = make(self, data, terms, run, key)
            # The ground looks for what was bought by vote.
            run.stage(LABELS, lambda: NOTHING_BOUGHT, inputs=self.question(data), once=True)
            return made
        if mode.by_dpsgd:
            terms = self.budget_terms(epsilon=data.epsilon, delta=data.delta)
            assert terms is not None
            return released_by_dpsgd(self, data, terms, run, key)
        return (as_described if mode is Mode.AS_DESCRIBED else nonprivate)(self, data, run, key)

    def _images(
        self, network: Network, weights: Mapping[str, Tensor], labels: Tensor, test: ImageData, run: Run, name: str,
        key: dict[str, Any],
    ) -> Tensor:  # fmt: skip
        """Pixels (n, c, h, w) uint8 that the model makes for labels (n,)."""

        def draw() -> Tensor:
            model = fresh(network, test.shape, test.classes, 0).to(run.device)
            model.load_state_dict(dict(weights))
            model.eval()
            found = sample(
                model, self.schedule, labels, test.shape, rungs=self.rungs, generator=run.generator, device=run.device
            )
            return pixels(found)

        drawn: Tensor = run.stage(name, draw, inputs=key | {"images": len(labels)}, once=True)
        return drawn

    def _notes(self) -> list[str]:
        if self.which.covered:
            return ["copies of records and membership were not looked at: nobody may look at records here"]
        return [self.why_uncovered]

    def _key(self, data: TransferData | LabelledData, seed: int) -> dict[str, Any]:
        """What the student depends on: all settings but how it is judged, the data, and the run's seed."""
        settings = asdict(self)
        for name in ("judging", "algorithm"):
            settings.pop(name)
        identity = data.ensemble_id if isinstance(data, TransferData) else data.identity
        return {"settings": settings, "data": identity, "seed": seed, "epsilon": data.epsilon, "delta": data.delta}
