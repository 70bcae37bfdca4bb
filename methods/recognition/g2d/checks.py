"""How well the first stage draws, beside two fillings that need no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from ....platform.data.faces import FaceImages
from ....platform.data.resampling import Resampler
from .batches import FaceBatches
from .inpainting import Inpainter, hidden_error, mean_fill
from .mask_map import MaskMap

AT_ONCE = 64


def mean_face(faces: FaceImages, rows: Tensor, resampler: Resampler, size: int) -> Tensor:
    """The mean (3, size, size) of faces, pixel by pixel."""
    total = torch.zeros(3, size, size, dtype=torch.float64)
    for part in rows.split(AT_ONCE):
        pictures = torch.from_numpy(faces.read(part.numpy())).float() / 255
        total += resampler.resize(pictures, size).double().sum(0)
    return (total / len(rows)).float()


@torch.no_grad()
def drawing_errors(
    inpainter: Inpainter, maps: MaskMap, faces: FaceBatches, mean: Tensor, *, seed: int, device: torch.device
) -> dict[str, float]:
    """Mean absolute error in what masks hide, over faces: of the drawing, of each face's mean visible colour, of the mean face."""
    inpainter.eval()
    found: dict[str, list[Tensor]] = {"drawn": [], "mean_fill": [], "mean_face": []}
    for batch in faces.fixed(seed, device=device):
        filled = {
            "drawn": inpainter(batch.seen, maps(batch.seen)),
            "mean_fill": mean_fill(batch.true, batch.hidden),
            "mean_face": mean.to(device).expand_as(batch.true),
        }
        for name, pictures in filled.items():
            found[name].append(hidden_error(pictures, batch.true, batch.hidden))
    # A mask that hides less than half of every small pixel counts for nothing.
    return {name: float(torch.cat(errors).nanmean()) for name, errors in found.items()}
