from __future__ import annotations

import torch
from stillhouse.methods.dgd.curvature import Curvature
from stillhouse.methods.dgd.inner import random_unit
from stillhouse.methods.dgd.vat import vat_direction
from torch import Tensor, nn


def test_power_steps_lead_to_the_hessians_top_eigenvector(
    classifier: nn.Module, x: Tensor, generator: torch.Generator
) -> None:
    curvature, start = Curvature(classifier, x), random_unit(x, generator)
    h = curvature.form(torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1))
    values, vectors = torch.linalg.eigh(h)
    one = (h @ start[..., None])[..., 0]
    found = vat_direction(curvature, start, radius=2.0)
    assert torch.allclose(found, 2 * one / one.norm(dim=1, keepdim=True))
    path = torch.stack(
        [curvature.quadratic(vat_direction(curvature, start, radius=1.0, power_steps=k)) for k in (1, 2, 4)]
    )
    assert (path[1:] >= path[:-1] * (1 - 1e-12)).all()
    assert (path <= values[:, -1] * (1 + 1e-12)).all()
    last = vat_direction(curvature, start, radius=1.0, power_steps=500)
    assert ((last * vectors[:, :, -1]).sum(1).abs() > 1 - 1e-6).all()


def test_without_curvature_the_start_is_kept_and_shapes_are_the_images(generator: torch.Generator) -> None:
    x = torch.zeros(3, 1, 2, 2)
    certain = Curvature(lambda images: torch.tensor([2000.0, 0.0]) + 0 * images.flatten(1)[:, :2], x)
    start = random_unit(x, generator)
    assert torch.allclose(vat_direction(certain, start, radius=0.5), 0.5 * start)
