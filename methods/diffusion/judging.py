"""What a synthetic set is worth, and what it tells: networks that learn from it alone, the FID-proxy, copies of records, membership.

Nothing is chosen by any of these figures: the student is the last one, and the networks' last steps are what is scored. Figures that
look at records (copies, membership) are made only where nothing is promised about them; for the variants with an epsilon the bound is
what can be said, and an audit with records in hand belongs into a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.privacy.statement import PrivacyStatement
from ...platform.privacy.validate import positive_int
from ...platform.training.outcome import Metric
from ...platform.training.run import Run
from ..condensation.condensed import grid
from ..condensation.evaluation import Evaluation, judge, metrics_of
from ..condensation.forward import Forward
from ..condensation.membership import Membership
from ..condensation.recipe import Recipe, as_floats
from ..condensation.standard import Standard
from .inception import inception_metrics, refuse_missing_weights
from .proxy import fid_proxy
from .sampler import labels_for
from .synthetic import FILE, write_synthetic

SHOWN = 10
MOST_CLASSES = 20
PICTURE_WIDTH = 600


@dataclass(frozen=True)
class Judging:
    """How a synthetic set is judged.

    Args:
        images: how many there are, two at least, classes in turn.
        evaluation: the networks that learn from it.
        proxy: the training of the FID-proxy's classifier.
        forward: how images go through networks.
        inception: a file of Inception weights, for FID and Inception score (see `inception`); None: neither.
        reference: whether networks learn from the records, too, where these may be looked at: at least one pass over all of them.
        audit: records in the look at copies and membership, where it may look; 0: none.
    """

    images: int = 2000
    evaluation: Evaluation = field(default_factory=Evaluation)
    proxy: Recipe = field(default_factory=lambda: Recipe(steps=300, cutmix=0.0))
    forward: Forward = field(default_factory=Forward)
    inception: str | None = None
    reference: bool = True
    audit: int = 2000

    def __post_init__(self) -> None:
        positive_int(images=self.images)
        if self.images < 2:
            raise BadInput("a set of 1 image to be judged", why="distances of sets are about their spread, too")
        if isinstance(self.audit, bool) or not isinstance(self.audit, int) or self.audit < 0:
            positive_int(audit=self.audit)

    def refuse_missing_files(self) -> None:
        """See, before anything is charged or trained, whether what judging reads at the end is there.

        Raises:
            BadInput: it is not.
        """
        if self.inception is not None:
            refuse_missing_weights(self.inception)

    def labels(self, classes: int, shares: tuple[float, ...] | None, seed: int) -> Tensor:
        """Labels (n,): classes in turn, or drawn by their shares."""
        return labels_for(self.images, classes, shares, seed)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Metrics and artefacts."""

    metrics: Mapping[str, Metric]
    artefacts: Mapping[str, str]


def judge_synthetic(
    run: Run, images: np.ndarray, labels: np.ndarray, test: ImageData, statement: PrivacyStatement, settings: Judging,
    *, train: ImageData | None, inputs: Any,
) -> Verdict:  # fmt: skip
    """Judge images (n, c, h, w) uint8 and labels (n,) on test images; write the set and its pictures.

    `train`: the records, where they may be looked at.
    """
    artefacts = {"synthetic": FILE, "student_grid": picture(run, "student", images, labels, test.classes)}
    artefacts["real_grid"] = picture(run, "real", test.images, test.labels, test.classes)
    if run.world.first:
        write_synthetic(run.folder / FILE, images, labels, [str(k) for k in range(test.classes)], statement)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    standard = Standard.of(ImageData(images, labels, test.classes, "synthetic"))
    member = None
    if train is not None and settings.audit:
        member = Membership.draw(train, test, None, count=settings.audit, seed=run.seed_for("audit"))
    judged, by_loss = judge(
        run, as_floats(pixels), answers, test, settings.evaluation, standard=standard, forward=settings.forward,
        name="judge", inputs=inputs, membership=member,
    )  # fmt: skip
    metrics = metrics_of(judged, settings.evaluation.looks)
    proxy = fid_proxy(run, images, test, settings.proxy, settings.forward, inputs=inputs)
    metrics["fid_proxy"] = Metric(proxy, "squared distance of features", "lower")
    if settings.inception is not None:
        metrics |= inception_metrics(run, images, test.images, settings.inception, inputs=inputs)
    if member is not None:
        areas = member.by_distance(as_floats(pixels), answers, run.device)
        if by_loss is not None:
            areas["membership_auc_loss"] = by_loss
        metrics |= {name: Metric(value, "area under the curve", "lower") for name, value in areas.items()}
        ratio = nearest_neighbour_ratio(as_floats(pixels), member, run.device)
        metrics["nearest_neighbour_ratio"] = Metric(ratio, "distance to the nearest record over that to a stranger")
    metrics["epsilon"] = Metric(statement.epsilon, "epsilon", "lower")
    return Verdict(metrics, artefacts)


def accuracy_on_real(run: Run, train: ImageData, test: ImageData, settings: Judging, *, inputs: Any) -> float:
    """Mean accuracy of the first kind of network taught by the records themselves in the same way."""
    judged, _ = judge(
        run, as_floats(torch.from_numpy(train.images)), torch.from_numpy(train.labels), test, settings.evaluation,
        standard=Standard.of(train), forward=settings.forward, name="real", inputs=inputs, membership=None,
    )  # fmt: skip
    return judged[settings.evaluation.networks[0]].mean


def nearest_neighbour_ratio(images: Tensor, member: Membership, device: torch.device) -> float:
    """Median over synthetic images of the pixel distance to the nearest record over that to the nearest of as many strangers.

    About 1 where records are no nearer than other images of their kind; a generator that copies records brings it to 0.
    """

    def nearest(data: ImageData) -> Tensor:
        there = as_floats(torch.from_numpy(data.images)).flatten(1).to(device)
        return torch.cat([torch.cdist(part.flatten(1).to(device), there).min(1).values for part in images.split(500)])

    # Of two copies of one image neither is nearer: 0 / 0 would not say so.
    least = torch.finfo(torch.float32).tiny
    return float(((nearest(member.members) + least) / (nearest(member.strangers) + least)).median())


def picture(run: Run, name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> str:
    """Draw up to ten images of each of up to twenty classes, one row a class; return the file's place in the run's folder."""
    rows = []
    for k in range(min(classes, MOST_CLASSES)):
        own = torch.from_numpy(images[labels == k][:SHOWN]).float() / 255
        blank = torch.ones(SHOWN - len(own), *images.shape[1:])
        rows.append(torch.cat([own, blank]))
    drawn = grid(torch.cat(rows), rows=len(rows))
    zoom = max(1, PICTURE_WIDTH // drawn.shape[2])
    enlarged = drawn.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    return str(run.image(name, enlarged).relative_to(run.folder))
