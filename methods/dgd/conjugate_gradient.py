"""Conjugate gradients for a batch of small systems that are known by their products only (Hestenes & Stiefel 1952)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...platform.errors import BadInput
from .inner import inner

# Added to the diagonal: a latent that the decoder ignores makes J^T J singular.
DAMPING = 1e-6


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    steps: int = 4,
    damping: float = DAMPING,
    tolerance: float = 1e-12,
) -> Tensor:
    """Return x (B, n) with (B_i + damping I) x_i ~ b_i, from x = 0, for positive semi-definite B_i.

    A sample stops by itself, and keeps what it has, when its squared residual is at most `tolerance` times that of x = 0 (relative,
    because the directions sought do not depend on b's length), or when its system shows itself not positive or not finite. Samples
    do not touch one another.

    Args:
        product: v (B, n) -> B v, sample by sample.
        b: right-hand sides (B, n); a zero one is solved by zero.
        steps: at most so many products.
        damping: in the units of B.
        tolerance: relative squared residual.

    Raises:
        BadInput: `b` is not a matrix or `steps` is below 1.
    """
    if b.ndim != 2 or steps < 1:
        raise BadInput(f"right-hand sides of shape {tuple(b.shape)}, {steps} steps", why="(B, n) and at least 1")
    x, residual, direction = torch.zeros_like(b), b, b
    squared = inner(b, b)
    enough = tolerance * squared
    for _ in range(steps):
        image = product(direction) + damping * direction
        bent = inner(direction, image)
        active = (squared > enough) & (bent > 0) & bent.isfinite()
        if not active.any():
            break
        # `where`, not a product with 0: what is masked may be infinite.
        step = torch.where(active, squared / bent, 0.0)[:, None]
        x = torch.where(active[:, None], x + step * direction, x)
        residual = torch.where(active[:, None], residual - step * image, residual)
        squared, before = inner(residual, residual), squared
        ratio = torch.where(active, squared / before, 0.0)[:, None]
        direction = torch.where(active[:, None], residual + ratio * direction, direction)
    return x
