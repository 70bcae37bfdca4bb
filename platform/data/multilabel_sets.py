"""Multi-label sets by kind, as a run's configuration says it: a user's own tables, packed benchmark sets, synthetic ones, VOC and COCO.

A kind is a frozen dataclass whose fields are its settings (public); `load` gives the data. All kinds can flip training labels by known
rates (`false_positive`, `false_negative`), to measure what an estimator finds: labels that are read are then taken for true ones.
Without rates a user's own labels stay as they are; where their true ones are given too, rates are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int
from . import multilabel_noise
from .multilabel import MultiLabelData
from .multilabel_files import Table, joined, read_table
from .multilabel_images import COCO_INSTALL, VOC_CLASSES, VOC_INSTALL, read_coco, read_voc
from .multilabel_synthetic import Correlated
from .partition import Manifest

PACKED = ("scene", "yeast", "tmc2007_500")


@dataclass(frozen=True)
class MultiLabelSet:
    """What all kinds share.

    Args:
        name: of the data set.
        root: the folder that paths are relative to, or that holds the set.
        false_positive: P(given 1 | true 0), for every class.
        false_negative: P(given 0 | true 1), for every class.
        balanced: make as many labels appear as vanish; `false_positive` then follows from the cardinality.
    """

    provides: ClassVar[str] = "multilabel"

    name: str = "multilabel"
    root: str | None = None
    false_positive: float = 0.0
    false_negative: float = 0.0
    balanced: bool = False

    def __post_init__(self) -> None:
        multilabel_noise.check_rates(false_positive=self.false_positive, false_negative=self.false_negative)
        if self.balanced and self.false_positive:
            raise BadInput("balanced noise has no rate of false positives of its own", mend="set data.false_positive=0")

    def load(self, *, seed: int, key: bytes) -> MultiLabelData:
        """Load it and flip training labels, by `seed`. `key` does not matter: nobody is named.

        Raises:
            BadInput: files are missing or damaged, or the labels are nothing to learn from, or there is a rate of noise beside
                labels whose true ones are given.
        """
        data = self._read(seed)
        if not (self.false_positive or self.false_negative):
            return data
        if data.clean_labels is not None:
            raise BadInput(
                f"{self.name}: rates of noise, and labels that are noisy already",
                why="their true labels are given, so the rates would not be those of the labels that are learnt from",
                mend="leave data.clean_labels or the rates out",
            )
        if self.balanced:
            rates = multilabel_noise.balanced(
                data.classes, false_negative=self.false_negative, cardinality=data.cardinality
            )
        else:
            rates = multilabel_noise.class_dependent(
                data.classes, false_positive=self.false_positive, false_negative=self.false_negative
            )
        noisy = multilabel_noise.flip(data.labels, rates, seed=seed)
        told = (
            f" Training labels were flipped at random: {rates[0, 0]:.4g} of the absent ones to present, {rates[0, 1]:.4g} of the "
            "present ones to absent, whatever the record."
        )
        return replace(data, labels=noisy, clean_labels=data.labels, rates=rates, protocol=data.protocol + told)

    def _read(self, seed: int) -> MultiLabelData:
        raise NotImplementedError

    def _place(self, path: str) -> Path:
        return Path(self.root or ".") / path


@dataclass(frozen=True)
class MultiLabelCsv(MultiLabelSet):
    """A user's own tables: features and labels as CSV with a header (or .npy), for training and for the score set.

    Args:
        features, labels: of the training records; labels are taken as noisy, or for true where a rate of noise is set.
        test_features, test_labels: of the score set, whose labels must be clean.
        clean_labels: true labels of the training records, where they are known, for references only.
        item: the column that names a record in all tables; None: they have the same order.
    """

    name: str = "multilabel_csv"
    features: str = ""
    labels: str = ""
    test_features: str = ""
    test_labels: str = ""
    clean_labels: str | None = None
    item: str | None = None

    def _read(self, seed: int) -> MultiLabelData:
        missing = [f for f in ("features", "labels", "test_features", "test_labels") if not getattr(self, f)]
        if missing:
            raise BadInput(
                f"{self.name}: no file is named for {', '.join(missing)}",
                mend="give data.features, data.labels, data.test_features and data.test_labels",
            )
        features, labels, names, columns = self._part(self.features, self.labels, None, None)
        test, truth, _, _ = self._part(self.test_features, self.test_labels, names, columns)
        clean = None
        if self.clean_labels is not None:
            _, clean, _, _ = self._part(self.features, self.clean_labels, names, columns)
        protocol = f"{len(features):,} training records, labels as they were given; {len(test):,} records, labels clean, are scored."
        if clean is not None:
            protocol += " Clean labels of the training records serve references and diagnostics only."
        return MultiLabelData(features, labels, clean, test, truth, None, names, self.name, protocol)

    def _part(
        self, features: str, labels: str, names: tuple[str, ...] | None, columns: tuple[str, ...] | None
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[str, ...]]:
        """Features, labels, names of the labels, names of the features; the columns in the order of `names` and `columns`."""
        found = _ordered(read_table(self._place(features), item=self._named(features)), columns, self._place(features))
        given = _ordered(read_table(self._place(labels), item=self._named(labels)), names, self._place(labels))
        empty = np.isnan(given.values)
        if empty.any():
            raise BadInput(
                f"{self._place(labels)} lacks {int(empty.sum())} entries",
                why=f"they are in {int(empty.any(1).sum())} rows",
                mend="write 1 where a record has the label, 0 where it has not; leave out rows of which that is unknown",
            )
        inputs, answers = joined(found, given, self._place(labels))
        return inputs, answers, given.columns, found.columns

    def _named(self, path: str) -> str | None:
        return None if path.endswith(".npy") else self.item


@dataclass(frozen=True)
class MultiLabelNpz(MultiLabelSet):
    """A packed set: scene, yeast or tmc2007_500, from `root`/`set`.npz.

    The arrays are X_train, Y_train, X_test, Y_test and label_names; or, bits packed along the columns, X (n, ceil(d / 8)), Y, d and
    n_train. An n_train below 1 means that no split was published: a keyed order of record numbers then sets `test_share` aside.

    Args:
        set: the file's name without its ending.
        test_share: part of the records in the score set, where the file tells no split.
    """

    name: str = "scene"
    set: str = "scene"
    test_share: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.test_share < 1:
            raise BadInput(f"test_share is {self.test_share!r}", why="it must lie strictly between 0 and 1")

    def _read(self, seed: int) -> MultiLabelData:
        path = self._place(f"{self.set}.npz")
        again = f"data.root=FOLDER with {path.name} (Mulan's sets are at mulan.sourceforge.net); there is no download"
        if not path.is_file():
            raise BadInput(f"the file of '{self.set}' is not there", why=f"{path} does not exist", mend=again)
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {key: held[key] for key in held.files}
        except Exception as error:  # Of a damaged archive numpy and zipfile raise whatever they stumble on.
            raise BadInput(
                f"cannot read {path}", why=f"it is no whole archive of arrays ({type(error).__name__})", mend=again
            ) from None
        try:
            parts = self._unpacked(arrays) if "n_train" in arrays else self._plain(arrays)
        except KeyError as error:
            raise BadInput(f"{path} lacks the array {error}", mend=again) from None
        except (TypeError, ValueError, IndexError) as error:
            raise BadInput(f"{path} holds arrays of another form ({type(error).__name__})", mend=again) from None
        inputs, labels, test, truth, names, how = parts
        protocol = f"{self.set}: {len(inputs):,} training and {len(test):,} score records, {how}."
        return MultiLabelData(inputs, labels, None, test, truth, None, names, self.name, protocol)

    def _plain(
        self, held: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...], str]:
        names = tuple(str(name) for name in held["label_names"])
        return held["X_train"], held["Y_train"], held["X_test"], held["Y_test"], names, "the published split"

    def _unpacked(
        self, held: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...], str]:
        inputs = np.unpackbits(held["X"], axis=1)[:, : int(held["d"])]
        labels, split = held["Y"], int(held["n_train"])
        names = tuple(str(name) for name in held.get("label_names", np.arange(labels.shape[1])))
        order, how = np.arange(len(inputs)), "the published split"
        if split <= 0:
            order = np.argsort(Manifest.make(len(inputs), len(inputs), key=f"{self.set} split").assignment)
            split = len(inputs) - round(len(inputs) * self.test_share)
            how = "split by a keyed order of record numbers"
        train, test = order[:split], order[split:]
        return inputs[train], labels[train], inputs[test], labels[test], names, how


@dataclass(frozen=True)
class MultiLabelSynthetic(MultiLabelSet):
    """Correlated labels with features that show them; see `multilabel_synthetic`.

    Args:
        train, test: number of records.
        classes, features, cardinality, factors, correlation, decay, noise: of `Correlated`.
    """

    name: str = "multilabel_synthetic"
    train: int = 10_000
    test: int = 3_000
    classes: int = Correlated.classes
    features: int = Correlated.features
    cardinality: float = Correlated.cardinality
    factors: int = Correlated.factors
    correlation: float = Correlated.correlation
    decay: float = Correlated.decay
    noise: float = Correlated.noise

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(train=self.train, test=self.test)
        self.generator()

    def generator(self) -> Correlated:
        """What draws the records."""
        return Correlated(
            self.classes, self.features, self.cardinality, self.factors, self.correlation, self.decay, self.noise
        )

    def _read(self, seed: int) -> MultiLabelData:
        generator = self.generator()
        inputs, labels = generator.draw(self.train, seed=seed, part="train")
        test, truth = generator.draw(self.test, seed=seed, part="test")
        names = tuple(f"label{number:02d}" for number in range(self.classes))
        protocol = f"{self.train:,} training and {self.test:,} score records from a Gaussian copula (synthetic)."
        return MultiLabelData(inputs, labels, None, test, truth, None, names, self.name, protocol)


@dataclass(frozen=True)
class Voc(MultiLabelSet):
    """Pascal VOC: trainval of `year` for training, the test part of 2007 for scoring (2012 has no public test labels).

    Args:
        year: 2007 or 2012.
        side: height and width that all images are resized to (pixels); the published size is 224.
    """

    name: str = "voc2007"
    year: int = 2007
    side: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(side=self.side)
        if self.year not in (2007, 2012):
            raise BadInput(f"year is {self.year!r}", mend="use 2007 or 2012")

    def _read(self, seed: int) -> MultiLabelData:
        if self.root is None:
            raise BadInput(f"the files of '{self.name}' are not there", why="no folder was given", mend=VOC_INSTALL)
        inputs, labels = read_voc(Path(self.root), str(self.year), "trainval", self.side)
        test, truth = read_voc(Path(self.root), "2007", "test", self.side)
        protocol = f"VOC{self.year} trainval is learnt from, VOC2007 test is scored; an image of a difficult object has its label."
        return MultiLabelData(inputs, labels, None, test, truth, None, VOC_CLASSES, self.name, protocol)


@dataclass(frozen=True)
class Coco(MultiLabelSet):
    """COCO 2014: the training part for training, the validation part for scoring; images without a marked object are left out.

    All images are held in memory: at 224 pixels 12 GB for training and 6 GB for the score set; a method that splits the training part
    holds it twice.

    Args:
        side: height and width that all images are resized to (pixels); the published size is 224.
    """

    name: str = "coco"
    side: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(side=self.side)

    def _read(self, seed: int) -> MultiLabelData:
        if self.root is None:
            raise BadInput(f"the files of '{self.name}' are not there", why="no folder was given", mend=COCO_INSTALL)
        inputs, labels, names = read_coco(Path(self.root), "train2014", self.side)
        test, truth, test_names = read_coco(Path(self.root), "val2014", self.side)
        if names != test_names:
            raise BadInput("COCO's two parts name different classes", mend=COCO_INSTALL)
        protocol = "COCO 2014 train is learnt from, val is scored; images without a marked object are left out."
        return MultiLabelData(inputs, labels, None, test, truth, None, names, self.name, protocol)


MULTILABEL_KINDS: dict[str, type[MultiLabelSet]] = {
    "multilabel_csv": MultiLabelCsv,
    "multilabel_npz": MultiLabelNpz,
    "multilabel_synthetic": MultiLabelSynthetic,
    "voc": Voc,
    "coco": Coco,
}


def _ordered(table: Table, names: tuple[str, ...] | None, path: Path) -> Table:
    """The table with its columns in the order of `names`, which it must have, no more and no less."""
    if names is None or table.columns == names:
        return table
    other = set(table.columns) ^ set(names)
    if other:
        raise BadInput(
            f"{path} has other columns than the training table",
            why=f"only one of them has {', '.join(sorted(other)[:3])}",
            mend="give both the same columns",
        )
    return Table(table.values[:, [table.columns.index(name) for name in names]], names, table.items)
