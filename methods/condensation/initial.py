"""What a condensed set starts from: real images of each class, chosen and laid out as tiles, or noise.

`first` takes the first images of a class as they come in the data set: what the published code calls random, and M3D and DANCE use.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...platform.errors import BadInput
from .encoders import Encoder, Seeds
from .formation import compose
from .forward import Forward
from .real import RealImages
from .selection import SELECTIONS, select
from .standard import Standard

FROM_RECORDS = ("first", *SELECTIONS)
KINDS = (*FROM_RECORDS, "noise", "class_means")
BY_FEATURES = ("herding", "k_center", "k_means")


def check_kind(kind: str, *, dp: bool) -> None:
    """Refuse an unknown start, and one that would show records under a promised epsilon."""
    allowed = ("noise", "class_means") if dp else (*FROM_RECORDS, "noise")
    if kind not in allowed:
        why = "records would be in what is released" if dp and kind in KINDS else f"the starts are {', '.join(allowed)}"
        raise BadInput(f"initial is {kind!r}", why=why, mend=f"use one of {', '.join(allowed)}")


def from_records(
    kind: str, real: RealImages, ipc: int, factor: int, shrink: str, *, encoder: Encoder, standard: Standard,
    forward: Forward, seed_for: Seeds, device: torch.device,
) -> tuple[Tensor, np.ndarray]:  # fmt: skip
    """Return images (C, ipc, c, h, w) in [0, 1] made of ipc * factor^2 records a class, and these records' numbers."""
    stored, used = [], []
    for c in range(real.classes):
        pixels = real.of_class(c)
        count = ipc * factor**2
        if kind == "first":
            chosen = torch.arange(count)
        else:
            by_features = kind in BY_FEATURES
            features = _features(pixels, encoder, standard, forward, device) if by_features else pixels[:, :1, 0, 0]
            generator = torch.Generator().manual_seed(seed_for("initial", c))
            chosen = select(kind, features, count, generator)
        stored.append(compose(pixels[chosen], factor, shrink))
        used.append(real.numbers[c][chosen.numpy()])
    return torch.stack(stored), np.concatenate(used)


def noise(classes: int, ipc: int, shape: tuple[int, int, int], *, seed: int) -> Tensor:
    """Images (C, ipc, c, h, w) of independent uniform pixels in [0, 1]."""
    return torch.rand(classes, ipc, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _features(pixels: Tensor, encoder: Encoder, standard: Standard, forward: Forward, device: torch.device) -> Tensor:
    return torch.cat([forward(encoder.features, [standard(part.to(device))])[0] for part in pixels.split(512)])
