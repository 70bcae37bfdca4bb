"""Inner products and unit vectors of a batch, one per sample: everything behind the first axis is one vector.

>>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), otherwise=torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist()
[[0.6000000238418579, 0.800000011920929], [1.0, 0.0]]
"""

from __future__ import annotations

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products (B,) of two batches (B, ...) of one shape."""
    return (a * b).flatten(1).sum(1)


def column(values: Tensor, like: Tensor) -> Tensor:
    """Return `values` (B,) shaped (B, 1, ..., 1), to multiply the samples of `like` (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def unit(v: Tensor, *, otherwise: Tensor) -> Tensor:
    """Return `v` (B, ...) with every sample at L2 norm 1; a sample that is zero or not finite gives way to that of `otherwise`."""
    # By the largest entry first: the squares of a confident student's products would underflow in single precision.
    largest = column(v.flatten(1).abs().amax(1), v)
    usable = (largest > 0) & largest.isfinite()
    scaled = torch.where(usable, v, 1.0) / torch.where(usable, largest, 1.0)
    return torch.where(usable, scaled / column(inner(scaled, scaled).sqrt(), v), otherwise)


def random_unit(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform random directions of the shape, type and device of `like` (B, ...), drawn on the generator's device."""
    drawn = torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
    return drawn / column(inner(drawn, drawn).sqrt(), drawn)
