"""Codes of few pixels: what lies in their span comes back, what does not is lost, and noise is as large as said."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.data.forgery_codecs import FACE, FACE_OVAL, FaceCodes, PixelCode
from stillhouse.platform.data.forgery_points import MarkedTrack
from stillhouse.platform.data.procedural_heads import MarkedTracks, draw_heads
from stillhouse.platform.errors import BadInput


def smooth(n: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, 3, 8, 12) in a space of some dimensions whose pixels come in blocks of 2 x 2."""
    basis = rng.standard_normal((rank, 3, 4, 6))
    small = 100 + np.tensordot(rng.standard_normal((n, rank)) * 10, basis, 1)
    return small.repeat(2, 2).repeat(2, 3).astype(np.float32)


def test_what_lies_in_the_span_comes_back_at_half_the_size() -> None:
    rng = np.random.default_rng(0)
    pictures = smooth(40, 3, rng)
    code = PixelCode.learnt(pictures, 3, seed=0)
    assert np.allclose(code.components @ code.components.T, np.eye(3), atol=1e-4)
    back = code.through(pictures)
    # Bilinear enlarging by 2, then means of 2 x 2: 9/16 of a pixel, 3/16 of its neighbours in a row and column, 1/16 across.
    small = pictures[:, :, ::2, ::2]
    padded = np.pad(small, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    weights = {-1: 0.125, 0: 0.75, 1: 0.125}
    expected = sum(
        weights[v] * weights[u] * padded[:, :, 1 + v : 5 + v, 1 + u : 7 + u] for v in weights for u in weights
    )
    halved = back.reshape(40, 3, 4, 2, 6, 2).mean((3, 5))
    assert np.abs(halved - expected).max() < 0.1


def test_what_lies_outside_is_lost() -> None:
    rng = np.random.default_rng(1)
    code = PixelCode.learnt(smooth(40, 3, rng), 3, seed=0)
    strange = smooth(5, 20, rng)
    assert np.abs(code.through(strange) - strange).mean() > 3


def test_noise_is_a_share_of_each_components_spread() -> None:
    rng = np.random.default_rng(2)
    pictures = smooth(200, 4, rng)
    code = PixelCode.learnt(pictures, 4, seed=0)
    small = np.zeros((4000, 3, 8, 12), np.float32) + pictures[:1]
    noisy, clean = code.through(small, 0.03, np.random.default_rng(3)), code.through(small)
    again = code.through(small, 0.03, np.random.default_rng(3))
    assert (again == noisy).all()
    # What one component becomes when it is enlarged is known, so the change tells how much of each was added.
    change = (noisy - clean)[:, :, ::2, ::2]
    seen = np.stack([_enlarged(one.reshape(3, 4, 6))[:, ::2, ::2].ravel() for one in code.components])
    values = np.linalg.lstsq(seen.T, change.reshape(4000, -1).T, rcond=None)[0]
    assert values.std(1) == pytest.approx(0.03 * code.spread, rel=0.06)


def _enlarged(small: np.ndarray) -> np.ndarray:
    import torch

    whole = torch.nn.functional.interpolate(torch.from_numpy(small)[None], scale_factor=2, mode="bilinear")
    return whole[0].numpy()


def test_more_components_than_pictures_are_refused() -> None:
    with pytest.raises(BadInput, match="components"):
        PixelCode.learnt(smooth(5, 2, np.random.default_rng(0)), 5, seed=0)


def test_codes_are_learnt_from_tracks_and_place_the_mean_face() -> None:
    heads = draw_heads(3, frames=6, side=48, seed=0)
    assert isinstance(heads.tracks, MarkedTracks)
    tracks = [MarkedTrack(heads.tracks.read(i, range(6)), heads.tracks.landmarks(i, range(6))) for i in range(3)]
    one, other = (FaceCodes.learnt(tracks, seed=0, mouth_components=4, face_components=5) for _ in range(2))
    assert (one.face.components == other.face.components).all() and one.mouth.components.shape == (4, 3 * 20 * 28)
    oval = one.mean_face[tracks[0].which.of("oval")]
    assert np.ptp(oval[:, 1]) <= FACE_OVAL[0] + 1e-6 and np.ptp(oval[:, 0]) <= FACE_OVAL[1] + 1e-6
    assert max(np.ptp(oval[:, 1]) / FACE_OVAL[0], np.ptp(oval[:, 0]) / FACE_OVAL[1]) == pytest.approx(1)
    assert (oval.min(0) + oval.max(0)) / 2 == pytest.approx([(FACE[1] - 1) / 2, (FACE[0] - 1) / 2])
    with pytest.raises(BadInput, match="one at least"):
        FaceCodes.learnt([], seed=0)
