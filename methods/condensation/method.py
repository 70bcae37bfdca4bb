"""Dataset condensation by distribution matching: DM, M3D and DANCE as settings of one loop, and their private form.

DM: Zhao & Bilen, WACV 2023, arXiv 2110.04181. M3D: Zhang, Li, Wang, Zeng & Ge, AAAI 2024, arXiv 2312.15927. DANCE: Zhang, Li, Lin,
Zhang, Wang & Ge, IJCAI 2024. Multi-formation and the evaluation: IDC, Kim et al., ICML 2022, arXiv 2205.14959.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.privacy.statement import uncovered
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.progress import Silent
from ...platform.training.run import Run
from ..labelled import LabelledData
from ..transfer import BudgetTerms
from . import initial, releases
from .condensed import FILE, CondensedSet, grid
from .condensing import Loop, Steps, condense
from .discrepancy import discrepancy
from .encoders import Encoders, MiddleEncoders, RandomEncoders, fresh_network, frozen
from .evaluation import Judged, judge, metrics_of
from .experts import Expert
from .formation import check_factor, decode, decoded_labels
from .matching import Calibration, RealMatching, Term
from .membership import Membership
from .prepared import OnInputs, Prepared
from .real import RealImages
from .recipe import accuracy_of
from .settings import Settings
from .standard import Standard

NOT_PRIVATE = "the condensed images start from records and are moved towards averages of records, without noise"
MOST_SHOWN = 10
PICTURE_WIDTH = 760


@dataclass(frozen=True)
class Condensation(Settings):
    """Condense a labelled data set into `ipc` images a class, and judge what networks learn from them."""

    works_on: ClassVar[str] = "labelled"

    def fit(self, data: LabelledData, run: Run) -> Outcome:
        """Condense, judge, audit.

        Raises:
            BadInput: a class has too few images, or settings and images do not fit.
            BudgetExhausted: with `dp`, the release does not fit into the budget; nothing was spent.
        """
        note = check_factor(data.shape, self.factor)
        made = releases.prepare(self, data, run) if self.dp else self._prepare(data, run)
        inputs = self._key(data, run.seed) | {"source": made.source}
        images = self._condense(made, data, run, inputs)
        labels = torch.arange(data.classes).repeat_interleave(self.ipc)
        stored = CondensedSet(images.flatten(0, 1), labels, self.factor, made.standard)
        if run.world.first:
            stored.write(run.folder / FILE)
        artefacts = {"condensed": FILE, "grid": str(self._picture(run, images).relative_to(run.folder))}
        judged, audit = self._judge(stored, made, data, run, inputs)
        metrics = metrics_of(judged, self.evaluation.looks) | audit
        metrics["images"] = Metric(float(len(stored.images)), "images")
        metrics["epsilon"] = Metric(made.statement.epsilon, "epsilon", "lower")
        baselines: dict[str, Mapping[str, Metric]] = {}
        if made.full_data is not None:
            few = self.experts.images
            taught = "all data" if few is None else f"the first {few} images of each class"
            baselines[taught] = {"accuracy": Metric(made.full_data, "fraction", "higher")}
            relative = metrics["student_accuracy"].value / made.full_data
            metrics["relative_accuracy"] = Metric(relative, f"fraction of the accuracy with {taught}", "higher")
        return Outcome(
            self.algorithm, metrics, made.statement, artefacts=artefacts, baselines=baselines,
            notes=tuple(self._notes(judged, note)),
        )  # fmt: skip

    def preparations(self, data: LabelledData) -> list[Expert]:
        """The experts that this needs: independent pieces of work."""
        if data.train is None or not self.needs_experts:
            return []
        standard = Standard.of(data.train)
        return [
            Expert(self.experts, number, self.architecture, data.train, standard, data.shared)
            for number in range(self.needs_experts)
        ]

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        return releases.TERMS if self.dp else None

    def _prepare(self, data: LabelledData, run: Run) -> Prepared:
        train = data.train
        if train is None:
            raise BadInput(
                "this condensation looks at records", mend="set method.dp=true to condense from charged releases"
            )
        standard = Standard.of(train)
        needed = self.ipc * self.factor**2 if self.initial != "noise" else 1
        real = RealImages(train, batch=self.real_batch, seed_for=run.seed_for, at_least=needed)
        experts = []
        for piece in self.preparations(data):
            if run.world.first:
                run.say(f"expert {piece.number + 1} of {self.needs_experts}")
                piece.make(str(run.device), getattr(run, "reporter", None))
            run.agree(True)  # The other processes wait for the first one's.
            experts.append(piece.make(str(run.device), Silent()))
        encoders: Encoders
        terms: list[Term] = []
        fresh = partial(
            RandomEncoders, self.architecture, data.shape, data.classes, seed_for=run.seed_for, device=run.device
        )
        if self.encoder == "middle" and experts:
            encoders = MiddleEncoders(
                experts, self.architecture, data.shape, data.classes, seed_for=run.seed_for, device=run.device
            )
            if self.calibration:
                terms.append(Calibration(standard, encoders, self.augmentation, self.forward, run.seed_for, self.reuse))
        else:
            encoders = fresh(every=self.encoder_every)
        start, used = self._start(real, standard, data, run, fresh(every=1))
        if not self.pixels:
            terms = [OnInputs(term, standard) for term in terms]
        matching = RealMatching(
            real, standard, encoders, discrepancy(self.loss), self.augmentation, self.forward, run.seed_for, self.reuse
        )
        return Prepared(
            start=start, terms=[matching if self.pixels else OnInputs(matching, standard), *terms], standard=standard,
            statement=uncovered(NOT_PRIVATE), membership=self._membership(train, data.test, used, run),
            full_data=self._full_data(experts, data, standard, run) if self.full_data else None,
        )  # fmt: skip

    def _start(
        self, real: RealImages, standard: Standard, data: LabelledData, run: Run, fresh: RandomEncoders
    ) -> tuple[Tensor, np.ndarray]:
        if self.initial == "noise":
            start = initial.noise(data.classes, self.ipc, data.shape, seed=run.seed_for("initial"))
            return start, np.zeros(0, np.int64)
        return initial.from_records(
            self.initial, real, self.ipc, self.factor, self.shrink, encoder=fresh.at(0), standard=standard,
            forward=self.forward, seed_for=run.seed_for, device=run.device,
        )  # fmt: skip

    def _membership(self, train: ImageData, test: ImageData, used: np.ndarray, run: Run) -> Membership | None:
        if not self.audit:
            return None
        return Membership.draw(train, test, used, count=self.audit, seed=run.seed_for("audit"))

    def _full_data(self, experts: list[Any], data: LabelledData, standard: Standard, run: Run) -> float:
        network = frozen(fresh_network(self.architecture, data.shape, data.classes, 0), run.device)
        network.load_state_dict(experts[0]["trained"])
        return accuracy_of(network, data.test, standard, self.forward, run.device)

    def _condense(self, made: Prepared, data: LabelledData, run: Run, inputs: dict[str, Any]) -> Tensor:
        if not self.iterations:
            return made.start
        together = self.together or (1 if run.device.type == "cpu" else 0)
        steps = Steps(self.rate, self.momentum, data.classes if self.sweep else 1)
        loop = Loop(made.terms, steps, self.factor, self.most_synthetic, self.iterations, together, self.pixels)
        flat = lambda function, images: function(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        start = made.start if self.pixels else flat(made.standard, made.start)

        def finished(images: Tensor) -> Tensor:
            return (images if self.pixels else flat(made.standard.inverse, images)).clamp(0, 1)

        def watch(done: int, images: Tensor) -> None:
            score = self._judge_briefly(finished(images), made, data, run, inputs, done)
            run.log({"condensing/accuracy": score}, done)

        images = condense(run, loop, start, key=inputs, watch=watch, watch_every=self.evaluate_every)
        return finished(images)

    def _judge_briefly(
        self, images: Tensor, made: Prepared, data: LabelledData, run: Run, inputs: dict[str, Any], done: int
    ) -> float:
        brief = type(self.evaluation)(self.evaluation.networks[:1], 1, self.evaluation.recipe)
        labels = decoded_labels(torch.arange(data.classes).repeat_interleave(self.ipc), self.factor)
        found = judge(
            run, decode(images.flatten(0, 1), self.factor), labels, data.test, brief, standard=made.standard,
            forward=self.forward, name=f"at-{done}", inputs=inputs | {"iterations": done}, membership=None,
        )[0]  # fmt: skip
        return found[brief.networks[0]].mean

    def _judge(
        self, stored: CondensedSet, made: Prepared, data: LabelledData, run: Run, inputs: dict[str, Any]
    ) -> tuple[dict[str, Judged], dict[str, Metric]]:
        images, labels = stored.decoded()
        judged, by_loss = judge(
            run, images, labels, data.test, self.evaluation, standard=made.standard, forward=self.forward, name="judge",
            inputs=inputs, membership=made.membership,
        )  # fmt: skip
        areas = made.membership.by_distance(images, labels, run.device) if made.membership else {}
        if by_loss is not None:
            areas["membership_auc_loss"] = by_loss
        return judged, {name: Metric(value, "area under the curve", "lower") for name, value in areas.items()}

    def _picture(self, run: Run, images: Tensor) -> Any:
        """One row a class (one column, where a class has few images), at most ten images of each, enlarged by a whole number."""
        shown = images[:, :MOST_SHOWN]
        if shown.shape[1] < len(shown) / 2:
            shown = shown.transpose(0, 1)
        picture = grid(shown.flatten(0, 1), rows=len(shown))
        zoom = max(1, PICTURE_WIDTH // picture.shape[2])
        return run.image("condensed", picture.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2))

    def _notes(self, judged: Mapping[str, Judged], note: str | None) -> list[str]:
        first = next(iter(judged.values()))
        which = "the network" if len(first.last) == 1 else f"each of {len(first.last)} networks"
        notes = [f"accuracy of {which}: {', '.join(f'{100 * a:.2f} %' for a in first.last)}"]
        if self.evaluation.looks > 1:
            best = 100 * float(np.mean(first.best))
            notes.append(
                f"best of {self.evaluation.looks} looks at the test set (the papers' protocol, no measurement): {best:.2f} %"
            )
        return [*notes, note] if note else notes

    def _key(self, data: LabelledData, seed: int) -> dict[str, Any]:
        """What the result depends on: all settings but how it is judged, the data, and the run's seed."""
        settings = asdict(self)
        for name in ("evaluation", "evaluate_every", "full_data", "audit", "together", "algorithm"):
            settings.pop(name)
        return {"settings": settings, "data": data.identity, "test": data.test.content_hash(), "seed": seed}
