"""Settings of learning from noisy multi-labels, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive, positive_int, probability
from ....platform.training.files import check_name
from .anchors import ANCHORS
from .consensus import RULES
from .networks import Network
from .risks import RISKS, WITH_RATES
from .selection import KNOWN_ZERO, Mixture

KINDS = ("pairs", *ANCHORS, "oracle", "none")
SELECTIONS = ("mixture", "gold")
REFUSED = ("plain", "dual_t")
KEPT = ("best", "last")


@dataclass(frozen=True)
class Estimator:
    """How flip rates are found.

    Args:
        kind: pairs (label correlations), t_max, t_97, dual_t, oracle (the rates of synthetic noise: a reference), or none.
        selection: mixture (small losses) or gold (true labels: a reference).
        consensus: pooled, medoid, weighted_medoid or median, over partners.
        mixture: of the selection by small losses.
        known_zero: false_positive or false_negative, if you know that this rate is zero for every class; none: you do not. It is
            never taken from the data's true rates.
        least_selected: rows that must be selected of each given value of a class.
        significance: of the tests that refuse a class.
        confidence: of intervals, and of the rates adding up to less than 1.
        tested_partners: the test of over-identification looks at so many partners, the strongest.
        refuse_contradiction: also refuse classes that fail that test. Off, since selections are never perfect, and with many rows
            the test sees it; its result is reported for each class.
    """

    kind: str = "pairs"
    selection: str = "mixture"
    consensus: str = "pooled"
    mixture: Mixture = field(default_factory=Mixture)
    known_zero: str = "none"
    least_selected: int = 50
    significance: float = 0.01
    confidence: float = 0.95
    tested_partners: int = 10
    refuse_contradiction: bool = False

    def __post_init__(self) -> None:
        _one_of(kind=(self.kind, KINDS), selection=(self.selection, SELECTIONS), consensus=(self.consensus, RULES))
        _one_of(known_zero=(self.known_zero, KNOWN_ZERO))
        positive_int(least_selected=self.least_selected, tested_partners=self.tested_partners)
        probability(significance=self.significance, confidence=self.confidence)


@dataclass(frozen=True)
class Training:
    """One training, by Adam.

    Args:
        epochs, batch_size, learning_rate, weight_decay: of it.
        clip_norm: gradients are clipped to this norm; None: not.
        keep: the weights of the best epoch by the noisy validation part, or the last ones.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip_norm: float | None = None
    keep: str = "best"

    def __post_init__(self) -> None:
        positive_int(epochs=self.epochs, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)
        _one_of(keep=(self.keep, KEPT))


@dataclass(frozen=True)
class Settings:
    """Settings of `NoisyMultiLabel`, whose parts make the pair estimator, the anchor estimators and the baselines.

    Args:
        algorithm: the name that reports give it.
        estimator: how flip rates are found; with the kind "none" only the student is trained.
        risk: reweight, forward, bce or gce: the student's loss.
        refused: plain (a class without an estimate is learnt as if its labels were right) or dual_t (by Dual-T's rates, if it has any).
        gce_power: of the risk gce.
        first: training of the network that rates are read from, on given labels; by its best epoch in loss the student starts.
        student: training of the student; its best epoch is that of mean average precision on the validation part.
        sample_epoch: losses for the selection are averaged over the epochs that end with this one (from 1).
        sample_epochs: over how many.
        validation: part of the training records, with their given labels, that is set aside to choose epochs.
        network: what is trained.
        augment: crop and mirror training images.
    """

    algorithm: str = "multilabel_t"
    estimator: Estimator = field(default_factory=Estimator)
    risk: str = "reweight"
    refused: str = "plain"
    gce_power: float = 0.7
    first: Training = field(default_factory=Training)
    student: Training = field(default_factory=Training)
    sample_epoch: int = 10
    sample_epochs: int = 5
    validation: float = 0.1
    network: Network = field(default_factory=Network)
    augment: bool = True

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        _one_of(risk=(self.risk, RISKS), refused=(self.refused, REFUSED))
        positive_int(sample_epoch=self.sample_epoch, sample_epochs=self.sample_epochs)
        if not 0 < self.gce_power <= 1:
            raise BadInput(f"gce_power is {self.gce_power!r}", why="it must be in (0, 1]")
        if not 0 < self.validation < 1:
            raise BadInput(f"validation is {self.validation!r}", why="it must lie strictly between 0 and 1")
        if self.sample_epochs > self.sample_epoch or self.sample_epoch > self.first.epochs:
            raise BadInput(
                f"{self.sample_epochs} epochs that end with epoch {self.sample_epoch} of {self.first.epochs}",
                why="the losses of those epochs are averaged for the selection",
                mend="keep sample_epochs <= sample_epoch <= first.epochs",
            )
        if self.risk in WITH_RATES and self.estimator.kind == "none":
            raise BadInput(
                f"the risk {self.risk} needs flip rates, but no estimator is chosen",
                mend=f"set method.estimator.kind to one of {', '.join(KINDS[:-1])}, or method.risk=bce",
            )


def _one_of(**values: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in values.items():
        if value not in known:
            raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")
