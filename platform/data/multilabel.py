"""Records with several yes-or-no labels each, which are partly wrong: what a method that learns from them works on.

Three records, two labels; the second label of the last record was flipped:

>>> data = MultiLabelData(
...     inputs=np.zeros((3, 4), np.float32), labels=np.array([[1, 0], [0, 1], [1, 1]]), clean_labels=np.array([[1, 0], [0, 1], [1, 0]]),
...     test_inputs=np.zeros((1, 4), np.float32), test_labels=np.array([[0, 1]]), rates=None, class_names=("cat", "dog"), name="pets",
...     protocol="",
... )
>>> len(data), data.classes, data.cardinality
(3, 2, 1.3333333333333333)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .images import check_images

MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class MultiLabelData:
    """N records with q labels each to learn from, and records with clean labels that are only scored on.

    Args:
        inputs: features (N, D) float32, or images (N, c, h, w) uint8.
        labels: the labels as they were given, wrong ones among them, (N, q) of 0 and 1.
        clean_labels: the true labels (N, q), or None. For references (gold selection) and diagnostics: no estimator sees them.
        test_inputs, test_labels: the score set, with clean labels.
        rates: what the noise was made with, (q, 2): P(given 1 | true 0) and P(given 0 | true 1) for each class; None: unknown.
            For references and for scoring an estimate.
        class_names: q names.
        name: of the data set.
        protocol: sentences on how the parts and the noise were made.

    Raises:
        BadInput: shapes do not fit, features are not finite, labels are not 0 or 1, or some label is the same in every row.
    """

    inputs: np.ndarray
    labels: np.ndarray
    clean_labels: np.ndarray | None
    test_inputs: np.ndarray
    test_labels: np.ndarray
    rates: np.ndarray | None
    class_names: tuple[str, ...]
    name: str
    protocol: str

    def __post_init__(self) -> None:
        for part in ("inputs", "test_inputs"):
            object.__setattr__(self, part, _inputs(getattr(self, part), f"{self.name}: {part}"))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for part, rows in (("labels", len(self.inputs)), ("test_labels", len(self.test_inputs))):
            found = binary(getattr(self, part), f"{self.name}: {part}", self.class_names)
            object.__setattr__(self, part, self._sized(found, part, rows))
        if self.clean_labels is not None:
            clean = binary(self.clean_labels, f"{self.name}: clean_labels", self.class_names)
            object.__setattr__(self, "clean_labels", self._sized(clean, "clean_labels", len(self.inputs)))
        if self.inputs.shape[1:] != self.test_inputs.shape[1:] or self.inputs.dtype != self.test_inputs.dtype:
            raise BadInput(
                f"{self.name}: training records have shape {self.inputs.shape[1:]}, the score set's {self.test_inputs.shape[1:]}",
                why="a network takes one shape and type",
            )
        if len(set(self.class_names)) != self.classes:
            raise BadInput(f"{self.name}: two labels have the same name", mend="name each label once")
        self._refuse_constant_labels()
        if self.rates is not None:
            object.__setattr__(self, "rates", self._checked_rates(self.rates))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def classes(self) -> int:
        """Number of labels, q."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record: (D,) or (c, h, w)."""
        return tuple(self.inputs.shape[1:])

    @property
    def cardinality(self) -> float:
        """Mean number of labels that a record has, as they were given."""
        return float(self.labels.sum(dtype=np.int64) / len(self.labels))

    def content_hash(self) -> str:
        """SHA-256 over all that is learnt from and scored on. It identifies private data: keep it where they are."""
        parts = [self.inputs, self.labels, self.clean_labels, self.test_inputs, self.test_labels, self.rates]
        shapes = [None if part is None else (part.shape, str(part.dtype)) for part in parts]
        digest = hashlib.sha256(repr((shapes, self.class_names)).encode())
        for part in parts:
            if part is not None:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def _sized(self, labels: np.ndarray, part: str, rows: int) -> np.ndarray:
        if labels.shape != (rows, self.classes):
            raise BadInput(
                f"{self.name}: {part} are of shape {labels.shape}, not {(rows, self.classes)}",
                why=f"there are {rows} records and {self.classes} names of labels",
                mend="give each record one 0 or 1 for each label",
            )
        return labels

    def _refuse_constant_labels(self) -> None:
        count = self.labels.sum(0, dtype=np.int64)
        for wrong, why in (
            (count == len(self.labels), "every training row has it, so that nothing tells it from its absence"),
            (count == 0, "no training row has it, so that nothing can be learnt about it"),
        ):
            if wrong.any():
                raise BadInput(
                    f"{self.name}: label {named(self.class_names, wrong)} never changes",
                    why=why,
                    mend="leave it out, or add rows",
                )

    def _checked_rates(self, rates: Any) -> np.ndarray:
        found = np.asarray(rates, dtype=np.float64)
        if found.shape != (self.classes, 2) or not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
            raise BadInput(
                f"{self.name}: flip rates are not {self.classes} pairs of numbers in [0, 1]",
                mend="give P(1 | 0) and P(0 | 1) for each label",
            )
        return found


def binary(labels: Any, what: str, class_names: tuple[str, ...]) -> np.ndarray:
    """Return labels as uint8 (n, q) of 0 and 1; anything else is refused, by the names of the columns."""
    found = np.asarray(labels)
    if found.ndim != 2 or found.dtype.kind not in "biuf" or len(found) == 0:
        raise BadInput(f"{what} are {found.dtype} of shape {found.shape}", why="they are (n, q) of 0 and 1, n >= 1")
    odd = ~((found == 0) | (found == 1))
    if odd.any():
        names = class_names if len(class_names) == found.shape[1] else tuple(str(j) for j in range(found.shape[1]))
        raise BadInput(
            f"{what} hold something else than 0 and 1 under {named(names, odd.any(0))}",
            why=f"{int(odd.sum())} entries are neither",
            mend="write 1 where a record has the label, 0 where it has not; leave out rows of which that is unknown",
        )
    return found.astype(np.uint8)


def named(names: tuple[str, ...], which: np.ndarray) -> str:
    """The first few of the names that are marked."""
    chosen = [name for name, marked in zip(names, which, strict=True) if marked]
    more = f" and {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
    return ", ".join(chosen[:MOST_NAMED]) + more


def _inputs(inputs: Any, what: str) -> np.ndarray:
    found = np.asarray(inputs)
    if found.ndim == 4:
        return check_images(found, what)
    if found.ndim != 2 or found.dtype.kind not in "biuf" or 0 in found.shape:
        raise BadInput(
            f"{what} are {found.dtype} of shape {found.shape}",
            why="records are features (n, D) or uint8 images (n, c, h, w), at least one",
        )
    found = found.astype(np.float32)
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise BadInput(
            f"{what} hold {int(wrong.sum())} values that are not finite",
            why=f"they are in {int(wrong.any(1).sum())} rows and {int(wrong.any(0).sum())} columns",
            mend="fill missing values in, or leave these rows or columns out",
        )
    return found
