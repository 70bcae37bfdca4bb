"""What a method works on that learns from labelled images: the images (where they are private: their curator), and a test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..platform.data.images import ImageData
from ..platform.training.progress import Reporter
from .private import Curator


@dataclass(frozen=True)
class LabelledData:
    """Labelled images to learn from and labelled images that are only scored on.

    `train` is None for a method that promises an epsilon: it never holds records, and asks the `curator`, who charges. `shared` is a
    folder for what runs on the same data share; `identity` names the records without telling anything about them (a keyed hash).
    `epsilon` and `delta` are what the run may cost.
    """

    train: ImageData | None
    test: ImageData
    protocol: str
    identity: str
    shared: Path
    epsilon: float = float("inf")
    delta: float = 0.0
    curator: Curator | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.test.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.test.shape


class Preparation(Protocol):
    """A piece of work that a method needs done before it starts, and that knows nothing of the others: a cluster may do it anywhere."""

    def folder(self) -> Path:
        """Where its result lies."""

    def made(self) -> bool:
        """Whether it is there already."""

    def make(self, device: str = "cpu", reporter: Reporter | None = None) -> Mapping[str, Any]:
        """Make it, or find it."""
