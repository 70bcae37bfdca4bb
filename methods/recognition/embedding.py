"""Embeddings of many pictures: a network's answer about a picture and its mirror image, shared out among the processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...platform.data.faces import Pictures
from ...platform.errors import BadInput
from ...platform.training.run import Run
from .seen import Seen

PIECE = 128
MOST_BYTES = 8 * 2**30  # of kept maps
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
    found = [both_ways(network, prepare(pixels)).cpu().numpy() for pixels in _pieces(run, pictures, own, piece)]
    return _interleaved(run.gather(np.concatenate(found) if found else None), len(chosen))


@torch.no_grad()
def maps_of(run: Run, network: Network, pictures: Pictures, *, piece: int = PIECE) -> tuple[np.ndarray, ...]:
    """Feature maps of all pictures and of their mirror images, each (n, 2, C, h, w) float16, from early to late.

    As `embed` asks. BadInput if a value is too large for half precision, or all take more than eight gigabytes.
    """
    own = np.arange(run.world.rank, len(pictures), run.world.size)
    found: list[tuple[np.ndarray, ...]] = []
    for pixels in _pieces(run, pictures, own, piece):
        views = [network(view).maps for view in (pixels, pixels.flip(3))]
        if not found:
            _check_room(len(pictures) * 2 * sum(one[0].numel() for one in views[0]))
        found.append(tuple(torch.stack(pair, 1).half().cpu().numpy() for pair in zip(*views, strict=True)))
        if not all(np.isfinite(one).all() for one in found[-1]):
            raise BadInput(
                "a feature map of the teacher has values above 65,504", why="kept maps are in half precision",
                mend="leave method.teacher.cache out",
            )  # fmt: skip
    parts = run.gather([np.concatenate(one) for one in zip(*found, strict=True)] if found else None)
    depth = len(next(part for part in parts if part is not None))
    return tuple(
        _interleaved([part if part is None else part[level] for part in parts], len(pictures)) for level in range(depth)
    )


def _check_room(numbers: int) -> None:
    if 2 * numbers > MOST_BYTES:
        raise BadInput(
            f"the teacher's maps of all training pictures would take {2 * numbers / 2**30:.0f} GiB",
            why=f"at most {MOST_BYTES // 2**30} are kept in memory", mend="leave method.teacher.cache out",
        )  # fmt: skip


def _pieces(run: Run, pictures: Pictures, numbers: np.ndarray, piece: int) -> Iterator[Tensor]:
    for start in range(0, len(numbers), piece):
        pixels = torch.from_numpy(pictures.read(numbers[start : start + piece])).to(run.device)
        yield pixels.float() / 255


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
