"""The products against the Hessian and the Jacobian that automatic differentiation builds in full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from stillhouse.methods.dgd.curvature import Curvature, Linearisation, rayleigh_quotient
from stillhouse.methods.dgd.divergence import kl
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.scattering import Scattering2D
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian


def hessians(classifier: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the Hessians (B, d, d) of r -> KL(p(.|x) || p(.|x + r)) at 0, by differentiating it twice."""
    found = []
    for image in x:
        at = image[None]

        def divergence(r: Tensor, at: Tensor = at) -> Tensor:
            return kl(classifier(at), classifier(at + r.reshape(at.shape))).sum()

        found.append(hessian(divergence, torch.zeros(image.numel(), dtype=x.dtype)))
    return torch.stack(found)


def scattering_classifier() -> nn.Module:
    torch.manual_seed(4)
    transform = Scattering2D((1, 8, 8))
    return nn.Sequential(transform, nn.Linear(transform.features, 5)).double().eval()


def convolutional_classifier() -> nn.Module:
    torch.manual_seed(5)
    return (
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Dropout(), nn.Linear(64, 5),
        )
        .double().eval()
    )  # fmt: skip


@pytest.mark.parametrize("make", [scattering_classifier, convolutional_classifier])
def test_products_are_those_of_the_hessian_on_images(make: Callable[[], nn.Module], generator: torch.Generator) -> None:
    classifier = make()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=generator)
    v = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=generator)
    oracle = hessians(classifier, x)
    curvature = Curvature(classifier, x)
    bent = (oracle @ v.flatten(1)[:, :, None])[:, :, 0]
    assert bent.norm() > 1e-3
    assert (curvature.product(v).flatten(1) - bent).abs().max() < 1e-10
    assert (curvature.quadratic(v) - (bent * v.flatten(1)).sum(1)).abs().max() < 1e-10


def test_products_are_those_of_the_hessian_on_vectors(
    classifier: nn.Module, x: Tensor, generator: torch.Generator
) -> None:
    oracle, curvature = hessians(classifier, x), Curvature(classifier, x)
    columns = torch.randn(*x.shape, 3, dtype=torch.float64, generator=generator)
    for i in range(3):
        assert (curvature.product(columns[..., i]) - (oracle @ columns[..., i, None])[..., 0]).abs().max() < 1e-10
    assert (curvature.form(columns) - columns.mT @ oracle @ columns).abs().max() < 1e-10


def test_the_hessian_is_symmetric_and_never_negative(
    classifier: nn.Module, x: Tensor, generator: torch.Generator
) -> None:
    curvature = Curvature(classifier, x)
    for _ in range(50):
        a, b = (torch.randn(x.shape, dtype=torch.float64, generator=generator) for _ in range(2))
        assert ((a * curvature.product(b)).sum(1) - (b * curvature.product(a)).sum(1)).abs().max() < 1e-12
        assert ((a * curvature.product(a)).sum(1) > -1e-14).all()
        assert (curvature.quadratic(a) >= 0).all()


def test_half_the_quadratic_form_is_the_divergence_up_to_third_order(classifier: nn.Module, x: Tensor) -> None:
    d = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    d /= d.norm(dim=1, keepdim=True)
    half = 0.5 * Curvature(classifier, x).quadratic(d)
    lengths = 0.1 * 2.0 ** -torch.arange(6, dtype=torch.float64)
    with torch.no_grad():
        rest = torch.stack([(kl(classifier(x), classifier(x + e * d)) - e**2 * half).abs() for e in lengths])
    slopes = np.polyfit(lengths.log().numpy(), rest.log().numpy(), 1)[0]
    assert np.all(slopes > 2.8), slopes


def test_a_nearly_certain_answer_keeps_its_digits_in_single_precision() -> None:
    # p = (1 - 2e-9, 1e-9, 1e-9): H is the covariance of the logits, 1e-9 in size, and 1 - p is 0 in single precision.
    logits = torch.tensor([[20.7, 0.0, 0.0]])
    v = torch.tensor([[1.0, 2.0, -1.0]])
    wide = logits.double().softmax(1)[0]
    oracle = (wide.diag() - wide[:, None] * wide) @ v[0].double()
    curvature = Curvature(lambda r: r, logits)
    torch.testing.assert_close(curvature.product(v)[0].double(), oracle, rtol=1e-5, atol=0)
    assert curvature.quadratic(v).item() == pytest.approx((v[0].double() @ oracle).item(), rel=1e-5)


def test_products_with_a_decoders_jacobian(decoder: nn.Module, z: Tensor, generator: torch.Generator) -> None:
    oracle = torch.stack([jacobian(lambda at: decoder(at[None])[0], each) for each in z])
    manifold = Linearisation(decoder, z)
    eta = torch.randn(z.shape, dtype=torch.float64, generator=generator)
    w = torch.randn(manifold.output.shape, dtype=torch.float64, generator=generator)
    assert (manifold.jvp(eta) - (oracle @ eta[..., None])[..., 0]).abs().max() < 1e-12
    assert (manifold.vjp(w) - (oracle.mT @ w[..., None])[..., 0]).abs().max() < 1e-12
    assert (manifold.gram(eta) - (oracle.mT @ oracle @ eta[..., None])[..., 0]).abs().max() < 1e-12
    assert (manifold.jacobian() - oracle).abs().max() < 1e-12
    assert torch.equal(manifold.output, decoder(z))
    assert not any(found.requires_grad for found in (manifold.output, manifold.jvp(eta), manifold.vjp(w)))
    assert all(p.grad is None for p in decoder.parameters())


def test_it_works_where_gradients_are_off_and_leaves_none(classifier: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        inside = Curvature(classifier, x).product(x)
    assert torch.equal(inside, Curvature(classifier, x).product(x))
    wanting = x.clone().requires_grad_()
    outside = Curvature(classifier, wanting)
    assert not any(found.requires_grad for found in (outside.point, outside.logits, outside.product(x)))
    assert all(p.grad is None for p in classifier.parameters())
    assert wanting.grad is None


def test_the_rayleigh_quotient(classifier: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor) -> None:
    curvature, manifold = Curvature(classifier, x), Linearisation(decoder, z)
    eta = torch.ones_like(z)
    j = manifold.jacobian()
    along = (j @ eta[..., None])[..., 0]
    oracle = (along * curvature.product(along)).sum(1) / ((along**2).sum(1) + 0.1 * eta.shape[1])
    assert torch.allclose(rayleigh_quotient(curvature, manifold, eta, damping=0.1), oracle, rtol=1e-10)


def test_functions_that_do_not_work_sample_by_sample_are_refused(x: Tensor) -> None:
    with pytest.raises(BadInput, match="sample by sample"):
        Linearisation(lambda images: images.sum(0, keepdim=True), x)
    with pytest.raises(BadInput, match=r"\(B, K\)"):
        Curvature(lambda images: images[:, :, None], x)
