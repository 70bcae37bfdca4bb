"""Settings of learning from a crowd, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive, positive_int
from .backbones import Backbone
from .meta_step import VIRTUAL_STEPS

ALGORITHMS = ("ccc", "crowd_layer", "conal", "majority", "dawid_skene", "gold")
OPTIMIZERS = ("sgd", "adam")
REPORTS = ("each", "groups")
OFFICIAL_DIAGONAL = 1.0
DIAGONAL = 2.0


@dataclass(frozen=True)
class Settings:
    """Settings of `NoisyCrowd`. Backbone and schedule are the same for every algorithm, so that results can be compared.

    Args:
        algorithm: ccc; crowd_layer (ccc without correction); conal; majority and dawid_skene (a classifier on aggregated labels);
            gold (a classifier on the true labels: the reference).
        backbone: the network.
        networks: independent copies, whose probabilities are added up at the end; ccc needs two.
        warm_up, epochs: passes over the items before and with the correction; without one, they are all alike.
        batch_size: items in a step.
        optimizer: sgd or adam; learning_rate, weight_decay: of the networks; momentum: of sgd.
        milestones: epochs after the warm-up at which the learning rate is multiplied by `decay`.
        official_head: the published softmax of the mixture instead of a mixture of softmaxes (see `heads`).
        diagonal: what the annotators' matrices start with on their diagonals; None: 1 for the official head, 2 for ours.
        confusion_rate: the matrices' learning rate as a multiple of the networks': an annotator's matrix feels only the few answers
            in a batch that are his or hers. 1 as published.
        confusion_weight_decay: the matrices' weight decay; None: that of the networks, as published.
        correction_rate: eta, the size of CCC's correction.
        virtual_step: whole (as published for images), last_layer (cheapest), second_order (as published for LabelMe).
        meta_batch, meta_size: distilled items in a step, and in all.
        groups: of annotators.
        official_grouping: k-means on raw matrices, each annotator alike, instead of on confusion matrices weighted by answers.
        official_duplicates: the distilled set holds an item once for each answer, instead of once.
        conal_spread: weight of CoNAL's distance between common and own matrices; conal_size: length of its vectors.
        soft: teach aggregated distributions (dawid_skene, majority) instead of their likeliest classes.
        smoothing: what Dawid-Skene adds to each count of its matrices.
        validation: fraction of the training items that is kept apart, with its crowd labels; the epoch that agrees best with them is
            reported beside the last one. 0: none.
        annotators: what the reports say of them: each, one by one; groups, of at least `smallest_group`, without pseudonyms.
        report_groups: groups in the reports, at most.
    """

    algorithm: str = "ccc"
    backbone: Backbone = field(default_factory=Backbone)
    networks: int = 2
    warm_up: int = 10
    epochs: int = 50
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (30,)
    decay: float = 0.1
    official_head: bool = False
    diagonal: float | None = None
    confusion_rate: float = 50.0
    confusion_weight_decay: float | None = 0.0
    correction_rate: float = 0.5
    virtual_step: str = "whole"
    meta_batch: int = 128
    meta_size: int = 1000
    groups: int = 30
    official_grouping: bool = False
    official_duplicates: bool = False
    conal_spread: float = 1e-5
    conal_size: int = 20
    soft: bool = False
    smoothing: float = 0.01
    validation: float = 0.0
    annotators: str = "each"
    report_groups: int = 4
    smallest_group: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        positive_int(
            networks=self.networks, epochs=self.epochs, batch_size=self.batch_size, meta_batch=self.meta_batch,
            meta_size=self.meta_size, groups=self.groups, conal_size=self.conal_size, report_groups=self.report_groups,
            smallest_group=self.smallest_group,
        )  # fmt: skip
        if isinstance(self.warm_up, bool) or not isinstance(self.warm_up, int) or self.warm_up < 0:
            raise BadInput(f"warm_up is {self.warm_up!r}", why="it is a whole number from 0 up")
        positive(
            learning_rate=self.learning_rate, decay=self.decay, confusion_rate=self.confusion_rate,
            smoothing=self.smoothing,
        )  # fmt: skip
        non_negative(
            momentum=self.momentum, weight_decay=self.weight_decay, correction_rate=self.correction_rate,
            conal_spread=self.conal_spread, validation=self.validation,
        )  # fmt: skip
        for name in ("diagonal", "confusion_weight_decay"):
            if getattr(self, name) is not None:
                non_negative(**{name: getattr(self, name)})
        for name in ("momentum", "validation"):
            if getattr(self, name) >= 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it must be below 1")
        for name, known in (
            ("algorithm", ALGORITHMS), ("optimizer", OPTIMIZERS), ("virtual_step", VIRTUAL_STEPS),
            ("annotators", REPORTS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise BadInput(f"{name} is {getattr(self, name)!r}", mend=f"use one of {', '.join(known)}")
        positive_int(**{f"milestones[{number}]": epoch for number, epoch in enumerate(self.milestones)})
        if self.algorithm == "ccc" and self.networks != 2:
            raise BadInput(
                f"CCC with {self.networks} networks", why="two correct each other", mend="set method.networks=2"
            )

    @property
    def passes(self) -> int:
        """Epochs in all."""
        return self.warm_up + self.epochs

    @property
    def starting_diagonal(self) -> float:
        """What matrices start with."""
        if self.diagonal is not None:
            return self.diagonal
        return OFFICIAL_DIAGONAL if self.official_head else DIAGONAL

    @property
    def reads_truth(self) -> bool:
        """Whether it learns from the true labels: a reference, not a method."""
        return self.algorithm == "gold"
