"""DGD: discriminative-generative distillation (Ge, Liu, Wang, Li & Zeng 2023, IEEE TIP 32, arXiv 2409.02404).

A baseline classifier and teachers are trained on private records. A generator learns from the frozen classifier, without data; a
few of its images are put to the teachers, whose votes come out with noise; an autoencoder learns the manifold of the many others; a
student learns from the bought labels and is smoothed along and across that manifold. What of this has a guarantee: `coverage.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.data.procedural import procedural_images
from ...platform.errors import BadInput
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ...platform.training.seeds import seeded
from ..federated import FederatedTraining, terms
from ..private import PrivateWork
from ..transfer import LABELS, NOTHING_BOUGHT, BudgetTerms, TransferData
from .answers import confusion, project_to_simplex
from .asking import ask, joined, outcomes, refuse_unless_answered
from .baseline import NonPrivateBaseline, PrivateBaseline, train_without_privacy
from .classifiers import Classifier, accuracy, public_projection
from .coverage import Coverage, Plan, dpsgd_plan, federated_plan, label_plan, statement
from .generation import check_not_collapsed, train_generator
from .moments import PrivateMoments
from .queries import choose
from .settings import Settings
from .sheet import contact_sheet
from .structure import cross_predicted, structure
from .student import Lessons, train_student
from .vae import Vae, train_vae

OPEN_GATE = 0.3
PROCEDURAL_DISTILLED = "mixed"
AFFORDABLE = "lower method.queries, or raise the budget with `stillhouse ledger grant`"


@dataclass(frozen=True)
class Dgd(Settings):
    """The method; its settings are those of `Settings`."""

    works_on: ClassVar[str] = "ensemble"

    def fit(self, data: TransferData, run: Run) -> Outcome:
        """Run all rounds, score the student.

        Raises:
            BudgetExhausted: the plan does not fit the target or what is left of the budget; nothing was spent.
            RunFailed: the generator collapsed, or no query was answered.
        """
        plan = self._plan(data)
        run.stage("plan", lambda: self._afford(data, plan), inputs=self.question(data), once=True)
        baseline = self._baseline(data, plan, run)
        bought: list[dict[str, Any]] = []
        student: Classifier | None = None
        for number in range(self.rounds):
            teacher = baseline or student
            images = self._images(number, data, teacher, student if baseline else None, run)
            if self.queries:
                bought.append(self._buy(number, data, images, teacher, plan, run))
                refuse_unless_answered(np.concatenate([part["labels"] for part in bought]))
            if number == self.rounds - 1:
                answers = run.stage(LABELS, lambda: self._joined(bought), inputs=self.question(data), once=True)
            student, gate = self._student(number, data, images, bought, baseline, run)
        assert student is not None
        return self._outcome(data, run, plan, student, baseline, answers, gate)

    def nonprivate(self, data: TransferData, private: ImageData, run: Run) -> float:
        """Return the accuracy of the baseline classifier trained on all private records without privacy: the reference."""
        run.say(f"non-private reference: {self.baseline.kind} on {len(private)} private images")
        return accuracy(train_without_privacy(self.baseline, private, run, name="nonprivate"), data.score)

    def question(self, data: TransferData) -> dict[str, Any]:
        """Return all that the bought labels depend on."""
        depends = asdict(self)
        if self.rounds == 1:
            # What the student does with the labels is of no account for them.
            depends["student"] = {"distil": self._distil}
            depends["vae"] = None
        pool = hashlib.sha256(np.ascontiguousarray(data.pool).data).hexdigest() if self.source == "pool" else None
        budget = {"epsilon": data.epsilon, "delta": data.delta}
        return {
            "method": depends,
            "pool": pool,
            "mechanism": data.mechanism.to_json(),
            "ensemble": data.ensemble_id,
            **budget,
        }

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        if self.cover is Coverage.FED_DP_BASELINE:
            return terms(self.federation.server, epsilon=epsilon, delta=delta)
        return self.cover.terms(epsilon=epsilon, delta=delta)

    @property
    def record_split(self) -> float | None:
        """The share of the records that is kept from the teachers."""
        return self.split if self.cover is Coverage.SPLIT_RECORDS else None

    @property
    def asks(self) -> bool:
        """Whether teachers are asked at all."""
        return self.queries > 0

    @property
    def _distil(self) -> float:
        if self.student.distil is not None:
            return self.student.distil
        return 1.0 if self.cover.private_baseline else 0.0

    def _plan(self, data: TransferData) -> Plan:
        limits = {"epsilon": data.epsilon, "delta": data.delta}
        if self.cover.has_baseline and data.curator is None:
            raise BadInput(
                f"coverage {self.coverage} trains a classifier on all records, which nobody here holds",
                why="the silos are elsewhere, and each has its own records only",
                mend="use method.coverage=public_inputs method.source=mixed, or bootstrap_student",
            )
        if not self.cover.private_baseline:
            return label_plan(data.mechanism, queries=self.queries, answers=self.most_answers, **limits)
        assert data.curator is not None
        if self.cover is Coverage.FED_DP_BASELINE:
            if data.curator.partition is None:
                raise BadInput("fed_dp_baseline trains over silos, and these records are not in silos")
            return federated_plan(
                data.mechanism, queries=self.queries, answers=self.most_answers, **limits, server=self.federation.server,
                noise_multiplier=self.noise_multiplier,
            )  # fmt: skip
        settings = self.baseline.dpsgd
        return dpsgd_plan(
            data.mechanism, queries=self.queries, answers=self.most_answers, **limits,
            sample_rate=settings.sample_rate(data.curator.records), steps=settings.steps,
            moments_sigma=self.moments_sigma if self.releases_moments else None, noise_multiplier=self.noise_multiplier,
        )  # fmt: skip

    def _afford(self, data: TransferData, plan: Plan) -> dict[str, Any]:
        """See, before the first charge of this run, whether all of its plan fits; kept, so that a restart does not count twice."""
        if plan.noise_multiplier is not None:
            self._refuse_unless_trainable(data, plan.noise_multiplier)
        if data.curator is not None:
            data.curator.refuse_unless_affordable(plan.events, mend=AFFORDABLE)
        return {"epsilon": plan.epsilon(data.delta), "noise_multiplier": plan.noise_multiplier}

    def _baseline(self, data: TransferData, plan: Plan, run: Run) -> Classifier | None:
        curator = data.curator
        if not self.cover.has_baseline or curator is None:
            return None
        work: PrivateWork
        if plan.noise_multiplier is None:
            work = NonPrivateBaseline(self.baseline)
        elif self.cover is Coverage.FED_DP_BASELINE:
            work = self._federated(data, plan.noise_multiplier, run.seed_for("baseline"))
        else:
            work = PrivateBaseline(self.baseline, plan.noise_multiplier)
        state = run.stage(
            "baseline", lambda: curator.release(work, run), inputs=self._baseline_inputs(data, plan), once=True
        )
        return self.baseline.load(data.score.shape, data.classes, state).to(run.device)

    def _federated(self, data: TransferData, noise_multiplier: float, seed: int) -> FederatedTraining:
        assert data.curator is not None and data.curator.partition is not None

        def build() -> Classifier:
            with seeded(seed):
                return self.baseline.build(data.score.shape, data.classes)

        return FederatedTraining(build, self.federation, noise_multiplier, data.curator.partition)

    def _refuse_unless_trainable(self, data: TransferData, noise_multiplier: float) -> None:
        """See, before anything is charged, whether the baseline classifier can be trained with this noise."""
        if self.cover is Coverage.FED_DP_BASELINE:
            model = self._federated(data, noise_multiplier, 0).build()
            self.federation.refuse_unless_trainable(model, noise_multiplier=noise_multiplier)
        else:
            self.baseline.refuse_unless_trainable(data.score.shape, data.classes, noise_multiplier=noise_multiplier)

    def _baseline_inputs(self, data: TransferData, plan: Plan) -> dict[str, Any]:
        return {
            "baseline": asdict(self.baseline), "noise_multiplier": plan.noise_multiplier, "ensemble": data.ensemble_id,
            "split": self.record_split,
            "federation": asdict(self.federation) if self.cover is Coverage.FED_DP_BASELINE else None,
        }  # fmt: skip

    def _moments(self, data: TransferData, run: Run) -> Tensor | None:
        curator = data.curator
        if not self.releases_moments or curator is None or self.moments_sigma is None:
            return None
        work = PrivateMoments(self.baseline, self.moments_sigma)
        inputs = {"sigma": self.moments_sigma, "components": self.baseline.components, "ensemble": data.ensemble_id}
        return run.stage("moments", lambda: {"moments": curator.release(work, run)}, inputs=inputs, once=True)[
            "moments"
        ]

    def _images(
        self, number: int, data: TransferData, teacher: Classifier | None, student: Classifier | None, run: Run
    ) -> np.ndarray:
        """Return the round's unlabelled images, uint8 (M, c, h, w)."""
        shape = data.score.shape
        if self.source == "pool":
            return data.pool
        if not self.uses_generator or teacher is None:
            kind = PROCEDURAL_DISTILLED if self.uses_generator else self.source
            return procedural_images(self.synthetic, shape, kind=kind, seed=run.seed_for("procedural", number))
        inputs = {
            "teacher": _hash(teacher.released()),
            "student": student and _hash(student.released()),
            "moments": None,
        }
        moments = self._moments(data, run)
        if moments is not None:
            inputs["moments"] = _hash({"moments": moments})
        name = f"generator-{number}"
        generator = train_generator(
            run, teacher, shape, self.generation, moments=moments, student=student, name=name, inputs=inputs
        )
        draw = torch.Generator().manual_seed(run.seed_for("synthetic", number))
        images = generator.sample(self.synthetic, draw).numpy()
        shares = check_not_collapsed(teacher, torch.from_numpy(images).to(run.device).float() / 255, data.classes)
        run.log({f"{name}/share/{k}": share for k, share in enumerate(shares)})
        run.image(f"synthetic-{number}", contact_sheet(images, teacher.probabilities(images)))
        return images

    def _buy(
        self, number: int, data: TransferData, images: np.ndarray, teacher: Classifier | None, plan: Plan, run: Run
    ) -> dict[str, Any]:
        queries, most = self.share(self.queries, number), self.share(self.most_answers, number)

        def buy() -> dict[str, Any]:
            answers = teacher.probabilities(images) if teacher is not None and self.selection != "uniform" else None
            order = torch.Generator().manual_seed(run.seed_for("queries", number))
            chosen = choose(images, queries, selection=self.selection, answers=answers, generator=order)
            return ask(data, images[chosen], answers=max(1, most), batch=self.batch_queries, run=run)

        inputs = {
            "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(), "queries": queries, "answers": most,
            "mechanism": data.mechanism.to_json(), "ensemble": data.ensemble_id, "selection": self.selection,
            "teacher": teacher and _hash(teacher.released()) if self.selection != "uniform" else None,
        }  # fmt: skip
        return run.stage(f"labels-{number}", buy, inputs=inputs, once=True)

    def _joined(self, bought: list[dict[str, Any]]) -> dict[str, Any]:
        if bought:
            return joined(bought)
        return {**NOTHING_BOUGHT, "images": np.zeros((0,), np.uint8), "histograms": None}

    def _student(
        self, number: int, data: TransferData, images: np.ndarray, bought: list[dict[str, Any]], baseline: Classifier | None, run: Run
    ) -> tuple[Classifier, float]:  # fmt: skip
        settings, shape = self.student, data.score.shape
        everything = self._joined(bought)
        answered = everything["labels"] >= 0
        labels = torch.from_numpy(everything["labels"][answered])
        asked = everything["images"][answered] if answered.any() else np.zeros((0, *shape), np.uint8)
        transition, gate = None, 1.0
        if len(labels) and (settings.gate or settings.noise_aware):
            vectors = public_projection(shape, settings.components).project(asked)
            predicted = cross_predicted(vectors, labels, data.classes)
            if settings.gate:
                gate = min(1.0, structure(predicted, labels, data.classes) / OPEN_GATE)
            if settings.noise_aware:
                seen = baseline.probabilities(asked) if baseline is not None else torch.eye(data.classes)[predicted]
                transition = confusion(seen, labels)
        if everything["histograms"] is not None:
            noisy = torch.from_numpy(everything["histograms"][answered]).float()
            # Their sum is the number of teachers up to noise; dividing by it keeps that number out of the student.
            labels = project_to_simplex(noisy / noisy.sum(1, keepdim=True).clamp(min=1.0))
        vae = self._vae(number, images, run) if settings.regulariser.active else None
        distilled = np.zeros((0, *shape), np.uint8)
        if self._distil and baseline is not None:
            distilled = images
            if settings.procedural:
                seed = run.seed_for("distilled", number)
                more = procedural_images(settings.procedural, shape, kind=PROCEDURAL_DISTILLED, seed=seed)
                distilled = np.concatenate([images, more])
        lessons = Lessons(
            labelled=asked, labels=labels, transition=transition, distilled=distilled,
            answers=baseline.probabilities(distilled) if len(distilled) and baseline is not None else torch.zeros(0, data.classes),
            distil=self._distil, triples=images, vae=vae, gate=gate,
        )  # fmt: skip
        inputs = {
            "labelled": _hash({"images": torch.from_numpy(asked), "labels": labels}),
            "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
            "baseline": baseline and _hash(baseline.released()), "distil": self._distil,
        }  # fmt: skip
        student = train_student(
            run,
            shape,
            data.classes,
            lessons,
            settings,
            start=self._start(baseline),
            name=f"student-{number}",
            inputs=inputs,
        )
        return student, gate

    def _start(self, baseline: Classifier | None) -> dict[str, Tensor] | None:
        """Where the student begins: as the baseline classifier that it is distilled from, if it is of its kind and size."""
        if baseline is None or not self._distil:
            return None
        ours, theirs = self.student, self.baseline
        alike = ours.kind == theirs.kind and (
            ours.components == theirs.components
            if ours.kind == "scatter_linear"
            else (ours.width, ours.hidden) == (theirs.width, theirs.hidden)
        )
        return baseline.released() if alike else None

    def _vae(self, number: int, images: np.ndarray, run: Run) -> Vae:
        content = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        return train_vae(run, images, self.vae, name=f"vae-{number}", inputs={"images": content})

    def _outcome(
        self, data: TransferData, run: Run, plan: Plan, student: Classifier, baseline: Classifier | None,
        answers: dict[str, Any], gate: float,
    ) -> Outcome:  # fmt: skip
        told = statement(self.cover, plan, data.delta, split_share=self.split)
        answered = answers["statuses"].count("answered")
        metrics = {
            "student_accuracy": Metric(accuracy(student, data.score), "fraction", "higher"),
            "asked": Metric(float(len(answers["labels"])), "queries"),
            "answered": Metric(float(answered), "queries"),
            "epsilon": Metric(told.epsilon, "epsilon", "lower"),
            "label_epsilon": Metric(_label_epsilon(plan, data), "epsilon", "lower"),
            "gate": Metric(gate, "fraction"),
        }
        if self.queries:
            metrics["ledger_epsilon"] = Metric(answers["ledger_epsilon"], "epsilon", "lower")
        if baseline is not None:
            metrics["baseline_accuracy"] = Metric(accuracy(baseline, data.score), "fraction", "higher")
        artefacts = {"student": "student.safetensors"}
        if run.world.first:
            save_file(student.released(), run.folder / artefacts["student"])
        for picture in sorted((run.folder / "images").glob("synthetic-*.png")) if self.uses_generator else []:
            artefacts[picture.stem] = f"images/{picture.name}"
        notes = [f"coverage {self.coverage}; epsilon is that of the plan, fixed before anything was drawn"]
        if self.queries:
            notes.append(f"queries by outcome: {outcomes(answers['statuses'])}")
        if answers["from_store"]:
            notes.append(f"{answers['from_store']} answers came from the store and cost nothing now")
        if gate < 1:
            notes.append(f"the tangent-normal terms were scaled by {gate:.2f}: the labels show little class structure")
        return Outcome("dgd", metrics, told, artefacts=artefacts, notes=tuple(notes))


def _label_epsilon(plan: Plan, data: TransferData) -> float:
    """What the labels cost by themselves."""
    votes = [named for named in plan.events if named[0].startswith(("threshold", "noisy"))]
    return Plan(tuple(votes)).epsilon(data.delta)


def _hash(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
