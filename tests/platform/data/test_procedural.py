"""Images made by a rule: the same for a seed, of every shape, and each kind with the look that it is said to have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data import procedural
from stillhouse.platform.data.procedural import BATCH, KINDS, procedural_images
from stillhouse.platform.errors import BadInput

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
# One image in `SHARE` is of each of the three kinds that `mixed` holds.
SHARE = 3


def neighbours_correlation(images: np.ndarray) -> float:
    """Of pixels side by side, about each image's mean."""
    left, right = (part - part.mean((2, 3), keepdims=True) for part in (images[..., :-1], images[..., 1:]))
    return float((left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum()))


def plain(images: np.ndarray) -> np.ndarray:
    """For each image, how many of its bright pixels are like the one beside them."""
    left, right = images[..., :-1], images[..., 1:]
    return ((left == right) & (left > 0)).mean((1, 2, 3))


def dark_edges(images: np.ndarray) -> np.ndarray:
    """For each image, how much of its first and last row is black."""
    return (images[..., [0, -1], :] == 0).mean((1, 2, 3))


@EVERY_KIND
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 13), (2, 9, 4)])
def test_the_same_seed_gives_the_same_images_and_another_one_others(kind: str, shape: procedural.Shape) -> None:
    first, again, other = (procedural_images(10, shape, kind=kind, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (10, *shape) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.3
    assert len(np.unique(first.reshape(10, -1), axis=0)) == 10


def test_what_numpy_has_been_seeded_with_does_not_matter() -> None:
    results = []
    for seed in (1, 2):
        np.random.seed(seed)
        results.append(procedural_images(6, (1, 8, 8), seed=0))
    assert np.array_equal(*results)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 7),
    st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
)
@pytest.mark.filterwarnings("error")
def test_every_shape_has_images(kind: str, n: int, shape: procedural.Shape) -> None:
    images = procedural_images(n, shape, kind=kind, seed=0)
    assert images.shape == (n, *shape) and images.dtype == np.uint8


@pytest.mark.parametrize("kind", ["noise", "leaves"])
def test_a_single_pixel_is_an_image(kind: str) -> None:
    images = procedural_images(50, (1, 1, 1), kind=kind, seed=0)
    assert images.shape == (50, 1, 1, 1)
    assert images.min() < 60 and images.max() > 195


def test_the_kinds_are_what_they_are_called() -> None:
    found = {kind: procedural_images(200, (1, 28, 28), kind=kind, seed=3) for kind in KINDS}
    correlation = {kind: neighbours_correlation(images.astype(float)) for kind, images in found.items()}
    assert abs(correlation["noise"]) < 0.02
    assert all(correlation[kind] > 0.6 for kind in KINDS if kind != "noise")
    # Leaves are plain within, textures are not.
    assert plain(found["leaves"]).mean() > 0.7
    assert all(plain(found[kind]).mean() < 0.1 for kind in ("noise", "smooth", "objects"))
    # Only objects have a ground, and they are near the middle of it.
    assert dark_edges(found["objects"]).mean() > 0.8
    assert all(dark_edges(found[kind]).mean() < 0.05 for kind in ("noise", "smooth", "leaves"))
    assert (found["objects"][..., 10:18, 10:18] > 0).mean() > 0.75


def test_noise_is_uniform() -> None:
    counts = np.bincount(procedural_images(300, (1, 16, 16), kind="noise", seed=0).ravel(), minlength=256)
    # Pixels are rounded, so each end stands for half as much as the others.
    assert counts == pytest.approx(300 * 256 / 255 * np.array([0.5, *[1.0] * 254, 0.5]), rel=0.3)


def test_smooth_images_have_less_of_higher_frequencies() -> None:
    images = procedural_images(200, (1, 32, 32), kind="smooth", seed=0) / 255
    power = (np.abs(np.fft.fft2(images)) ** 2).mean((0, 1))[0, 1:17]
    assert power[0] > 3 * power[1] > 3 * power[3] and power[3] > 3 * power[12]
    assert images.mean() == pytest.approx(0.5, abs=0.01)


def test_objects_are_often_mirrored() -> None:
    bodies = procedural_images(400, (1, 28, 28), kind="objects", seed=0) > 0
    # A texture may be black in places, so a body's mirror image can lack a pixel or two.
    mirrored = (bodies != bodies[..., ::-1]).sum((1, 2, 3)) <= 4
    assert 0.5 < mirrored.mean() < 0.75


def test_colours_are_their_own() -> None:
    for kind in KINDS:
        images = procedural_images(60, (3, 16, 16), kind=kind, seed=0).astype(float)
        assert (images[:, 0] != images[:, 1]).mean() > 0.3
        # All the same, a shape is at one place in all of them.
        if kind == "objects":
            assert (((images[:, 0] > 0) == (images[:, 1] > 0)).mean()) > 0.95


def test_mixed_images_are_the_three_kinds_in_equal_parts_and_no_order() -> None:
    images = procedural_images(600, (1, 28, 28), kind="mixed", seed=0)
    objects = dark_edges(images) > 0.3
    leaves = (plain(images) > 0.4) & ~objects
    for part in (objects, leaves, ~objects & ~leaves):
        assert part.mean() == pytest.approx(1 / SHARE, abs=0.05)
        # In each half of the images, too.
        assert part[:300].mean() == pytest.approx(1 / SHARE, abs=0.1)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_few_mixed_images_are_enough(n: int) -> None:
    assert procedural_images(n, (1, 8, 8), kind="mixed", seed=0).shape == (n, 1, 8, 8)


@EVERY_KIND
def test_more_images_than_a_batch_go_on_where_the_first_one_ended(kind: str) -> None:
    images = procedural_images(2 * BATCH + 3, (1, 6, 6), kind=kind, seed=0)
    assert images.shape == (2 * BATCH + 3, 1, 6, 6)
    assert np.array_equal(images[:BATCH], procedural_images(BATCH, (1, 6, 6), kind=kind, seed=0))
    for start in (BATCH, 2 * BATCH):
        part = images[start : start + BATCH]
        assert (part != images[: len(part)]).mean() > 0.3


def test_mixed_is_meant_unless_another_kind_is_named() -> None:
    assert np.array_equal(
        procedural_images(5, (1, 8, 8), seed=0), procedural_images(5, (1, 8, 8), kind="mixed", seed=0)
    )


def test_unknown_kinds_and_impossible_shapes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"unknown kind .* 'cats'.*use one of noise, smooth, leaves, objects, mixed"):
        procedural_images(5, (1, 8, 8), kind="cats", seed=0)
    for n, shape in ((0, (1, 8, 8)), (-1, (1, 8, 8)), (5, (0, 8, 8)), (5, (1, 8, 0)), (5, (8, 8)), (5, (1, 1, 8, 8))):
        with pytest.raises(BadInput, match=rf"{n} images of shape"):
            procedural_images(n, shape, seed=0)  # type: ignore[arg-type]
