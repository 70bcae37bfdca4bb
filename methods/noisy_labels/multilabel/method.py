"""Learning from noisy multi-labels: flip rates from label correlations, a student that knows them, and the baselines.

Li, Xia, Zhang, Zhan, Ge & Liu, Estimating Noise Transition Matrix with Label Correlations for Noisy Multi-Label Learning, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ....platform.data.multilabel import MultiLabelData, named
from ....platform.errors import BadInput, RunFailed
from ....platform.privacy.statement import uncovered
from ....platform.training.outcome import Metric, Outcome
from ....platform.training.run import Run
from .anchors import anchor_rates
from .cards import write_cards, write_table
from .estimate import Evidence, estimate
from .learning import Part, learn_first, learn_student
from .memory import Looks
from .metrics import Scores, score
from .networks import fresh, probabilities
from .picture import rates_picture
from .risks import WITH_RATES, make_risk
from .settings import Settings
from .transition import Transition, error

NOT_PRIVATE = "the student and the flip rates were learnt from records and their labels without noise"
STUDENT = "student.safetensors"


@dataclass(frozen=True)
class NoisyMultiLabel(Settings):
    """Estimate how often each label is wrong, then train a student that takes it into account.

    A first network learns the labels as they were given; from it and from pairs of labels come the flip rates of every class, or a
    reason why a class has none; the student starts from the first network and is trained with `risk`.
    """

    works_on: ClassVar[str] = "multilabel"
    charges: ClassVar[bool] = False

    def fit(self, data: MultiLabelData, run: Run) -> Outcome:
        """Estimate, train, score.

        Raises:
            BadInput: settings and data do not fit.
            RunFailed: every class is refused, so that the risk has no rates to work with.
        """
        learnt, held, rows = self._split(data, run)
        test = torch.from_numpy(data.test_inputs)
        network = fresh(self.network, torch.from_numpy(data.inputs), data.classes, run.seed_for("network"))
        inputs = self._key(data, run.seed)
        augment = self.augment and data.inputs.ndim == 4
        baselines: dict[str, Mapping[str, Metric]] = {}
        found = None
        rates = np.zeros((data.classes, 2))
        if self.estimator.kind != "none":
            looks = Looks(learnt.labels, first=self.sample_epoch - self.sample_epochs + 1, last=self.sample_epoch)
            plain = make_risk("bce", None, gce_power=self.gce_power)
            # A training takes over a checkpoint of its own settings only; how rates are found afterwards is not one of them.
            learn_first(run, network, learnt, held, self.first, plain, looks, augment=augment, inputs=inputs["first"])
            baselines["the first network, labels as given"] = _metrics(
                score(self._predict(network, test, run), data.test_labels)
            )
            found, instead = self._estimate(data, looks, rows, run, inputs)
            rates = found.filled(instead)
        if found is not None and self.risk in WITH_RATES and found.refused.all() and not rates.any():
            raise RunFailed(
                "no class has an estimate of its flip rates", why=f"{found.reasons[0]} (the first class's reason)",
                mend="give more rows, or train without rates: method.risk=bce",
            )  # fmt: skip
        risk = make_risk(
            self.risk, torch.from_numpy(rates) if self.risk in WITH_RATES else None, gce_power=self.gce_power
        )
        student_inputs = inputs["student"] | {"rates": rates.tolist()}
        epoch = learn_student(run, network, learnt, held, self.student, risk, augment=augment, inputs=student_inputs)
        scores = score(self._predict(network, test, run), data.test_labels)
        metrics = {f"student_{name}": metric for name, metric in _metrics(scores).items()}
        if found is not None:
            metrics |= self._rate_metrics(data, found, rates)
        artefacts = self._write(run, network.cpu(), data, found)
        return Outcome(
            self.algorithm, metrics, uncovered(NOT_PRIVATE), artefacts=artefacts, baselines=baselines,
            notes=tuple(self._notes(data, scores, found, epoch)),
        )  # fmt: skip

    def _split(self, data: MultiLabelData, run: Run) -> tuple[Part, Part, np.ndarray]:
        """Rows that are learnt, rows that choose epochs, and the numbers of the former."""
        held = round(self.validation * len(data))
        if not 1 <= held < len(data) - 1:
            raise BadInput(
                f"{len(data)} training records leave {held} for validation",
                mend="give more, or change method.validation",
            )
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed_for("validation"))).numpy()
        inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
        rows, others = np.sort(order[held:]), np.sort(order[:held])
        if not data.labels[others].any():
            raise BadInput("no record of the validation part has a label", mend="raise method.validation")
        return Part(inputs[rows], labels[rows]), Part(inputs[others], labels[others]), rows

    def _estimate(
        self, data: MultiLabelData, looks: Looks, rows: np.ndarray, run: Run, inputs: dict[str, Any]
    ) -> tuple[Transition, np.ndarray]:
        """The flip rates, and the rates (q, 2) that the student is taught for refused classes."""
        evidence = Evidence(
            data.labels[rows], looks.losses.numpy(), looks.posterior.numpy(),
            None if data.clean_labels is None else data.clean_labels[rows],
        )  # fmt: skip

        def work() -> dict[str, Any]:
            found = estimate(self.estimator, evidence, data.rates, seed=run.seed_for("mixture"))
            instead = np.zeros((data.classes, 2))
            if self.refused == "dual_t":
                dual, reasons = anchor_rates("dual_t", evidence.posterior, evidence.labels)
                instead = np.where(np.array([bool(reason) for reason in reasons])[:, None], instead, dual)
            return {"found": found.to_value(), "instead": instead}

        value = run.stage(
            "transition", work, inputs | {"estimator": asdict(self.estimator), "refused": self.refused}, once=True
        )
        return Transition.from_value(value["found"]), value["instead"]

    def _predict(self, network: nn.Module, test: torch.Tensor, run: Run) -> np.ndarray:
        return probabilities(network.to(run.device), test, run.device).numpy()

    def _rate_metrics(self, data: MultiLabelData, found: Transition, rates: np.ndarray) -> dict[str, Metric]:
        metrics = {"classes_refused": Metric(float(found.refused.sum()), "classes", "lower")}
        if data.rates is not None:
            errors = error(rates, data.rates)
            unit = f"L1 of 2 x 2 matrices over 2, summed over {data.classes} classes"
            metrics["transition_error"] = Metric(float(errors.sum()), unit, "lower")
        return metrics

    def _write(self, run: Run, network: nn.Module, data: MultiLabelData, found: Transition | None) -> dict[str, str]:
        artefacts = {"student": STUDENT}
        if not run.world.first:
            return artefacts
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, run.folder / STUDENT)
        if found is None:
            return artefacts
        picture = run.image("transition", rates_picture(found, data.class_names, data.rates))
        cards = write_cards(
            run.folder, found, data.class_names, data.labels.mean(0), confidence=self.estimator.confidence,
            significance=self.estimator.significance,
        )  # fmt: skip
        return artefacts | {
            "transition": write_table(run.folder, found, data.class_names),
            "label_cards": cards,
            "picture": str(picture.relative_to(run.folder)),
        }

    def _notes(self, data: MultiLabelData, scores: Scores, found: Transition | None, epoch: int) -> list[str]:
        chosen = "by the noisy validation part" if self.student.keep == "best" else "the last one"
        notes = [f"the student is that of epoch {epoch} of {self.student.epochs} ({chosen})"]
        if scores.classes < data.classes:
            notes.append(f"{data.classes - scores.classes} classes without a positive in the score set are not scored")
        if found is None:
            return notes
        if self.estimator.kind == "oracle" or (self.estimator.selection == "gold" and self.estimator.kind == "pairs"):
            notes.append(
                "the flip rates come from true rates or true labels: a reference that nobody has on real noise"
            )
        if self.estimator.known_zero != "none":
            notes.append(f"the settings say that the rate {self.estimator.known_zero} is zero for every class")
        if found.refused.any():
            instead = (
                "as if their labels were right" if self.refused == "plain" else "by Dual-T's rates where it has any"
            )
            notes.append(f"refused, and learnt {instead}: {named(data.class_names, found.refused)}")
        wrong = found.probability < self.estimator.significance
        if wrong.any():
            notes.append(
                f"partners contradict each other beyond chance about {int(wrong.sum())} of {data.classes} classes: intervals of "
                "those are too narrow"
            )
        return notes

    def _key(self, data: MultiLabelData, seed: int) -> dict[str, Any]:
        """What each training depends on beside its own settings: the data, the seed, the network; for the student also the rates."""
        shared = {"data": data.content_hash(), "seed": seed, "network": asdict(self.network), "validation": self.validation,
                  "augment": self.augment}  # fmt: skip
        first = shared | {"sample": [self.sample_epoch, self.sample_epochs]}
        student = shared | {"risk": self.risk, "gce_power": self.gce_power}
        if self.estimator.kind != "none":
            student |= {"first": asdict(self.first)}
        return {"first": first, "student": student}


def _metrics(scores: Scores) -> dict[str, Metric]:
    return {name: Metric(getattr(scores, name), "fraction", "higher") for name in ("map", "of1", "cf1")}
