"""The direction along a decoder's manifold in which a classifier's answer changes fastest (TAR; Yu et al. 2019, arXiv 1808.06088).

It maximises eta^T J^T H J eta for a fixed length of J eta: the generalised eigenproblem (J^T H J) eta = lambda (J^T J) eta, by power
iteration with conjugate gradients, or densely for few latents.

What a radius means. The paper's constraint is ||J eta|| = radius, a length in the image; the published code takes a step of that length
in the latents, ||eta|| = radius (and in the maximum norm, by a slip). Here the paper's is the default and the other an option. All
norms are L2, so the published eps1 = 5 is no guide for either.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...platform.errors import BadInput
from .conjugate_gradient import DAMPING, conjugate_gradient
from .curvature import Curvature, Linearisation
from .inner import column, inner, unit

RadiusIn = Literal["image", "latent"]
EXACT_AT_MOST = 64


class Tangent(NamedTuple):
    """A direction along the manifold.

    Attributes:
        displacement: g(z + s eta) - g(z), shaped as the images: a finite step that stays on the manifold; zero where J eta is.
        eta: the latents' direction (B, zV), L2 norm 1; the next start for the same samples.
    """

    displacement: Tensor
    eta: Tensor


def tangent_direction(
    curvature: Curvature,
    manifold: Linearisation,
    start: Tensor,
    *,
    radius: float,
    radius_in: RadiusIn = "image",
    power_steps: int = 1,
    cg_steps: int = 4,
    damping: float = DAMPING,
) -> Tangent:
    """Return the direction after `power_steps` of eta <- normalise(solve(J^T J + damping I, J^T H J eta)).

    Args:
        curvature: of the classifier, at the images.
        manifold: the decoder at the latents (B, zV). Its images are the point or its reconstruction; only its shape must agree.
        start: directions (B, zV), none of them zero: random, or those found for these samples before.
        radius: length of the step, in the units of `radius_in`.
        radius_in: "image": ||J eta|| = radius to first order; "latent": ||eta|| = radius.
        power_steps: each costs 2 + `cg_steps` products with J and J^T, and one with H.
        cg_steps: of conjugate gradients, a power step.
        damping: added to J^T J.

    A sample whose answer has no curvature along the manifold keeps its start.
    """
    eta = unit(start, otherwise=start)
    for _ in range(power_steps):
        bent = manifold.vjp(curvature.product(manifold.jvp(eta)))
        eta = unit(conjugate_gradient(manifold.gram, bent, steps=cg_steps, damping=damping), otherwise=eta)
    return Tangent(_displacement(manifold, eta, manifold.jvp(eta), radius=radius, radius_in=radius_in), eta)


def exact_tangent_direction(
    curvature: Curvature,
    manifold: Linearisation,
    jacobian: Tensor,
    *,
    radius: float,
    radius_in: RadiusIn = "image",
    damping: float = DAMPING,
) -> Tangent:
    """Return the top eigenvector instead, from the decoder's `jacobian` (B, d, zV) = manifold.jacobian(); zV at most 64.

    Raises:
        BadInput: there are more latents than that.
    """
    latents = jacobian.shape[2]
    if latents > EXACT_AT_MOST:
        raise BadInput(
            f"exact directions for {latents} latents",
            why=f"dense systems are for at most {EXACT_AT_MOST}",
            mend="leave `exact` and `whole_tangent_space` off",
        )
    # In double precision: J^T J squares the condition number of J.
    wide = jacobian.double()
    lengths = wide.mT @ wide + damping * torch.eye(latents, dtype=wide.dtype, device=wide.device)
    root = torch.linalg.cholesky(lengths)
    half = torch.linalg.solve_triangular(root, curvature.form(jacobian).double(), upper=False)
    reduced = torch.linalg.solve_triangular(root, half.mT, upper=False)
    top = torch.linalg.eigh((reduced + reduced.mT) / 2).eigenvectors[:, :, -1:]
    eta = torch.linalg.solve_triangular(root.mT, top, upper=True)[:, :, 0].to(jacobian.dtype)
    eta = unit(eta, otherwise=eta)
    along = (jacobian @ eta[:, :, None]).reshape(manifold.output.shape)
    return Tangent(_displacement(manifold, eta, along, radius=radius, radius_in=radius_in), eta)


def tangent_space(jacobian: Tensor) -> Tensor:
    """Return an orthonormal basis (B, m, d) of range(J), J (B, d, m); a row is zero where J has not full rank.

    Raises:
        BadInput: the manifold has as many dimensions as the image: nothing would be normal to it.
    """
    size, latents = jacobian.shape[1:]
    if latents >= size:
        raise BadInput(
            f"{latents} latents for images of {size} numbers", why="no direction is normal to such a manifold"
        )
    basis, lengths, _ = torch.linalg.svd(jacobian, full_matrices=False)
    least = size * torch.finfo(jacobian.dtype).eps * lengths[:, :1]
    return torch.where((lengths > least)[:, :, None], basis.mT, 0.0)


def _displacement(manifold: Linearisation, eta: Tensor, along: Tensor, *, radius: float, radius_in: RadiusIn) -> Tensor:
    lengths = inner(along, along).sqrt()
    visible = lengths > 0
    steps = torch.where(visible, radius / torch.where(visible, lengths, 1.0), 0.0)
    if radius_in == "latent":
        steps = torch.full_like(steps, radius)
    with torch.no_grad():
        return manifold.function(manifold.point + column(steps, eta) * eta) - manifold.output
