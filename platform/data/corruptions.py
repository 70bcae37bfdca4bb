"""What happens to pictures on their way to a camera's file: blur, noise, lossy compression, tone. Each takes one strength a picture.

Pictures are float (n, c, height, width) in [0, 1] and stay so. Randomness comes from a generator that is given, and is drawn on its
device, so that a seed means the same pictures on a CPU and on a GPU.
"""

from __future__ import annotations

import importlib
import io
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MissingExtra

# Gaussians are cut off where less than 0.3 % of their mass is left.
REACH = 3.0
# Below this a Gaussian on whole pixels is a single 1.
NO_BLUR = 1e-3


def from_kornia(module: str, name: str) -> Any:
    """Return `name` of kornia's submodule `module`.

    Raises:
        MissingExtra: kornia is not installed.
    """
    try:
        return getattr(importlib.import_module(f"kornia.{module}"), name)
    except ImportError as error:
        raise MissingExtra(
            "realistic degradation needs kornia",
            why=str(error),
            mend="pip install -e '.[recognition]' in the source folder",
        ) from None


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur picture i by a Gaussian of standard deviation sigma[i] pixels; edges are continued. Needs kornia.

    >>> gaussian_blur(torch.ones(1, 1, 8, 8), torch.tensor([2.0])).sum().round().item()
    64.0
    """
    reach = max(1, math.ceil(REACH * float(sigma.max())))
    both = sigma.to(images).clamp(min=NO_BLUR)[:, None].expand(-1, 2)
    blur = from_kornia("filters", "gaussian_blur2d")
    return blur(images, (2 * reach + 1, 2 * reach + 1), both, border_type="replicate").clamp(0, 1)


def motion_blur(images: Tensor, length: Tensor, angle: Tensor) -> Tensor:
    """Smear picture i over a straight path of length[i] pixels at angle[i] (radians); length 0 leaves it. Needs kornia."""
    kernels = motion_kernels(length, angle).to(images)
    filtered = from_kornia("filters", "filter2d")(images, kernels, border_type="replicate")
    return filtered.clamp(0, 1)


def motion_kernels(length: Tensor, angle: Tensor) -> Tensor:
    """(n, k, k): what a point becomes, with k as the longest path needs it; each sums to 1.

    A pixel's weight is 1 less its distance to the path, so a path between whole angles and lengths has soft edges.

    >>> motion_kernels(torch.tensor([0.0]), torch.tensor([0.3])).tolist()
    [[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    half = length / 2
    reach = max(1, math.ceil(float(half.max())))
    steps = torch.arange(-reach, reach + 1, dtype=length.dtype, device=length.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    cos, sin = (turn[:, None, None] for turn in (angle.cos(), angle.sin()))
    end = half[:, None, None]
    along = torch.minimum(torch.maximum(x * cos + y * sin, -end), end)
    distance = torch.hypot(x - along * cos, y - along * sin)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum((1, 2), keepdim=True)


def gaussian_noise(images: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Add independent Gaussian noise of standard deviation sigma[i] to picture i."""
    drawn = torch.randn(images.shape, generator=generator, device=generator.device, dtype=torch.float32).to(images)
    return (images + drawn * sigma.to(images)[:, None, None, None]).clamp(0, 1)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Write picture i as a JPEG file of quality[i] (1 .. 100) and read it again; 1 or 3 channels. It has no gradient."""
    raw = images.detach().mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = np.empty_like(raw)
    for after, before, chosen in zip(read, raw, quality.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(before.squeeze(2) if before.shape[2] == 1 else before).save(file, "JPEG", quality=int(chosen))
        with Image.open(file, formats=["JPEG"]) as image:
            after[:] = np.asarray(image).reshape(before.shape)
    return torch.from_numpy(read).permute(0, 3, 1, 2).to(images) / 255


def tone(images: Tensor, gamma: Tensor, gain: Tensor) -> Tensor:
    """Return gain[i] * picture ** gamma[i]: a gamma above 1 and a gain below 1 darken."""
    bent = images.clamp(min=0) ** gamma.to(images)[:, None, None, None]
    return (bent * gain.to(images)[:, None, None, None]).clamp(0, 1)
