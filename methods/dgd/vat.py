"""The direction in image space in which a classifier's answer changes fastest (VAT; Miyato et al. 2018, arXiv 1704.03976)."""

from __future__ import annotations

from torch import Tensor

from .curvature import Curvature
from .inner import unit


def vat_direction(curvature: Curvature, start: Tensor, *, radius: float, power_steps: int = 1) -> Tensor:
    """Return radius * d, shaped as the images, after `power_steps` of d <- normalise(H d) from `start`, of that shape.

    The paper's power iteration with the exact product in place of a finite difference. A sample whose H d is zero keeps its start.
    """
    d = unit(start, otherwise=start)
    for _ in range(power_steps):
        d = unit(curvature.product(d), otherwise=d)
    return radius * d
