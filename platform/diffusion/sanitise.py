"""The sanitiser of output gradients: rows are clipped, noise is added, and only then does anything reach the student's weights.

    u = upstream(x, ...)                       # x = student(...), its graph kept
    surrogate(x, sanitised(u, clip=1.0, deviation=2 * noise_multiplier, noise=SystemNoise())).backward()

By the chain rule dL/dtheta = u dx/dtheta. If x_in, hence dx/dtheta, follows from earlier releases alone, what moves the weights is
post-processing of the sanitised u. Where a student is fed records, it is not, whatever the noise: the update lies in the rows of a
Jacobian that tells the record.

The teacher depends on every record of its shard, so one record may move each row of a batch by 2 C: the accounts are about that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..privacy.noise import Noise
from ..privacy.sums import SUM_UNITS
from ..privacy.validate import non_negative, positive

# Just inside the ball, so that a clipped row is not clipped again for the last bit of its length.
_INSIDE = {torch.float32: 1 - 2.0**-20, torch.float64: 1 - 2.0**-48}


def clip_rows(rows: Tensor, clip: float) -> Tensor:
    """Rows (B, ...) of L2 length `clip` at most: u min(1, C / |u|). A row that is not finite becomes zero.

    >>> clip_rows(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.0000, 0.5000]])
    """
    positive(clip=clip)
    flat = rows.flatten(1).double()
    lengths = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    scale = torch.where(lengths <= clip, 1.0, clip * _INSIDE[rows.dtype] / lengths)
    finite = torch.isfinite(flat).all(1, keepdim=True)
    return torch.where(finite, flat * scale, 0.0).to(rows.dtype).view_as(rows)


def normalise_rows(rows: Tensor, length: float = 1.0) -> Tensor:
    """Rows (B, ...) brought to the L2 length C = `length`, longer and shorter ones alike: C u / |u|; 0 where u is 0 or not finite.

    >>> normalise_rows(torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """
    positive(length=length)
    flat = rows.flatten(1).double()
    lengths = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    known = torch.isfinite(lengths) & (lengths > 0)
    return torch.where(known, flat * (length * _INSIDE[rows.dtype] / lengths), 0.0).to(rows.dtype).view_as(rows)


def with_noise(rows: Tensor, deviation: float, noise: Noise) -> Tensor:
    """Rows plus independent Gaussian noise of this standard deviation on every number."""
    non_negative(deviation=deviation)
    if not deviation:
        return rows
    drawn = torch.from_numpy(noise.gaussian(SUM_UNITS, tuple(rows.shape)))
    return rows + (drawn * (deviation / SUM_UNITS)).to(rows)


def sanitised(rows: Tensor, *, clip: float, deviation: float, noise: Noise, normalise: bool = False) -> Tensor:
    """Clipped rows (or, with `normalise`, rows of that very length) with noise. The bound on a row, and so the cost, is the same."""
    bounded = normalise_rows(rows.detach(), clip) if normalise else clip_rows(rows.detach(), clip)
    return with_noise(bounded, deviation, noise)


def surrogate(output: Tensor, upstream: Tensor) -> Tensor:
    """(1/B) sum_i <u_i, x_i>: a number whose gradient by the weights behind `output` (B, ...) is (1/B) sum_i u_i dx_i/dtheta.

    It is the only way from u to the weights, and it is the same for all variants; its value means nothing.
    """
    return (upstream.detach().to(output).view_as(output) * output).sum() / len(output)
