"""Data sets labelled by a crowd: each class holds the settings of one kind, and loads it.

>>> CrowdSynthetic(images="digits", train=200, test=100, annotators=20).load(seed=0, key=b"").answers.n_items
200
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int
from . import sources
from .crowd import CrowdData
from .crowd_files import read_answers, read_gold
from .crowd_items import read_inputs
from .crowd_join import crowd_in_words, joined
from .crowd_public import CIFAR10_CLASSES, Cifar10N, LabelMe, Music
from .crowd_sample import check_sizes, sampled
from .crowd_synthetic import FASHION_LOOKALIKES, CrowdSettings, synthetic_crowd

CLASS_NAMES = {
    "fashion_mnist": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "cifar10": CIFAR10_CLASSES,
    "cifar10_jpeg": CIFAR10_CLASSES,
}  # fmt: skip


class CrowdSource(Protocol):
    """What every kind offers: its settings are its fields."""

    provides: ClassVar[str]
    name: str
    root: str | None

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Load it. `seed` draws what is drawn (samples, synthetic crowds); `key` makes the pseudonyms (`b""`: mere numbers)."""


@dataclass(frozen=True)
class CrowdCsv:
    """A crowd's own files, relative to `root` (or absolute).

    Args:
        name: of the data set.
        root: the folder that the files lie in; None: where the program was started.
        answers: CSV or JSON lines: item, annotator, label.
        features: the items: CSV of numbers, npz, or a folder of images (`crowd_items.read_inputs`).
        test: CSV or JSON lines of item and label, which make the test part; the crowd's answers about them are left out. None: no test
            part.
        gold: the same of all training items, for diagnostics only; None: unknown.
        classes: names of the classes in their order; none: all labels that occur.
        item: name of the column with the item.
        annotator: of the column with the annotator.
        label: of the column with the label.
        standardise: features to mean 0 and standard deviation 1 over the training items (images stay as they are).
    """

    provides: ClassVar[str] = "crowd"
    name: str = "crowd_csv"
    root: str | None = None
    answers: str = "answers.csv"
    features: str = "features.csv"
    test: str | None = None
    gold: str | None = None
    classes: tuple[str, ...] = ()
    item: str = "item"
    annotator: str = "annotator"
    label: str = "label"
    standardise: bool = True

    def __post_init__(self) -> None:
        classes = tuple(str(name) for name in self.classes)
        if len(set(classes)) != len(classes):
            raise BadInput("a class is named twice in classes", mend="name each once")
        object.__setattr__(self, "classes", classes)

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Read and join the files. Items are numbered as in the features file, answers sorted by item, then annotator.

        Raises:
            BadInput: a file is wrong, or the files do not fit each other; line numbers say where.
        """
        folder = Path(self.root or ".")
        inputs = read_inputs(folder / self.features, item=self.item)
        answers = read_answers(folder / self.answers, item=self.item, annotator=self.annotator, label=self.label)
        test = read_gold(folder / self.test, item=self.item, label=self.label) if self.test else None
        gold = read_gold(folder / self.gold, item=self.item, label=self.label) if self.gold else None
        return joined(
            inputs, answers, test, gold, classes=self.classes, key=key, name=self.name, standardise=self.standardise
        )


@dataclass(frozen=True)
class CrowdSynthetic:
    """Images of a known data set, labelled by a synthetic crowd (`crowd_synthetic`).

    Args:
        name: of the data set.
        root: folder with the images; None: where they usually lie.
        images: a data set of `sources`, such as fashion_mnist or digits.
        train: training images, drawn by the seed; None: all.
        test: test images, drawn by the seed; None: all.
        shrink: whole factor by which height and width shrink, by averaging; 1: not at all.
        annotators: how many.
        beta_a: shape of the workloads.
        beta_b: shape of the workloads.
        mean_labels: labels an image has on average.
        noise: independent or correlated.
        rho: probability of copying (correlated noise only).
    """

    provides: ClassVar[str] = "crowd"
    name: str = "crowd_synthetic"
    root: str | None = None
    images: str = "fashion_mnist"
    train: int | None = 6000
    test: int | None = 2000
    shrink: int = 1
    annotators: int = 100
    beta_a: float = 0.5
    beta_b: float = 3.0
    mean_labels: float = 2.5
    noise: str = "independent"
    rho: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(self.train, self.test)
        positive_int(shrink=self.shrink)
        self.crowd_settings()  # wrong ones are refused here already

    def crowd_settings(self) -> CrowdSettings:
        """The settings of the crowd alone."""
        return CrowdSettings(
            annotators=self.annotators,
            beta_a=self.beta_a,
            beta_b=self.beta_b,
            mean_labels=self.mean_labels,
            noise=self.noise,
            rho=self.rho,
            lookalikes=FASHION_LOOKALIKES if self.images == "fashion_mnist" else (),
        )

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Read the images and draw the crowd. Nobody is behind it, so that its annotators are only numbered.

        Raises:
            BadInput: the images are absent, too few, or do not shrink by that factor.
        """
        given = sources.whole_test_set(sources.load(self.images, root=self.root))
        private, score = given.private, given.score
        chosen, test = sampled(len(private), self.train, seed, 0), sampled(len(score), self.test, seed, 1)
        truth = private.labels[chosen]
        crowd = synthetic_crowd(truth, private.classes, self.crowd_settings(), seed=seed)
        copying = f", followers copy their leader with probability {self.rho:g}" if self.noise == "correlated" else ""
        small = f", averaged over {self.shrink} x {self.shrink} pixels" if self.shrink > 1 else ""
        return CrowdData(
            inputs=shrunk(private.images[chosen], self.shrink),
            answers=crowd.answers,
            truth=truth,
            test_inputs=shrunk(score.images[test], self.shrink),
            test_labels=score.labels[test],
            item_names=tuple(f"training {n}" for n in chosen),
            annotator_names=tuple(f"simulated {n + 1}" for n in range(self.annotators)),
            class_names=CLASS_NAMES.get(self.images) or tuple(str(c) for c in range(private.classes)),
            name=self.name,
            protocol=(
                f"{given.about}{self.images} (training and test images drawn by seed {seed}{small}) with a synthetic crowd: "
                f"workloads Beta({self.beta_a:g}, {self.beta_b:g}), {self.noise} noise{copying}. "
                f"{crowd_in_words(crowd.answers, test=len(test))}"
            ),
        )


def shrunk(images: np.ndarray, factor: int) -> np.ndarray:
    """Images (n, channels, height, width) uint8 with `factor` x `factor` pixels averaged into one.

    Raises:
        BadInput: height or width is no multiple of the factor.
    """
    n, channels, height, width = images.shape
    if height % factor or width % factor:
        raise BadInput(f"{height} x {width} pixels do not shrink by {factor}", mend="use a factor of both")
    if factor == 1:
        return images
    blocks = images.reshape(n, channels, height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean(axis=(3, 5), dtype=np.float32) + 0.5).astype(np.uint8)


CROWD_KINDS: dict[str, type] = {
    "crowd_csv": CrowdCsv,
    "labelme": LabelMe,
    "music": Music,
    "cifar10n": Cifar10N,
    "crowd_synthetic": CrowdSynthetic,
}
