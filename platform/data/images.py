"""Labelled images in memory: uint8, channels first, with the number of classes they may belong to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images (n, channels, height, width) uint8 and labels (n,) int64 in 0 .. classes - 1.

    >>> data = ImageData(np.zeros((3, 1, 8, 8), np.uint8), np.array([0, 1, 1]), classes=2, name="blank")
    >>> len(data), data.shape, len(data.take([0, 2]))
    (3, (1, 8, 8), 2)
    """

    images: np.ndarray
    labels: np.ndarray
    classes: int
    name: str

    def __post_init__(self) -> None:
        images, labels = check_images(self.images, self.name), np.asarray(self.labels)
        if labels.shape != (len(images),):
            raise BadInput(
                f"{self.name}: {len(images)} images, but labels of shape {labels.shape}", mend="give one label an image"
            )
        if labels.dtype.kind not in "iu":
            raise BadInput(f"{self.name}: labels are {labels.dtype}", mend="give whole numbers from 0")
        if self.classes < 2:
            raise BadInput(f"{self.name}: {self.classes} classes", why="a classifier needs at least two")
        if len(labels) and (labels.min() < 0 or labels.max() >= self.classes):
            # Which record it is stays unsaid: errors may travel further than records.
            raise BadInput(
                f"{self.name}: a label lies outside 0 .. {self.classes - 1}", mend="check the number of classes"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, indices: Any) -> ImageData:
        """The records with these numbers, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ImageData(self.images[chosen], self.labels[chosen], self.classes, self.name)

    def content_hash(self) -> str:
        """SHA-256 over shape, images and labels. It identifies private data: keep it where they are."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def check_images(images: Any, name: str) -> np.ndarray:
    """Return the images if they are uint8 (n, channels, height, width)."""
    array = np.asarray(images)
    if array.ndim != 4 or array.dtype != np.uint8:
        raise BadInput(
            f"{name}: images are {array.dtype} of shape {array.shape}",
            why="images are uint8 of shape (n, channels, height, width)",
            mend="scale to 0 .. 255, add the channel axis, convert with .astype(numpy.uint8)",
        )
    return array
