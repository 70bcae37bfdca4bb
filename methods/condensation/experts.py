"""DANCE's expert pool: networks trained on the real data, of which both the first and the trained weights are kept.

They depend on the data and the recipe only, so they lie in a folder that all runs share, under a hash of both; whoever needs them
first trains them, and who needs them meanwhile waits. Each is one piece of work that knows nothing of the others: a cluster may make
them side by side beforehand.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.privacy.validate import positive_int
from ...platform.training.files import canonical_json
from ...platform.training.progress import Reporter, Silent
from ...platform.training.run import LocalRun
from ...platform.training.seeds import seed_for
from ...platform.training.stages import MISSING
from .augment import Augmentation
from .encoders import fresh_network
from .recipe import Recipe, train_network
from .standard import Standard

STAGE = "expert"
LOCK = "lock"


@dataclass(frozen=True)
class ExpertPool:
    """How many experts, of which architecture, trained how.

    As published for 32-pixel sets: 60 epochs, of which the condensation uses 5 networks. `images`: train on the first so many images of
    each class only (None: all), for machines that cannot do more.
    """

    count: int = 5
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=60, augmentation=Augmentation("color_crop_cutout")))
    images: int | None = None

    def __post_init__(self) -> None:
        positive_int(count=self.count)
        if self.images is not None:
            positive_int(images=self.images)


@dataclass(frozen=True)
class Expert:
    """One expert to be made, or found: a piece of work for any process."""

    pool: ExpertPool
    number: int
    architecture: str
    data: ImageData
    standard: Standard
    shared: Path

    def folder(self) -> Path:
        """Where it lies: below a hash of all that it depends on."""
        return self.shared / "experts" / self.digest() / str(self.number)

    def digest(self) -> str:
        """Hash of data, recipe and architecture. (The data are named by content: an expert is no secret from whoever holds them.)"""
        return hashlib.sha256(canonical_json(self._inputs()).encode()).hexdigest()[:16]

    def made(self) -> bool:
        """Whether it is there already."""
        return LocalRun(self.folder(), seed=0, reporter=Silent()).find_stage(STAGE, self._inputs()) is not MISSING

    def make(self, device: str = "cpu", reporter: Reporter | None = None) -> Mapping[str, Mapping[str, Tensor]]:
        """Return first and trained weights, from an earlier start where there is one; wait where another process is at it."""
        run = LocalRun(self.folder(), seed=0, device=device, reporter=reporter)
        inputs = self._inputs()
        found = run.find_stage(STAGE, inputs)
        if found is not MISSING:
            return found
        with (self.folder() / LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                run.say(f"expert {self.number}: another run is making it, waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            # Looks once more: who had the lock before may have made it.
            return run.stage(STAGE, lambda: self._train(run), inputs)

    def _train(self, run: LocalRun) -> dict[str, dict[str, Tensor]]:
        network = fresh_network(
            self.architecture, self.data.shape, self.data.classes, seed_for(0, "expert", self.number)
        )
        first = {name: value.clone() for name, value in network.state_dict().items()}
        images, labels = (torch.from_numpy(part) for part in self._chosen())
        name = f"expert-{self.number}"
        train_network(run, network, images, labels, self.pool.recipe, self.standard, name=name, inputs=self._inputs())
        return {"first": first, "trained": {name: value.cpu() for name, value in network.state_dict().items()}}

    def _chosen(self) -> tuple[Any, Any]:
        if self.pool.images is None:
            return self.data.images, self.data.labels
        chosen = [(self.data.labels == k).nonzero()[0][: self.pool.images] for k in range(self.data.classes)]
        part = self.data.take([int(i) for own in chosen for i in own])
        return part.images, part.labels

    def _inputs(self) -> dict[str, Any]:
        pool = {k: v for k, v in asdict(self.pool).items() if k != "count"}
        return {
            "pool": pool, "number": self.number, "architecture": self.architecture, "data": self.data.content_hash(),
            "standard": asdict(self.standard),
        }  # fmt: skip
