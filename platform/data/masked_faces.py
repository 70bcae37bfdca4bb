"""Copies of faces that wear synthetic masks, to learn from and to be scored on; where the masks are is remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from .faces import FaceImages, InMemory

BATCH = 64


class PutsMasks(Protocol):
    """What `face_masks.MaskMaker` does."""

    def put(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """From float (n, 3, h, w) in [0, 1] to the masked pictures and the masks' opacity (n, 1, h, w)."""


@dataclass(frozen=True, eq=False)
class MaskedFaces:
    """The faces, of which some were given masks, and the masks' opacity: uint8 (n, 1, h, w), 0 where nothing was put."""

    faces: FaceImages
    alpha: np.ndarray


def with_masks(faces: FaceImages, maker: PutsMasks, *, fraction: float = 1.0, seed: int) -> MaskedFaces:
    """Return the same faces in the same order, in memory, a fraction of the bare ones with a mask.

    Faces that wear a real mask keep it and are marked as masked, like those that are given one.

    Args:
        faces: n pictures.
        maker: puts the masks.
        fraction: of the bare faces, 0 to 1; which ones is drawn.
        seed: decides what is drawn, whoever else draws.

    Raises:
        BadInput: the fraction is none, or nobody knows which faces are bare.
    """
    if not 0 <= fraction <= 1:
        raise BadInput(f"fraction is {fraction!r}", why="it is a part of the faces", mend="use 0 to 1")
    if not faces.wearers_known:
        raise BadInput(
            "synthetic masks on faces of whom some wear a real one",
            why="nobody knows who, and a mask over a mask is none that anybody wears",
            mend="tell who wears one, by data.mask_labels or data.mask_pattern",
        )
    real = np.zeros(len(faces), bool) if faces.masked is None else np.asarray(faces.masked, dtype=bool)
    bare = np.flatnonzero(~real)
    drawn = np.random.default_rng(seed).permutation(bare)[: round(fraction * len(bare))]
    chosen = np.sort(drawn)
    pixels = faces.read(np.arange(len(faces)))
    alpha = np.zeros((len(faces), 1, *faces.size), np.uint8)
    generator = torch.Generator().manual_seed(seed)
    for part in np.split(chosen, range(BATCH, len(chosen), BATCH)):
        if len(part):
            images, opacity = maker.put(torch.from_numpy(pixels[part]).float() / 255, generator)
            pixels[part] = _bytes(images)
            alpha[part] = _bytes(opacity)
    masked = real.copy()
    masked[chosen] = True
    return MaskedFaces(replace(faces, pictures=InMemory(pixels), masked=masked), alpha)


def _bytes(images: Tensor) -> np.ndarray:
    return np.asarray((images.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
