"""Batches of pictures with their numbers and labels, from memory or disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ...platform.data.faces import Pictures
from ...platform.data.identity_batches import IdentityBatches
from ...platform.errors import BadInput
from ...platform.training.run import Run
from ...platform.training.world import World
from .recipe import Recipe

Numbered = tuple[Tensor, Tensor, Tensor]  # numbers (B,), labels (B,), pictures uint8 (B, c, h, w)


class EvenBatches(Sampler[list[int]]):
    """This process's part of random batches of nearly equal sizes: none is left over, and none has a single record.

    `batch_size` counts the records of all processes; parts that would differ in size are filled from the front of the order.
    """

    def __init__(self, size: int, batch_size: int, *, generator: torch.Generator, world: World) -> None:
        if size < 2 * world.size or batch_size < 2 * world.size:
            raise BadInput(
                f"{size} records in batches of {batch_size} for {world.size} processes",
                why="each process needs two records of every batch: batch norms and relations have no meaning for one",
                mend="give more records, a larger batch or fewer processes",
            )
        self._size, self._generator, self._world = size, generator, world
        self._batches = max(1, round(size / batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self._size, generator=self._generator)
        for batch in order.tensor_split(self._batches):
            missing = -len(batch) % self._world.size
            whole = torch.cat([batch, order[:missing]])
            yield whole[self._world.rank :: self._world.size].tolist()

    def __len__(self) -> int:
        return self._batches


class _Numbered(Dataset[Numbered]):
    def __init__(self, pictures: Pictures, labels: np.ndarray) -> None:
        self._pictures, self._labels = pictures, torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitems__(self, numbers: list[int]) -> Numbered:
        chosen = torch.as_tensor(numbers)
        return chosen, self._labels[chosen], torch.from_numpy(self._pictures.read(numbers))


def training_batches(run: Run, pictures: Pictures, labels: np.ndarray, recipe: Recipe) -> DataLoader[Any]:
    """Batches for `loop.train`: random, or so many people with so many pictures each.

    Raises:
        BadInput: too few records; for batches of people, somebody with a single picture.
    """
    sampler: Sampler[list[int]]
    if recipe.people_per_batch:
        sampler = IdentityBatches(
            labels, recipe.people_per_batch, recipe.pictures_per_person, run.generator, world=run.world
        )
    else:
        sampler = EvenBatches(len(labels), recipe.batch_size, generator=run.generator, world=run.world)
    pinned = run.device.type == "cuda"
    return DataLoader(_Numbered(pictures, labels), batch_sampler=sampler, collate_fn=_as_is, pin_memory=pinned)


def _as_is(batch: Any) -> Any:
    return batch
