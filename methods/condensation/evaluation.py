"""What a condensed set is worth: fresh networks learn from it alone and are scored on real test images.

The reported accuracy is that of the last step. The papers report the best of several looks at the test set within a training; that
figure is kept beside it under its own name, because a choice by the test set is no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.nn.architectures import NETWORKS
from ...platform.privacy.validate import positive_int
from ...platform.training.event_log import NOWHERE
from ...platform.training.outcome import Metric
from ...platform.training.progress import Silent
from ...platform.training.run import LocalRun, Run
from .encoders import fresh_network
from .forward import Forward
from .membership import Membership
from .recipe import Recipe, accuracy_of, train_network
from .standard import Standard


@dataclass(frozen=True)
class Evaluation:
    """How a set is judged.

    Args:
        networks: architectures; the first is the one that the set was made with, the others show transfer.
        repeats: fresh networks of each.
        recipe: their training.
        looks: how often the test set is looked at within a training, for the papers' best-on-test figure; 1: at the end only.
    """

    networks: tuple[str, ...] = ("convnet",)
    repeats: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    looks: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", tuple(self.networks))
        positive_int(repeats=self.repeats, looks=self.looks)
        unknown = [name for name in self.networks if name not in NETWORKS]
        if unknown or not self.networks:
            raise BadInput(
                f"networks to judge with are {', '.join(self.networks) or 'none'}",
                mend=f"use some of {', '.join(NETWORKS)}",
            )


@dataclass(frozen=True)
class Judged:
    """Accuracies (fractions) of the networks of one architecture: at the end, and the best of the looks at the test set."""

    last: tuple[float, ...]
    best: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the last accuracies."""
        return fmean(self.last)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation; None for a single network."""
        return stdev(self.last) if len(self.last) > 1 else None


def judge(
    run: Run, images: Tensor, labels: Tensor, test: ImageData, evaluation: Evaluation, *, standard: Standard,
    forward: Forward, name: str, inputs: Any, membership: Membership | None,
) -> tuple[dict[str, Judged], float | None]:  # fmt: skip
    """Train and score all networks on decoded images (n, c, h, w) in [0, 1] and labels (n,); the processes of a run share them out.

    The second value is how well the first network's loss tells records from others, if `membership` shall be guessed.
    """
    jobs = [(network, repeat) for network in evaluation.networks for repeat in range(evaluation.repeats)]
    own = {}
    for number in range(run.world.rank, len(jobs), run.world.size):
        network, repeat = jobs[number]
        spied = membership if number == 0 else None
        own[number] = _one(
            run, images, labels, test, evaluation, network, repeat, standard, forward, name, inputs, spied
        )
    found: dict[int, Any] = {}
    for part in run.gather(own):
        found |= part
    results: dict[str, Judged] = {}
    for network in evaluation.networks:
        rows = [found[number]["scores"] for number, job in enumerate(jobs) if job[0] == network]
        results[network] = Judged(tuple(float(row[-1]) for row in rows), tuple(float(max(row)) for row in rows))
    return results, found[0]["area"]


def _one(
    run: Run, images: Tensor, labels: Tensor, test: ImageData, evaluation: Evaluation, architecture: str, repeat: int,
    standard: Standard, forward: Forward, name: str, inputs: Any, membership: Membership | None,
) -> dict[str, Any]:  # fmt: skip
    """Accuracies of one network, in the order of the looks, and what its losses tell of membership."""
    label = f"{name}-{architecture}-{repeat}"

    def train_and_score() -> dict[str, Any]:
        network = fresh_network(architecture, test.shape, test.classes, run.seed_for("judge", architecture, repeat))
        scores: list[float] = []

        def look(model: nn.Module, epoch: int, epochs: int) -> Mapping[str, float]:
            due = epoch == epochs or epoch * evaluation.looks // epochs > (epoch - 1) * evaluation.looks // epochs
            if not due:
                return {}
            scores.append(accuracy_of(model, test, standard, forward, run.device))
            return {"accuracy": scores[-1]}

        train_network(
            alone, network, images, labels, evaluation.recipe, standard, name=label, inputs=inputs, evaluate=look
        )
        # A training that was found finished, or resumed, was not looked at here: its last state is scored all the same.
        scores = scores or [accuracy_of(network, test, standard, forward, run.device)]
        told = None if membership is None else membership.by_loss(network, standard, forward, run.device)
        return {"scores": scores, "area": told}

    alone = by_itself(run, label)
    spied = 0 if membership is None else len(membership.members)
    asked = {"evaluation": asdict(evaluation), "job": label, "of": inputs, "spied": spied}
    return dict(alone.stage("scores", train_and_score, asked))


def by_itself(run: Run, name: str) -> LocalRun:
    """A run of this process alone, in a folder of its own below the run's: other processes do other work meanwhile.

    Its trainings have the run's precision, and are told in the run's event log.
    """
    reporter = getattr(run, "reporter", None) if run.world.first else Silent()
    return LocalRun(
        run.folder / "networks" / name, seed=run.seed, device=run.device, reporter=reporter, precision=run.precision,
        events=getattr(run, "events", NOWHERE),
    )  # fmt: skip


def metrics_of(judged: Mapping[str, Judged], looks: int) -> dict[str, Metric]:
    """The outcome's metrics: of the first architecture without a suffix, of the others under their names."""
    metrics: dict[str, Metric] = {}
    for number, (network, result) in enumerate(judged.items()):
        suffix = "" if number == 0 else f"_{network}"
        metrics[f"student_accuracy{suffix}"] = Metric(result.mean, "fraction", "higher")
        if result.deviation is not None:
            metrics[f"student_deviation{suffix}"] = Metric(result.deviation, "fraction")
        if looks > 1:
            metrics[f"student_best_on_test{suffix}"] = Metric(float(np.mean(result.best)), "fraction", "higher")
    return metrics
