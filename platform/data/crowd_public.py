"""Published crowds, by the layout of their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import BadInput
from . import sources
from .crowd import CrowdAnswers, CrowdData
from .crowd_files import read_answers, read_gold
from .crowd_items import NamedInputs, read_archive, read_inputs
from .crowd_join import crowd_in_words, joined
from .crowd_sample import check_sizes, sampled
from .pseudonyms import pseudonyms

LABELME_CLASSES = (
    "highway", "inside city", "tall building", "street", "forest", "coast", "mountain", "open country",
)  # fmt: skip
MUSIC_CLASSES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
MUSIC_FILES = ("music_genre_mturk.csv", "music_genre_gold.csv", "music_genre_test.csv")
CIFAR10N_COLUMNS = ("random_label1", "random_label2", "random_label3")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class LabelMe:
    """LabelMe's outdoor scenes: 1,000 images, 59 annotators of Amazon Mechanical Turk, 8 classes (Rodrigues and Pereira, AAAI 2018).

    Args:
        name: of the data set.
        root: folder with the file.
        file: an npz with `answers` (n, R), -1 where there is none; `X_train`, `X_test` (features), `y_train` and `y_test`. Those of
            `X_valid` are not used.
    """

    provides: ClassVar[str] = "crowd"
    name: str = "labelme"
    root: str | None = None
    file: str = "labelme.npz"

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Read the file. Annotators are its columns, in their order, which says nothing: the publisher left the names out.

        Raises:
            BadInput: the file is absent or not what it should be.
        """
        path = _folder(self.root, self.name, self.file) / self.file
        held = read_archive(path, ("answers", "X_train", "X_test", "y_train", "y_test"))
        answers = held["answers"]
        if answers.ndim != 2 or answers.dtype.kind not in "i":
            raise BadInput(
                f"{path}: answers are {answers.dtype} of shape {answers.shape}", why="they are numbers (n, R)"
            )
        items, columns = np.nonzero(answers >= 0)
        count = answers.shape[1]
        crowd = CrowdAnswers(items, columns, answers[items, columns], len(answers), count, len(LABELME_CLASSES))
        names = [f"annotator {n + 1}" for n in range(count)]
        return CrowdData(
            inputs=held["X_train"],
            answers=crowd,
            truth=held["y_train"],
            test_inputs=held["X_test"],
            test_labels=held["y_test"],
            item_names=tuple(f"training {n}" for n in range(len(answers))),
            annotator_names=tuple(pseudonyms(names, key) if key else names),
            class_names=LABELME_CLASSES,
            name=self.name,
            protocol=(
                f"LabelMe: averaged VGG features. {crowd_in_words(crowd, test=len(held['y_test']))} Its validation part is not used."
            ),
        )


@dataclass(frozen=True)
class Music:
    """Music genres: 700 songs with answers, 300 test songs, 124 features, 10 classes (Rodrigues, Pereira and Ribeiro, 2013).

    Args:
        name: of the data set.
        root: folder with music_genre_mturk.csv (id, annotator, features, class), music_genre_gold.csv and music_genre_test.csv (id,
            features, class).
        standardise: features to mean 0 and standard deviation 1 over the training songs: their scales differ by 10,000.
    """

    provides: ClassVar[str] = "crowd"
    name: str = "music"
    root: str | None = None
    standardise: bool = True

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Read the files.

        Raises:
            BadInput: a file is absent or not what it should be.
        """
        folder = _folder(self.root, self.name, *MUSIC_FILES)
        turk, gold, test = (folder / file for file in MUSIC_FILES)
        train_part, test_part = (read_inputs(path, item="id", ignored=("class",)) for path in (gold, test))
        if train_part.inputs.shape[1] != test_part.inputs.shape[1]:
            raise BadInput(f"{gold} and {test} have different numbers of features", mend="fetch the files again")
        both = NamedInputs(
            gold, train_part.names + test_part.names, np.concatenate([train_part.inputs, test_part.inputs])
        )
        if len(set(both.names)) != len(both.names):
            raise BadInput(f"{gold} and {test} share a song", mend="fetch the files again")
        return joined(
            both,
            read_answers(turk, item="id", label="class"),
            read_gold(test, item="id", label="class"),
            read_gold(gold, item="id", label="class"),
            classes=MUSIC_CLASSES,
            key=key,
            name=self.name,
            standardise=self.standardise,
            about="Music genres, Marsyas features. ",
        )


@dataclass(frozen=True)
class Cifar10N:
    """CIFAR-10N: three human labels for each CIFAR-10 training image (Wei et al., ICLR 2022), as three annotators.

    Args:
        name: of the data set.
        root: folder with the images, and with the labels if `labels` is a relative path.
        images: cifar10, or cifar10_jpeg: its lossy copies.
        labels: an npz with `clean_label` and random_label1 to random_label3, each (50000,), in CIFAR-10's order.
        train: training images, drawn by the seed; None: all.
        test: test images, drawn by the seed; None: all.
    """

    provides: ClassVar[str] = "crowd"
    name: str = "cifar10n"
    root: str | None = None
    images: str = "cifar10"
    labels: str = "cifar10n_labels.npz"
    train: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        if self.images not in ("cifar10", "cifar10_jpeg"):
            raise BadInput(f"{self.name}: unknown images '{self.images}'", mend="use cifar10 or cifar10_jpeg")
        check_sizes(self.train, self.test)

    def load(self, *, seed: int, key: bytes) -> CrowdData:
        """Read labels and images. The columns are no people, so that they keep their names.

        Raises:
            BadInput: files are absent, or the images do not stand in the order of the labels.
        """
        path = _folder(self.root, self.name, self.labels) / self.labels
        held = read_archive(path, ("clean_label", *CIFAR10N_COLUMNS))
        given = sources.whole_test_set(sources.load(self.images, root=self.root))
        private, score = given.private, given.score
        if any(column.shape != private.labels.shape for column in held.values()):
            raise BadInput(f"{path} does not hold {len(private):,} labels of each sort", mend="fetch the file again")
        if not np.array_equal(held["clean_label"], private.labels):
            raise BadInput(
                f"{path} and the images of {self.images} are not in one order",
                why="their true classes differ",
                mend="use CIFAR-10's own order for both",
            )
        chosen, test = sampled(len(private), self.train, seed, 0), sampled(len(score), self.test, seed, 1)
        labels = np.stack([held[column][chosen] for column in CIFAR10N_COLUMNS], axis=1)
        items, columns = np.indices(labels.shape).reshape(2, -1)
        crowd = CrowdAnswers(items, columns, labels.ravel(), len(chosen), labels.shape[1], private.classes)
        return CrowdData(
            inputs=private.images[chosen],
            answers=crowd,
            truth=private.labels[chosen],
            test_inputs=score.images[test],
            test_labels=score.labels[test],
            item_names=tuple(f"training {n}" for n in chosen),
            annotator_names=CIFAR10N_COLUMNS,
            class_names=CIFAR10_CLASSES,
            name=self.name,
            protocol=(
                f"CIFAR-10N: {given.about}{crowd_in_words(crowd, test=len(test))} The annotators are the columns random_label1 to "
                "random_label3, each of which many workers filled: they are alike by construction. Nor do the worker numbers "
                "published beside the labels help: by each reading of their order, accuracies differ between workers no more than by "
                "chance (chi-square 0.91 to 1.08 a degree of freedom). No gain from modelling annotators can be claimed on these data."
            ),
        )


def _folder(root: str | None, name: str, *files: str) -> Path:
    missing = [file for file in files if root is None or not (Path(root) / file).is_file()]
    if missing or root is None:
        raise BadInput(
            f"the files of '{name}' are not there",
            why=f"{root} lacks {', '.join(missing)}" if root else "no folder was given",
            mend=f"data.root=FOLDER with {', '.join(files)}, which cannot be downloaded",
        )
    return Path(root)
