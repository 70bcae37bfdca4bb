"""TAR against the dense generalised eigenproblem, and against what its displacement must be."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from stillhouse.methods.dgd.conjugate_gradient import DAMPING
from stillhouse.methods.dgd.curvature import Curvature, Linearisation, rayleigh_quotient
from stillhouse.methods.dgd.tangent import exact_tangent_direction, tangent_direction, tangent_space
from stillhouse.platform.errors import BadInput
from torch import Tensor, nn


@pytest.fixture
def curvature(classifier: nn.Module, x: Tensor) -> Curvature:
    return Curvature(classifier, x)


@pytest.fixture
def manifold(decoder: nn.Module, z: Tensor) -> Linearisation:
    return Linearisation(decoder, z)


@pytest.fixture
def start(z: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(z.shape, dtype=z.dtype, generator=generator)


def top_eigenvalues(curvature: Curvature, manifold: Linearisation) -> Tensor:
    """Return the greatest generalised eigenvalues (B,) by SciPy."""
    j = manifold.jacobian()
    pairs = zip(curvature.form(j), j.mT @ j + DAMPING * torch.eye(j.shape[2], dtype=j.dtype), strict=True)
    return torch.tensor([scipy.linalg.eigh(a.numpy(), b.numpy(), eigvals_only=True)[-1] for a, b in pairs])


def test_curvature_does_not_fall_with_power_steps_nor_exceed_the_top(
    curvature: Curvature, manifold: Linearisation, start: Tensor
) -> None:
    quotients = []
    for steps in range(1, 13):
        eta = tangent_direction(curvature, manifold, start, radius=0.5, power_steps=steps, cg_steps=8).eta
        quotients.append(rayleigh_quotient(curvature, manifold, eta, damping=DAMPING))
    path, top = torch.stack(quotients), top_eigenvalues(curvature, manifold)
    first = rayleigh_quotient(curvature, manifold, start, damping=DAMPING)
    assert (first < path[0]).all()
    assert (path[1:] >= path[:-1] * (1 - 1e-9)).all()
    assert (path <= top * (1 + 1e-9)).all()
    assert (path[-1] > 0.99 * top).all()


def test_the_exact_direction_reaches_the_top(curvature: Curvature, manifold: Linearisation, start: Tensor) -> None:
    exact = exact_tangent_direction(curvature, manifold, manifold.jacobian(), radius=0.5)
    quotient = rayleigh_quotient(curvature, manifold, exact.eta, damping=DAMPING)
    assert torch.allclose(quotient, top_eigenvalues(curvature, manifold), rtol=1e-8)
    iterated = tangent_direction(curvature, manifold, start, radius=0.5, power_steps=300, cg_steps=8)
    assert ((exact.eta * iterated.eta).sum(1).abs() > 1 - 1e-6).all()


def test_a_warm_start_goes_on_where_it_stopped(curvature: Curvature, manifold: Linearisation, start: Tensor) -> None:
    eta = start
    for _ in range(3):
        eta = tangent_direction(curvature, manifold, eta, radius=0.5).eta
    once = tangent_direction(curvature, manifold, start, radius=0.5, power_steps=3)
    assert torch.allclose(eta, once.eta)
    assert torch.allclose(eta.norm(dim=1), torch.ones(len(eta), dtype=eta.dtype))


@pytest.mark.parametrize("exact", [False, True])
def test_the_displacement_lies_in_the_tangent_space_to_first_order(
    curvature: Curvature, manifold: Linearisation, start: Tensor, exact: bool
) -> None:
    j = manifold.jacobian()
    basis = torch.linalg.qr(j).Q
    lengths = 0.2 * 2.0 ** -torch.arange(6, dtype=torch.float64)
    outside = []
    for radius in lengths.tolist():
        if exact:
            r = exact_tangent_direction(curvature, manifold, j, radius=radius).displacement
        else:
            r = tangent_direction(curvature, manifold, start, radius=radius).displacement
        outside.append((r - (basis @ (basis.mT @ r[..., None]))[..., 0]).norm(dim=1))
    slopes = np.polyfit(lengths.log().numpy(), torch.stack(outside).log().numpy(), 1)[0]
    assert np.all((slopes > 1.8) & (slopes < 2.5)), slopes


def test_the_radius_is_a_length_in_the_image_or_in_the_latents(
    curvature: Curvature, manifold: Linearisation, decoder: nn.Module, z: Tensor, start: Tensor
) -> None:
    small = tangent_direction(curvature, manifold, start, radius=1e-4)
    assert torch.allclose(small.displacement.norm(dim=1), torch.full((len(z),), 1e-4, dtype=z.dtype), rtol=1e-2)
    latent = tangent_direction(curvature, manifold, start, radius=0.7, radius_in="latent")
    assert torch.equal(latent.eta, small.eta)
    assert torch.allclose(latent.displacement, decoder(z + 0.7 * latent.eta) - decoder(z), atol=1e-14)
    exact = exact_tangent_direction(curvature, manifold, manifold.jacobian(), radius=1e-4)
    assert torch.allclose(exact.displacement.norm(dim=1), torch.full((len(z),), 1e-4, dtype=z.dtype), rtol=1e-2)


def test_dead_latents_and_sure_answers_are_survived(x: Tensor, z: Tensor, start: Tensor) -> None:
    weight = torch.randn(x.shape[1], z.shape[1], dtype=z.dtype, generator=torch.Generator().manual_seed(5))
    weight[:, 2:] = 0
    ignoring = Linearisation(lambda latents: latents @ weight.T, z)
    lively = Curvature(lambda images: images[:, :4] * torch.tensor([1.0, -2.0, 0.5, 1.0], dtype=z.dtype), x)
    for found in (
        tangent_direction(lively, ignoring, start, radius=0.5),
        exact_tangent_direction(lively, ignoring, ignoring.jacobian(), radius=0.5),
    ):
        assert found.eta[:, 2:].abs().max() < 1e-9
        assert torch.allclose(found.displacement.norm(dim=1), torch.full((len(z),), 0.5, dtype=z.dtype))
    certain = Curvature(lambda images: torch.tensor([2000.0, 0.0], dtype=z.dtype) + 0 * images[:, :2], x)
    kept = tangent_direction(certain, ignoring, start, radius=0.5)
    assert torch.allclose(kept.eta, start / start.norm(dim=1, keepdim=True))
    flat = Linearisation(lambda latents: 0 * latents @ weight.T, z)
    assert torch.equal(tangent_direction(lively, flat, start, radius=0.5).displacement, torch.zeros_like(x))


def test_the_tangent_space_is_an_orthonormal_basis_of_the_range() -> None:
    j = torch.randn(3, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    j[1, :, 3] = j[1, :, 0] - 2 * j[1, :, 1]
    j[2] = 0
    rows = tangent_space(j)
    ranks = (rows.norm(dim=2) > 0.5).sum(1)
    assert ranks.tolist() == [4, 3, 0]
    squares = rows @ rows.mT
    assert (squares - torch.diag_embed(squares.diagonal(dim1=1, dim2=2).round())).abs().max() < 1e-12
    assert (rows.mT @ (rows @ j) - j).abs().max() < 1e-10


def test_too_many_latents_are_refused(curvature: Curvature, manifold: Linearisation) -> None:
    with pytest.raises(BadInput, match="65 latents"):
        exact_tangent_direction(curvature, manifold, torch.zeros(6, 12, 65), radius=0.5)
    with pytest.raises(BadInput, match="normal"):
        tangent_space(torch.zeros(1, 4, 4))
