"""Orders of frames that are not natural: what the temporal module pushes away.

Each is a permutation that moves half of the frames or more, and is neither the natural order nor its exact reversal (motion that runs
backwards looks natural to a network that does not know the people).

>>> draw = torch.Generator().manual_seed(0)
>>> shuffled_orders("segment", 2, 8, draw).tolist()
[[4, 5, 6, 7, 0, 1, 2, 3], [0, 1, 4, 5, 2, 3, 6, 7]]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ....platform.errors import BadInput
from .form import LEAST_FRAMES

PIECES = 4
WINDOW = 4


def shuffled_orders(kind: str, count: int, length: int, generator: Generator) -> Tensor:
    """Orders int64 (count, length): row i lists the frames that clip i shows.

    Args:
        kind: frame (any order), segment (four pieces change places) or local (frames change places within windows of four).
        count, length: how many, of how many frames.
        generator: of the draws.

    Raises:
        BadInput: too few frames, or another kind.
    """
    if kind not in _DRAWS:
        raise BadInput(f"shuffle is {kind!r}", mend=f"use one of {', '.join(_DRAWS)}")
    if length < LEAST_FRAMES:
        raise BadInput(f"{length} frames cannot be shuffled", mend=f"use clips of {LEAST_FRAMES} or more")
    orders = torch.empty(count, length, dtype=torch.int64)
    missing = torch.arange(count)
    while len(missing):
        drawn = _DRAWS[kind](len(missing), length, generator)
        good = unnatural(drawn)
        orders[missing[good]] = drawn[good]
        missing = missing[~good]
    return orders


def unnatural(orders: Tensor) -> Tensor:
    """Whether each order (n, T) moves half of the frames or more and is no reversal: bool (n,). (The natural one moves none.)"""
    natural = torch.arange(orders.shape[1])
    moved = (orders != natural).sum(1)
    return (2 * moved >= orders.shape[1]) & (orders != natural.flip(0)).any(1)


def in_order(features: Tensor, orders: Tensor) -> Tensor:
    """Features (B, S, T, C) with the frames of each clip in the order of its row of (B, T)."""
    where = orders.to(features.device)[:, None, :, None].expand_as(features)
    return features.gather(2, where)


def _frame(count: int, length: int, generator: Generator) -> Tensor:
    return torch.rand(count, length, generator=generator).argsort(1)


def _segment(count: int, length: int, generator: Generator) -> Tensor:
    pieces = torch.arange(length).tensor_split(PIECES)
    orders = torch.rand(count, PIECES, generator=generator).argsort(1)
    return torch.stack([torch.cat([pieces[piece] for piece in order]) for order in orders.tolist()])


def _local(count: int, length: int, generator: Generator) -> Tensor:
    # Windows keep their places because their numbers are larger than any draw.
    windows = torch.arange(length) // WINDOW
    return (torch.rand(count, length, generator=generator) + 2 * windows).argsort(1)


_DRAWS: dict[str, Callable[[int, int, Generator], Tensor]] = {"frame": _frame, "segment": _segment, "local": _local}
