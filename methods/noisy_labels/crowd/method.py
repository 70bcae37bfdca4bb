"""Learning a classifier from many annotators' answers: CCC, and what it is compared with.

CCC: Zhang, Li, Zeng, Yan & Ge, Coupled Confusion Correction: Learning from Crowds with Sparse Annotations, AAAI 2024. Baselines:
majority vote; Dawid & Skene 1979; CrowdLayer (Rodrigues & Pereira 2018); CoNAL (Chu, Ma & Wang 2021); the true labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ....platform.data.crowd import CrowdAnswers, CrowdData
from ....platform.errors import BadInput
from ....platform.privacy.statement import uncovered
from ....platform.training.outcome import Metric, Outcome
from ....platform.training.run import Run
from . import reading
from .fitting import Learner, Validated, fit_learner
from .predicting import joint_probabilities
from .reading import Reading
from .settings import Settings
from .taught import Taught
from .writing import write_annotators, write_labels, write_student

NOT_PRIVATE = (
    "the classifier, the corrected labels and the annotators' matrices follow from items and answers, without noise"
)
PEOPLE = "annotators are people: their names are pseudonyms, and what is said of each is for those who may see it"
READS_TRUTH = "a reference: it learns from the true labels, which no crowd gives"


@dataclass(frozen=True)
class NoisyCrowd(Settings):
    """Teach `networks` classifiers by a crowd's answers, and say what each annotator's answers are worth."""

    works_on: ClassVar[str] = "crowd"
    charges: ClassVar[bool] = False

    def fit(self, data: CrowdData, run: Run) -> Outcome:
        """Train, score, correct the labels, describe the annotators.

        Raises:
            BadInput: settings, data and the number of processes do not fit together.
            RunFailed: the training diverged.
        """
        self._check(data)
        kept, validated = self._split(data, run)
        answers = data.answers if kept is None else data.answers.take_items(kept)
        learner = fit_learner(
            run, self, data.inputs if kept is None else data.inputs[kept], answers, self._lessons(data, kept, answers, run),
            validated=validated, identity=data.content_hash(),
        )  # fmt: skip
        metrics: dict[str, Metric] = {}
        if len(data.test_labels):
            metrics["student_accuracy"] = Metric(_accuracy(learner.networks, data), "fraction", "higher")
        if validated is not None:
            if len(data.test_labels):
                metrics["validated_accuracy"] = Metric(validated.accuracy, "fraction", "higher")
            metrics["validation_agreement"] = Metric(validated.agreement, "fraction of answers", "higher")
        artefacts: dict[str, str] = {}
        if run.world.first:
            artefacts |= write_student(run.folder, learner.networks)
        baselines: dict[str, Mapping[str, Metric]] = {}
        if not self.reads_truth:
            found = self._read(learner, data, run)
            if run.world.first:
                artefacts |= self._write(found, data, run)
            if data.truth is not None:
                metrics |= _against_truth(found, data.answers, data.truth)
                if self.algorithm != "majority":
                    votes = reading.of_votes(data.answers, seed=run.seed_for("votes"))
                    baselines["majority vote"] = _against_truth(votes, data.answers, data.truth)
        return Outcome(
            self.algorithm, metrics, uncovered(NOT_PRIVATE), artefacts=artefacts, baselines=baselines,
            notes=tuple(self._notes(validated, data)),
        )  # fmt: skip

    def _check(self, data: CrowdData) -> None:
        if self.reads_truth and data.truth is None:
            raise BadInput(
                f"{data.name}: the true labels of the training items are not known",
                why="gold learns from them", mend="give them, or use another algorithm",
            )  # fmt: skip
        chosen = np.unique(data.answers.labels)
        if len(chosen) < 2:
            raise BadInput(
                f"{data.name}: every answer is the same class",
                why="there is nothing to tell apart",
                mend="check the label column",
            )

    def _split(self, data: CrowdData, run: Run) -> tuple[np.ndarray | None, Validated | None]:
        """The items to learn from (None: all), and what the others are looked at for."""
        if not self.validation:
            return None, None
        count = max(1, round(self.validation * len(data)))
        if count >= len(data):
            raise BadInput(f"{count} of {len(data)} items are kept for validation", mend="lower method.validation")
        order = np.random.default_rng(run.seed_for("validation")).permutation(len(data))
        held, kept = np.sort(order[:count]), np.sort(order[count:])
        items, answers = torch.from_numpy(data.inputs[held]), data.answers.take_items(held)
        return kept, Validated(items, answers, lambda networks: _accuracy(networks, data))

    def _lessons(self, data: CrowdData, kept: np.ndarray | None, answers: CrowdAnswers, run: Run) -> np.ndarray | None:
        """What one label, or one distribution, each item is taught; None where all answers are."""
        if self.reads_truth:
            assert data.truth is not None
            return data.truth if kept is None else data.truth[kept]
        if self.algorithm not in ("majority", "dawid_skene"):
            return None
        posteriors = self._aggregate(answers, run).posteriors
        return posteriors.astype(np.float32) if self.soft else posteriors.argmax(axis=1)

    def _aggregate(self, answers: CrowdAnswers, run: Run) -> Reading:
        if self.algorithm == "majority":
            return reading.of_votes(answers, seed=run.seed_for("votes"))
        return reading.of_dawid_skene(answers, smoothing=self.smoothing)

    def _read(self, learner: Learner, data: CrowdData, run: Run) -> Reading:
        """What the algorithm says of all training items; the aggregating ones say it without their classifier."""
        if self.algorithm in ("majority", "dawid_skene"):
            return self._aggregate(data.answers, run)
        assert not isinstance(learner, Taught)
        probabilities = joint_probabilities(learner.networks, torch.from_numpy(data.inputs)).double().cpu().numpy()
        return reading.of_learner(probabilities, learner.confusions().double().cpu().numpy(), data.answers)

    def _write(self, found: Reading, data: CrowdData, run: Run) -> dict[str, str]:
        each = self.annotators == "each"
        artefacts = write_labels(run.folder, data, found, each=each, smallest=self.smallest_group)
        described = write_annotators(
            run.folder, data, found, each=each, groups=self.report_groups, smallest=self.smallest_group,
            seed=run.seed_for("annotators"),
        )  # fmt: skip
        return artefacts | described

    def _notes(self, validated: Validated | None, data: CrowdData) -> list[str]:
        notes = [READS_TRUTH] if self.reads_truth else [PEOPLE]
        if not len(data.test_labels):
            notes.append("there are no test items: what the classifier is worth is not measured")
        if validated is not None:
            notes.append(
                f"epoch {validated.epoch} of {self.passes} agrees best with the crowd's answers about the items kept apart; the "
                "weights kept are those of the last epoch"
            )
        return notes


def _accuracy(networks: Iterable[nn.Module], data: CrowdData) -> float:
    """The fraction of test items that all networks together classify rightly; 0 without test items, which nobody is told."""
    if not len(data.test_labels):
        return 0.0
    predicted = joint_probabilities(networks, torch.from_numpy(data.test_inputs)).argmax(1).cpu().numpy()
    return float((predicted == data.test_labels).mean())


def _against_truth(found: Reading, answers: CrowdAnswers, truth: np.ndarray) -> dict[str, Metric]:
    return {
        "label_accuracy": Metric(found.label_accuracy(truth), "fraction", "higher"),
        "confusion_error": Metric(
            reading.confusion_error(found.confusions, answers, truth), "total variation distance", "lower"
        ),
    }
