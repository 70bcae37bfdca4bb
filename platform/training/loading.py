"""Batches: which records a training sees, in which order, on which process.

The order is drawn from the run's generator, the same on every process; each process takes its part of every batch.
So two processes see together what one would have seen alone, and their averaged gradient is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from ..errors import BadInput
from .world import World


class GlobalBatches(Sampler[list[int]]):
    """Indices of this process's part of each batch.

    `batch_size` counts the records of all processes together. A last batch that cannot be shared out evenly is filled
    up with records from the front of the order.
    """

    def __init__(self, size: int, batch_size: int, *, shuffle: bool, generator: torch.Generator, world: World) -> None:
        if batch_size < world.size or size < world.size:
            raise BadInput(
                f"{size} records in batches of {batch_size} cannot be shared by {world.size} processes",
                why="each process needs a record of every batch",
                mend="use fewer processes or a larger batch",
            )
        self._size, self._batch_size, self._shuffle = size, batch_size, shuffle
        self._generator, self._world = generator, world

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self._size, generator=self._generator) if self._shuffle else torch.arange(self._size)
        for start in range(0, self._size, self._batch_size):
            batch = order[start : start + self._batch_size]
            missing = -len(batch) % self._world.size
            batch = torch.cat([batch, order[:missing]])
            yield batch[self._world.rank :: self._world.size].tolist()

    def __len__(self) -> int:
        return -(-self._size // self._batch_size)


class _WholeBatches(Dataset[tuple[torch.Tensor, ...]]):
    """A tensor data set that hands out a batch by one indexing instead of record by record (some 50 times faster)."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self._tensors[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[index] for tensor in self._tensors)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, ...]:
        where = torch.as_tensor(indices)
        return tuple(tensor[where] for tensor in self._tensors)


def make_loader(
    dataset: Any, batch_size: int, *, shuffle: bool, generator: torch.Generator, world: World, pinned: bool = False
) -> DataLoader[Any]:
    """A loader over a tensor, a tuple of tensors, a `TensorDataset`, or any data set that counts and indexes.

    `pinned` batches lie in memory that a GPU copies from while it computes; asked for on a machine without one, torch warns.
    """
    if isinstance(dataset, torch.Tensor):
        dataset = (dataset,)
    if isinstance(dataset, tuple):
        dataset = TensorDataset(*dataset)
    batches = GlobalBatches(len(dataset), batch_size, shuffle=shuffle, generator=generator, world=world)
    if type(dataset) is TensorDataset:
        pinned = pinned and all(tensor.device.type == "cpu" for tensor in dataset.tensors)
        return DataLoader(_WholeBatches(dataset.tensors), batch_sampler=batches, collate_fn=_as_is, pin_memory=pinned)
    return DataLoader(dataset, batch_sampler=batches, pin_memory=pinned)


def _as_is(batch: Any) -> Any:
    return batch
