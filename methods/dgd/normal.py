"""The direction off the manifold in which a classifier's answer changes fastest (NAR; Yu et al. 2019, arXiv 1808.06088).

It maximises d^T H d over unit vectors orthogonal to the tangent displacement, by power iteration with a hard projection. (The
published code projects the previous d in place of H d and adds a multiple of it, which leaves the result orthogonal only roughly.)
The paper asks for orthogonality to one tangent direction; to the whole tangent space is an option here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .curvature import Curvature
from .inner import unit


def normal_direction(
    curvature: Curvature,
    tangent: Tensor,
    start: Tensor,
    *,
    radius: float,
    power_steps: int = 1,
    tangent_space: Tensor | None = None,
) -> Tensor:
    """Return radius * d, shaped as the images, after `power_steps` of d <- normalise((I - U^T U) H d).

    Args:
        curvature: of the classifier, at the images.
        tangent: displacements along the manifold, shaped as the images; a zero one excludes nothing.
        start: random directions, shaped as the images.
        radius: L2 length in the image.
        power_steps: each costs one product with H.
        tangent_space: rows (B, m, d), orthonormal or zero, that the result must be orthogonal to as well.

    A sample whose H d vanishes off the manifold keeps its projected start.
    """
    flat = tangent.flatten(1)
    excluded = flat.new_zeros(len(flat), 0, flat.shape[1]) if tangent_space is None else tangent_space
    excluded = torch.cat([excluded, _outside(flat, excluded, otherwise=torch.zeros_like(flat))[:, None]], dim=1)
    outside = start.flatten(1)
    d = _outside(outside, excluded, otherwise=outside)
    for _ in range(power_steps):
        bent = curvature.product(d.reshape(start.shape)).flatten(1)
        d = _outside(bent, excluded, otherwise=d)
    return (radius * d).reshape(start.shape)


def _outside(v: Tensor, excluded: Tensor, *, otherwise: Tensor) -> Tensor:
    """Return the unit vectors (B, d) along the parts of `v` outside `excluded` (B, m, d); `otherwise` where only rounding is left."""
    v = unit(v, otherwise=torch.zeros_like(v))
    # Twice is enough (Parlett 1980): once leaves a remainder that is not small against a nearly excluded v.
    rest = v
    for _ in range(2):
        rest = rest - (excluded.mT @ (excluded @ rest[:, :, None]))[:, :, 0]
    real = rest.norm(dim=1, keepdim=True) > 10 * torch.finfo(v.dtype).eps
    return unit(torch.where(real, rest, 0.0), otherwise=otherwise)
