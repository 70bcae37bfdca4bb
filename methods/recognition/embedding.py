"""Embeddings of many pictures: a network's answer about a picture and its mirror image, shared out among the processes of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...platform.data.faces import Pictures
from ...platform.training.run import Run
from .seen import Seen

PIECE = 128
Prepare = Callable[[Tensor], Tensor]


class Network(Protocol):
    """Pictures (B, c, h, w) in [0, 1] to a `Seen`."""

    def __call__(self, pictures: Tensor, /) -> Seen:
        """The network's view of them."""


@torch.no_grad()
def both_ways(network: Network, pictures: Tensor) -> Tensor:
    """Embeddings (B, 2, D) of pictures, as they are and mirrored; the network must be in evaluation mode."""
    return torch.stack([network(view).embedding.float() for view in (pictures, pictures.flip(3))], 1)


def embed(
    run: Run, network: Network, pictures: Pictures, prepare: Prepare, *, numbers: np.ndarray | None = None, piece: int = PIECE
) -> np.ndarray:  # fmt: skip
    """Embeddings (n, 2, D) float32 of pictures and of their mirror images, in the order of `numbers` (None: all).

    Args:
        run: each of its processes embeds its part; the result is whole on all of them.
        network: in evaluation mode, on the run's device.
        pictures: where pixels lie.
        prepare: from floats (B, c, h, w) in [0, 1] to what the network sees: degraded, for a student.
        numbers: of the pictures.
        piece: pictures at a time.
    """
    chosen = np.arange(len(pictures)) if numbers is None else np.asarray(numbers, np.int64)
    own = chosen[run.world.rank :: run.world.size]
    found = []
    for start in range(0, len(own), piece):
        pixels = torch.from_numpy(pictures.read(own[start : start + piece])).to(run.device)
        found.append(both_ways(network, prepare(pixels.float() / 255)).cpu().numpy())
    return _interleaved(run.gather(np.concatenate(found) if found else None), len(chosen))


def _interleaved(parts: list[Any], count: int) -> np.ndarray:
    filled = next(part for part in parts if part is not None)
    whole = np.empty((count, *filled.shape[1:]), filled.dtype)
    for rank, part in enumerate(parts):
        if part is not None:
            whole[rank :: len(parts)] = part
    return whole


def templates(embeddings: np.ndarray, *, flip: bool) -> np.ndarray:
    """(n, D) from (n, 2, D): the sum over a picture and its mirror image, or the picture's alone. Not normalised."""
    return np.asarray(embeddings.sum(1) if flip else embeddings[:, 0])
