"""A synthetic data set in a file that any NumPy reads: `synthetic.npz` with images, labels, class names, and what may be said of it.

>>> import tempfile
>>> from ...platform.privacy.statement import public
>>> path = Path(tempfile.mkdtemp()) / "synthetic.npz"
>>> write_synthetic(path, np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), ["zero", "one"], public())
>>> images, labels, names, told = read_synthetic(path)
>>> images.shape, labels.tolist(), names, told.epsilon
((2, 1, 8, 8), [0, 1], ['zero', 'one'], 0.0)
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...platform.errors import BadInput
from ...platform.privacy.statement import PrivacyStatement
from ...platform.training.files import replace

FILE = "synthetic.npz"


def write_synthetic(
    path: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], statement: PrivacyStatement
) -> None:
    """Write images (n, c, h, w) uint8, labels (n,), class names and the privacy statement (JSON)."""

    def fill(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez_compressed(
                file, images=images, labels=labels, classes=np.array(list(names), dtype=np.str_),
                privacy=np.array(json.dumps(statement.to_json())),
            )  # fmt: skip

    replace(path, fill)


def read_synthetic(path: Path) -> tuple[np.ndarray, np.ndarray, list[str], PrivacyStatement]:
    """Read it.

    Raises:
        BadInput: the file is missing, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            told = PrivacyStatement.from_json(json.loads(str(file["privacy"])))
            return file["images"], file["labels"], file["classes"].tolist(), told
    except (OSError, KeyError, zipfile.BadZipFile, ValueError) as error:
        raise BadInput(
            f"{path} is not a synthetic data set",
            why=type(error).__name__,
            mend="give the synthetic.npz of a finished run",
        ) from None
