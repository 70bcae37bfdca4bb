"""NAR: orthogonal to what it must be, and stronger than chance."""

from __future__ import annotations

import pytest
import torch
from stillhouse.methods.dgd.curvature import Curvature, Linearisation
from stillhouse.methods.dgd.divergence import kl
from stillhouse.methods.dgd.inner import random_unit
from stillhouse.methods.dgd.normal import normal_direction
from stillhouse.methods.dgd.tangent import tangent_direction, tangent_space
from torch import Tensor, nn
from torch.nn import functional as F


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double(), dim=1).abs()


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
@pytest.mark.parametrize("steps", [1, 5])
def test_it_is_orthogonal_to_the_tangent_and_has_the_radius(
    classifier: nn.Module, x: Tensor, generator: torch.Generator, kind: torch.dtype, steps: int
) -> None:
    x = x.to(kind)
    curvature = Curvature(classifier.to(kind), x)
    tangent, start = 1e-3 * random_unit(x, generator), random_unit(x, generator)
    # The hard case: the tangent is where the curvature points anyhow.
    tangent[0] = curvature.product(curvature.product(start))[0]
    found = normal_direction(curvature, tangent, start, radius=0.5, power_steps=steps)
    assert cosines(found, tangent).max() < 1e-6
    assert torch.allclose(found.norm(dim=1), torch.full((len(x),), 0.5, dtype=kind))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_it_can_be_orthogonal_to_the_whole_tangent_space(
    classifier: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor, generator: torch.Generator, kind: torch.dtype
) -> None:
    x, z = x.to(kind), z.to(kind)
    curvature, manifold = Curvature(classifier.to(kind), x), Linearisation(decoder.to(kind), z)
    jacobian = manifold.jacobian()
    # A finite step leaves the tangent space, so it is excluded besides.
    tangent = tangent_direction(curvature, manifold, random_unit(z, generator), radius=0.5).displacement
    start = random_unit(x, generator)
    one = normal_direction(curvature, tangent, start, radius=0.5)
    whole = normal_direction(curvature, tangent, start, radius=0.5, tangent_space=tangent_space(jacobian))
    columns = [jacobian[:, :, i] for i in range(z.shape[1])]
    assert max(cosines(whole, c).max() for c in [*columns, tangent]) < 1e-6
    assert max(cosines(one, c).max() for c in columns) > 1e-2
    # A linear decoder's step lies in its tangent space: no direction may be made of the rounding that is left.
    inside = (jacobian @ random_unit(z, generator)[..., None])[..., 0]
    linear = normal_direction(curvature, inside, start, radius=0.5, tangent_space=tangent_space(jacobian))
    assert max(cosines(linear, c).max() for c in [*columns, inside]) < 1e-6


def test_curvature_rises_to_the_greatest_off_the_tangent(
    classifier: nn.Module, x: Tensor, generator: torch.Generator
) -> None:
    curvature = Curvature(classifier, x)
    tangent, start = random_unit(x, generator), random_unit(x, generator)
    path = torch.stack(
        [
            curvature.quadratic(normal_direction(curvature, tangent, start, radius=1.0, power_steps=k))
            for k in (1, 2, 4, 400)
        ]
    )
    h = curvature.form(torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1))
    off = torch.eye(x.shape[1], dtype=x.dtype) - tangent[:, :, None] * tangent[:, None]
    top = torch.linalg.eigvalsh(off @ h @ off)[:, -1]
    assert (path[1:] >= path[:-1] * (1 - 1e-12)).all()
    assert torch.allclose(path[-1], top, rtol=1e-4)


def test_without_curvature_off_the_tangent_the_projected_start_is_kept(x: Tensor, generator: torch.Generator) -> None:
    certain = Curvature(lambda images: torch.tensor([2000.0, 0.0], dtype=x.dtype) + 0 * images[:, :2], x)
    along = torch.zeros_like(x)
    along[:, 0] = 1.0
    start = random_unit(x, generator)
    rest = start.clone()
    rest[:, 0] = 0
    rest = 0.5 * rest / rest.norm(dim=1, keepdim=True)
    assert torch.allclose(normal_direction(certain, along, start, radius=0.5), rest)
    # All the curvature lies along the tangent: what rounding leaves of H d is no direction.
    along = random_unit(x, generator)
    only = Curvature(lambda images: (images * along).sum(1, keepdim=True) * x.new_tensor([[1.0, -1.0]]), x)
    rest = start - (start * along).sum(1, keepdim=True) * along
    rest = 0.5 * rest / rest.norm(dim=1, keepdim=True)
    assert torch.allclose(normal_direction(only, along, start, radius=0.5, power_steps=3), rest)
    assert torch.allclose(normal_direction(certain, 0 * along, start, radius=0.5), 0.5 * start)


def test_it_hurts_more_than_a_random_normal_direction() -> None:
    """Ten classes as noisy curves in 64 dimensions, a ReLU net taught for 60 steps: KL after one power step against a random normal.

    The curves are a fixed random decoder's images of latents around ten centres; radius 0.5, one random direction a sample.
    """
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid()).double().eval()
    centres = 2 * torch.randn(10, 8, dtype=torch.float64, generator=generator)
    labels = torch.arange(400) % 10
    z = centres[labels] + 0.5 * torch.randn(400, 8, dtype=torch.float64, generator=generator)
    x = decoder(z).detach()
    student = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).double()
    optimiser = torch.optim.Adam(student.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(student(x), labels).backward()
        optimiser.step()
    student.eval()
    assert (student(x).argmax(1) == labels).double().mean() > 0.9
    curvature, manifold = Curvature(student, x), Linearisation(decoder, z)
    tangent = tangent_direction(curvature, manifold, random_unit(z, generator), radius=0.5).displacement
    worst = normal_direction(curvature, tangent, random_unit(x, generator), radius=0.5)
    u = tangent / tangent.norm(dim=1, keepdim=True)
    chance = random_unit(x, generator)
    chance = chance - (u * chance).sum(1, keepdim=True) * u
    chance = 0.5 * chance / chance.norm(dim=1, keepdim=True)
    with torch.no_grad():
        hurt, harmless = kl(student(x), student(x + worst)), kl(student(x), student(x + chance))
    assert (hurt >= harmless).double().mean() >= 0.95
    # Measured: 99.5 % of the samples, and 84 times the divergence at the median.
    assert hurt.median() > 20 * harmless.median()
