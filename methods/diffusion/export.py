"""A synthetic data set in forms that others read: arrays with its privacy statement inside, PNG files, one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...platform.errors import BadInput
from ...platform.privacy.statement import PrivacyStatement
from ...platform.training.files import write_text
from ..condensation.export import PICTURES, README, write_grid, write_images
from .synthetic import FILE, read_synthetic, write_synthetic

FORMATS = ("npz", *PICTURES)
SHOWN = 10  # images of each class in the picture


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """Images (n, c, h, w) uint8, labels (n,), names of the classes, and what may be said of the whole."""

    images: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    statement: PrivacyStatement

    @classmethod
    def read(cls, path: Path) -> SyntheticSet:
        """Read `synthetic.npz`.

        Raises:
            BadInput: it is something else, or its parts do not fit.
        """
        found = cls(*read_synthetic(path))
        images, labels = found.images, found.labels
        fits = images.ndim == 4 and images.dtype == np.uint8 and len(images) and labels.shape == images.shape[:1]
        if not fits or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise BadInput(
                f"{path} cannot be exported",
                why=f"it holds images {images.dtype} of shape {images.shape} and labels {labels.dtype} of shape {labels.shape}",
                mend="repeat the run that made it",
            )
        return found

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that can hold the set: a picture has one channel or three."""
        return tuple(name for name in FORMATS if name not in PICTURES or self.images.shape[1] in (1, 3))

    def export(self, folder: Path, formats: Sequence[str], *, told: Sequence[str]) -> None:
        """Write the set into an empty folder, with a README.txt.

        Args:
            folder: exists.
            formats: some of `formats`.
            told: lines for the README: where the set comes from, and its privacy statement.
        """
        if "npz" in formats:
            write_synthetic(folder / FILE, self.images, self.labels, self.names, self.statement)
        if "images" in formats:
            write_images(folder / "images", self.images, self.labels, self.names)
        if "grid" in formats:
            first = np.concatenate([np.flatnonzero(self.labels == k)[:SHOWN] for k in np.unique(self.labels)])
            write_grid(
                folder / "grid.png",
                torch.from_numpy(self.images[first]).float() / 255,
                torch.from_numpy(self.labels[first]),
            )
        write_text(folder / README, "\n".join([*self._about(), *told, "", *_files(formats)]) + "\n")

    def _about(self) -> Iterator[str]:
        count, channels, height, width = self.images.shape
        yield "A synthetic data set: images that a generator made. What may be said of the privacy of records stands below."
        size = f"{height} x {width} pixels, {channels} channel{'s' if channels > 1 else ''}"
        yield f"{count:,} images of {size}, {len(np.unique(self.labels))} classes."
        yield ""


def _files(formats: Sequence[str]) -> Iterator[str]:
    lines = {
        "npz": f"  {FILE}: `images` uint8 (n, c, h, w), `labels`, `classes` (names), `privacy` (the statement, JSON)",
        "images": "  images/: <class>/<number>.png; <number> counts through all classes",
        "grid": "  grid.png: some images of each class, one row a class",
    }
    yield "Files"
    yield from (text for name, text in lines.items() if name in formats)
