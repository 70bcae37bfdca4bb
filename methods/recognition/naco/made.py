"""Forgeries that are made of real clips while a detector learns: self-blended ones, and clips whose frames are out of order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from ....platform.data.videos import REAL, JoinedTracks, Tracks, VideoSet
from ....platform.training.seeds import seed_for
from .clips import augmented, draw_augmentation
from .consistency import own_generator
from .self_blending import self_blended
from .settings import NacoSettings
from .shuffles import in_order, shuffled_orders

BLENDED, SHUFFLED = "self_blended", "shuffled"


@dataclass(frozen=True)
class Maker:
    """How clips are forged.

    Args:
        kind: self_blended or shuffled.
        each: of self-blended ones: whether what is drawn is drawn for each frame or once a clip.
        shuffle: of shuffled ones: frame, segment or local.
    """

    kind: str
    each: str = "frame"
    shuffle: str = "frame"

    def __call__(self, frames: Tensor, generator: Generator) -> Tensor:
        """Forge clips, uint8 (n, T, 3, S, S)."""
        if self.kind == BLENDED:
            return self_blended(frames, generator, each=self.each)
        orders = shuffled_orders(self.shuffle, len(frames), frames.shape[1], generator)
        rows = frames.flatten(2)[:, None]
        return in_order(rows, orders)[:, 0].unflatten(2, frames.shape[2:])


@dataclass(frozen=True, eq=False)
class MadeTracks:
    """Tracks that are forged as they are read, `length` frames at a time; the same frames come out the same each time."""

    whole: Tracks
    maker: Maker
    length: int
    seed: int

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def side(self) -> int:
        """Height and width of every frame."""
        return self.whole.side

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        return self.whole.frames(number)

    def fps(self, number: int) -> float:
        """Its frames per second."""
        return self.whole.fps(number)

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, forged; a rest that is too short for a clip stays as it is."""
        read = torch.from_numpy(np.asarray(self.whole.read(number, frames)).copy())
        generator = Generator().manual_seed(seed_for(self.seed, number))
        whole = len(read) // self.length * self.length
        if whole:
            clips = read[:whole].unflatten(0, (-1, self.length))
            read[:whole] = self.maker(clips, generator).flatten(0, 1)
        return read.numpy()

    def track_hash(self, number: int) -> str:
        """SHA-256 that changes with any frame of the real track and with how it is forged."""
        told = f"{self.whole.track_hash(number)} {self.maker} {self.length} {self.seed} {number}"
        return hashlib.sha256(told.encode()).hexdigest()


def with_made(videos: VideoSet, maker: Maker, *, length: int, seed: int) -> VideoSet:
    """The real tracks of a set, and beside each a forgery of it; no other."""
    real = videos.take(np.flatnonzero(~videos.forged))
    count = len(real)
    return VideoSet(
        JoinedTracks([real.tracks, MadeTracks(real.tracks, maker, length, seed)]),
        np.repeat([False, True], count), np.tile(real.identities, 2), (REAL,) * count + (maker.kind,) * count,
        (*real.names, *(f"{name}, {maker.kind}" for name in real.names)),
        np.concatenate([np.full(count, -1), np.arange(count)]),
    )  # fmt: skip


def learned_pixels(settings: NacoSettings, frames: Tensor, maker: Maker | None) -> tuple[Tensor, Generator]:
    """Input of the network: forged clips, real clips, and second ones where there are any; and the generator of further draws.

    `frames`: uint8 (b, 2 or 3, T, 3, S, S).
    """
    own, clips, count = settings.finetuning, settings.clips, len(frames)
    generator = own_generator()
    forged, real = frames[:, 0], frames[:, 1]
    if maker is not None:
        forged = maker(forged, generator)
    draw = draw_augmentation(own.augmentation, clips, count if own.pairs else 2 * count, generator)
    parts = [augmented(torch.cat([forged, real]), draw.twice() if own.pairs else draw, clips)]
    if frames.shape[1] == 3:
        parts.append(augmented(frames[:, 2], draw_augmentation(own.augmentation, clips, count, generator), clips))
    return torch.cat(parts), generator
