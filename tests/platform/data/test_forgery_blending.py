"""Layers over frames: outside the mask bit for bit, inside with the colours of what they hide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.forgery_blending import coarsened, coloured_like, laid_over, sharpened


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 1))
def test_a_layer_is_mixed_by_its_cover(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, 3, 6, 7), dtype=np.uint8)
    layer = rng.uniform(-40, 300, frames.shape).astype(np.float32)
    cover = (rng.random((2, 6, 7)) * (rng.random((2, 6, 7)) < 0.6)).astype(np.float32)
    found = laid_over(frames, layer, cover, alpha)
    assert (found == frames)[np.broadcast_to(cover[:, None] == 0, frames.shape)].all()
    for t, c, y, x in np.ndindex(*frames.shape):
        share = alpha * float(cover[t, y, x])
        exact = (1 - share) * float(frames[t, c, y, x]) + share * float(layer[t, c, y, x])
        assert abs(found[t, c, y, x] - min(max(exact, 0), 255)) <= 0.5 + 1e-3


def test_colours_inside_become_those_of_the_frames() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 3, 20, 20), dtype=np.uint8)
    layer = (30 + 5 * rng.standard_normal(frames.shape)).astype(np.float32)
    cover = np.zeros((2, 20, 20), np.float32)
    cover[:, 4:12, 5:15] = 1
    cover[:, 2:4] = 0.4  # below 1/2: does not count
    found = coloured_like(layer, frames, cover)
    for t in range(2):
        for c in range(3):
            inside, wanted = found[t, c, 4:12, 5:15], frames[t, c, 4:12, 5:15].astype(float)
            assert inside.mean() == pytest.approx(wanted.mean(), abs=1e-2)
            assert inside.std() == pytest.approx(wanted.std(), rel=1e-3)
            assert np.corrcoef(inside.ravel(), layer[t, c, 4:12, 5:15].ravel())[0, 1] == pytest.approx(1, abs=1e-5)


def test_nothing_to_match_is_left() -> None:
    frames = np.full((1, 3, 4, 4), 90, np.uint8)
    layer = np.full((1, 3, 4, 4), 20.0, np.float32)
    assert (coloured_like(layer, frames, np.zeros((1, 4, 4), np.float32)) == layer).all()
    assert np.allclose(coloured_like(layer, frames, np.ones((1, 4, 4), np.float32)), 90)


def test_coarse_pictures_lose_detail_and_sharp_ones_gain_it() -> None:
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 255, (3, 24, 24)).astype(np.float32)
    assert coarsened(image, 2.5).std() < 0.8 * image.std() < image.std() < sharpened(image, 0.5).std()
    flat = np.full((3, 9, 9), 77.0, np.float32)
    assert np.allclose(coarsened(flat, 3.0), flat) and np.allclose(sharpened(flat, 0.7), flat)
    # Without a change of detail, a slope keeps its level inside.
    ramp = np.tile(np.arange(24.0), (3, 24, 1))
    assert np.allclose(coarsened(ramp, 2.0)[:, 4:-4, 4:-4], ramp[:, 4:-4, 4:-4], atol=1e-3)
    assert np.allclose(sharpened(ramp, 0.7)[:, :, 6:-6], ramp[:, :, 6:-6], atol=1e-3)
