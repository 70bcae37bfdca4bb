"""Batches of clips: which videos, which starts; drawn from the run's generator alike on every process, each reads its part.

A batch of stage 1 holds two clips of each of B real videos. A batch of stage 2 holds B / 2 forged clips, and a real clip beside each:
the clip that the forgery was made from where that is known, at the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ....platform.data.videos import NO_SOURCE, VideoSet
from ....platform.errors import BadInput
from ....platform.training.run import Run
from ....platform.training.world import World
from .clips import clip_frames, starts
from .form import Clips

Row = tuple[tuple[int, ...], ...]  # places: number of a track, what else tells where (view), first frame


class Rows(Sampler[list[Row]]):
    """`batches` batches of `size` rows; rows come in random order, each item once before any comes again."""

    def __init__(
        self, items: int, batches: int, size: int, place: Callable[[int, Generator], Row], generator: Generator, world: World
    ) -> None:  # fmt: skip
        if size % world.size:
            raise BadInput(
                f"batches of {size} clips for {world.size} processes",
                mend="use a batch size that the processes share evenly",
            )
        self._items, self._batches, self._size, self._place = items, batches, size, place
        self._generator, self._world = generator, world

    def __iter__(self) -> Iterator[list[Row]]:
        waiting: list[int] = []
        for _ in range(self._batches):
            while len(waiting) < self._size:
                waiting += torch.randperm(self._items, generator=self._generator).tolist()
            batch = [self._place(item, self._generator) for item in waiting[: self._size]]
            waiting = waiting[self._size :]
            yield batch[self._world.rank :: self._world.size]

    def __len__(self) -> int:
        return self._batches


class _Clips(Dataset[tuple[Tensor, Tensor]]):
    """Numbers of the first clips' tracks (b,), and clips uint8 (b, k, T, 3, S, S) of rows of k places."""

    def __init__(self, videos: VideoSet, clips: Clips) -> None:
        self._videos, self._clips = videos, clips

    def __len__(self) -> int:
        return len(self._videos)

    def __getitems__(self, rows: list[Row]) -> tuple[Tensor, Tensor]:
        read = [
            np.stack([read_clip(self._videos, number, start, self._clips) for number, start in row]) for row in rows
        ]
        return torch.tensor([row[0][0] for row in rows]), torch.from_numpy(np.stack(read))


def read_clip(videos: VideoSet, number: int, start: int, clips: Clips) -> np.ndarray:
    """One clip: uint8 (T, 3, S, S)."""
    return videos.tracks.read(number, clip_frames(videos.tracks.frames(number), start, clips))


def real_batches(
    run: Run, videos: VideoSet, numbers: np.ndarray, clips: Clips, *, batches: int, size: int
) -> DataLoader[Any]:
    """Two clips of each of `size` videos a batch: uint8 (b, 2, T, 3, S, S), with the videos' numbers."""

    def place(item: int, generator: Generator) -> Row:
        number = int(numbers[item])
        places = starts(videos.tracks.frames(number), clips)
        return tuple((number, below(places, generator)) for _ in range(2))

    return _loader(run, videos, clips, Rows(len(numbers), batches, size, place, run.generator, run.world))


def forged_batches(
    run: Run, videos: VideoSet, numbers: np.ndarray, clips: Clips, *, batches: int, size: int, pairs: bool, second: bool
) -> DataLoader[Any]:  # fmt: skip
    """A forged clip, a real clip, and with `second` another clip of the real video: uint8 (size / 2, 2 or 3, T, 3, S, S).

    `numbers` are the forged tracks to learn from. Real ones among them stand for forgeries that are made of them later.
    """
    real = np.flatnonzero(~videos.forged)
    partner = partners(videos) if pairs else None

    def place(item: int, generator: Generator) -> Row:
        number = int(numbers[item])
        other = NO_SOURCE if partner is None else int(partner[number])
        frames = videos.tracks.frames(number)
        if other == NO_SOURCE:
            other = int(real[below(len(real), generator)])
            own, its = (
                below(starts(frames, clips), generator),
                below(starts(videos.tracks.frames(other), clips), generator),
            )
        else:
            own = its = below(starts(min(frames, videos.tracks.frames(other)), clips), generator)
        row: Row = ((number, own), (other, its))
        if second:
            row += ((other, below(starts(videos.tracks.frames(other), clips), generator)),)
        return row

    return _loader(run, videos, clips, Rows(len(numbers), batches, size // 2, place, run.generator, run.world))


def partners(videos: VideoSet) -> np.ndarray:
    """The real track beside each one, int64 (n,): a forged one's source, a real one itself; -1 where the source is not known."""
    return np.where(videos.forged, videos.source, np.arange(len(videos)))


def below(bound: int, generator: Generator) -> int:
    """A whole number from 0 to bound - 1."""
    return int(torch.randint(bound, (1,), generator=generator))


def _loader(run: Run, videos: VideoSet, clips: Clips, rows: Rows) -> DataLoader[Any]:
    return DataLoader(
        _Clips(videos, clips), batch_sampler=rows, collate_fn=_as_is, pin_memory=run.device.type == "cuda"
    )  # fmt: skip


def _as_is(batch: Any) -> Any:
    return batch
