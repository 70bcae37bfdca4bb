"""Scattering features on the principal components of public images, against an exact decomposition."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from stillhouse.platform.data.procedural import procedural_images
from stillhouse.platform.nn import projection as module
from stillhouse.platform.nn.projection import ScatteringProjection
from stillhouse.platform.nn.scattering import features

SHAPE = (1, 8, 8)
IMAGES = procedural_images(300, SHAPE, seed=0)
OTHERS = procedural_images(70, SHAPE, kind="leaves", seed=1)
TINY = (1, 2, 2)
TINY_IMAGES = procedural_images(300, TINY, seed=0)


def fitted(*, components: int = 10, whitening: float = 0.0, unit: bool = False) -> ScatteringProjection:
    torch.manual_seed(0)
    projection = ScatteringProjection(SHAPE, components=components, whitening=whitening, unit=unit)
    projection.fit(IMAGES)
    return projection


def pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float() / 255


def exact(images: np.ndarray, components: int, whitening: float) -> np.ndarray:
    """The images' vectors by a full decomposition in double precision."""
    shape = images.shape[1:]
    found = features(ScatteringProjection(shape, components=1).scattering, images).double().numpy()
    found = (found - found.mean(0)) / (found.std(0, ddof=1) + 0.01 * found.std(ddof=1))
    directions = np.linalg.svd(found, full_matrices=False)[2][:components]
    vectors = found @ directions.T
    vectors /= vectors.std(0) ** whitening
    return vectors / np.sqrt((vectors**2).mean())


BOTH = pytest.mark.parametrize("unit", [False, True])


@BOTH
def test_fitting_returns_what_projecting_does(unit: bool) -> None:
    projection = ScatteringProjection(SHAPE, components=10, whitening=0.5, unit=unit)
    vectors = projection.fit(IMAGES)
    assert vectors.shape == (len(IMAGES), 10) and float(vectors.abs().max()) > 0.1
    torch.testing.assert_close(projection.project(IMAGES), vectors)


@BOTH
def test_floats_and_pixels_are_projected_alike(unit: bool) -> None:
    projection = fitted(unit=unit, whitening=0.5)
    vectors = projection.project(OTHERS)
    assert vectors.shape == (len(OTHERS), 10) and not vectors.requires_grad
    torch.testing.assert_close(projection(pixels(OTHERS)), vectors, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(vectors[:10], vectors[10:20], atol=0.1)


def test_many_images_are_projected_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = fitted()
    together = projection.project(OTHERS)
    monkeypatch.setattr(module, "PROJECTED_AT_ONCE", 32)
    torch.testing.assert_close(projection.project(OTHERS), together)


@BOTH
@pytest.mark.parametrize("whitening", [0.0, 1.0])
def test_gradients_reach_the_images(unit: bool, whitening: float) -> None:
    projection = fitted(components=4, unit=unit, whitening=whitening).double()
    images = pixels(OTHERS[:2]).double().requires_grad_()
    torch.autograd.gradcheck(projection, (images,), eps=1e-6, atol=1e-5)
    (gradient,) = torch.autograd.grad(projection(images).square().sum(1)[0] + projection(images)[0, 0], images)
    assert float(gradient[0].abs().max()) > 1e-3
    assert float(gradient[1].abs().max()) == 0


def test_vectors_have_unit_length_if_asked_and_keep_their_direction() -> None:
    free, unit = fitted(unit=False), fitted(unit=True)
    vectors, shortened = free.project(OTHERS), unit.project(OTHERS)
    torch.testing.assert_close(shortened.norm(dim=1), torch.ones(len(OTHERS)))
    assert float(vectors.norm(dim=1).std()) > 0.1
    torch.testing.assert_close(shortened, vectors / vectors.norm(dim=1, keepdim=True))


def largest_errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Of each component, which has a direction, but no sign."""
    return np.abs(found * np.sign((found * expected).sum(0)) - expected).max(0)


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_components_are_those_of_an_exact_decomposition(whitening: float) -> None:
    every = ScatteringProjection(TINY, components=36, whitening=whitening).fit(TINY_IMAGES).double().numpy()
    assert every.shape == (300, 36)
    assert largest_errors(every, exact(TINY_IMAGES, 36, whitening)).max() < 0.01
    # The first ones are right where the rest is left out.
    some = fitted(components=20, whitening=whitening).project(IMAGES).double().numpy()
    assert largest_errors(some, exact(IMAGES, 20, whitening))[:4].max() < 0.03


def test_whitening_decides_how_far_components_differ() -> None:
    spreads = {whitening: fitted(whitening=whitening).project(IMAGES).std(0) for whitening in (0.0, 0.5, 1.0)}
    torch.testing.assert_close(spreads[1.0], torch.ones(10), atol=0.03, rtol=0)
    ratios = {whitening: float(spread[0] / spread[-1]) for whitening, spread in spreads.items()}
    assert ratios[0.0] > 3
    assert ratios[0.5] == pytest.approx(ratios[0.0] ** 0.5, rel=0.03)
    # Whatever the whitening, components are of order 1.
    for spread in spreads.values():
        assert float(spread.square().mean()) == pytest.approx(1, rel=0.02)


def test_projected_images_are_centred_and_their_components_uncorrelated() -> None:
    vectors = fitted(whitening=1.0).project(IMAGES)
    assert float(vectors.mean(0).abs().max()) < 1e-3
    assert float((vectors.T @ vectors / len(vectors) - torch.eye(10)).abs().max()) < 0.05


def test_there_are_no_more_components_than_features() -> None:
    projection = ScatteringProjection(TINY, components=10_000)
    assert projection.components == projection.scattering.features == 36
    assert projection.fit(TINY_IMAGES).shape == (300, 36)
    assert projection(pixels(TINY_IMAGES[:5])).shape == (5, 36)


def test_a_feature_that_is_always_the_same_does_no_harm() -> None:
    images = procedural_images(100, SHAPE, kind="noise", seed=0)
    images[..., 4:] = 0
    projection = ScatteringProjection(SHAPE, components=5)
    assert bool(projection.fit(images).isfinite().all())


def test_there_is_nothing_to_learn_and_the_projection_is_kept_with_the_state() -> None:
    projection = fitted(whitening=0.5)
    assert not list(projection.parameters())
    other = ScatteringProjection(SHAPE, components=10, whitening=0.5)
    assert not other.project(OTHERS).any()
    other.load_state_dict(copy.deepcopy(projection.state_dict()))
    assert torch.equal(other.project(OTHERS), projection.project(OTHERS))


def test_colour_images_are_projected() -> None:
    images = procedural_images(40, (3, 10, 6), seed=0)
    projection = ScatteringProjection((3, 10, 6), components=7, unit=True)
    vectors = projection.fit(images)
    assert vectors.shape == (40, 7)
    # The order of colours matters.
    assert not torch.allclose(projection.project(images[:, ::-1].copy()), vectors, atol=0.1)
