"""Forgeries by a small code: a mouth or a face that went through principal components of few pixels and came back smooth.

Both codes are learnt from tracks to train on, and only from those: a forged track to be scored on must not have taught them.

- `with_coded_mouth` (NT, after NeuralTextures): a box of 56 x 40 about the mouth in 28 x 20 pixels and 40 components, their values
  shaken by 3 % of their spread.
- `with_coded_face` (AE, after Deepfakes' auto-encoders): the face warped to a mean face of 96 x 112, in 48 x 56 pixels and 120
  components, and warped back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..errors import BadInput
from .alignment import moved, similarity
from .forgery_blending import coloured_like, laid_over
from .forgery_points import OVAL_HEIGHT, MarkedTrack, hull_cover, softened
from .forgery_warp import moved_by, warped

MOUTH, FACE = (40, 56), (112, 96)  # height, width
FACE_OVAL = (104.0, 88.0)  # the most of the mean face's oval: height, width
MOUTH_COMPONENTS, FACE_COMPONENTS = 40, 120
MOUTH_NOISE = 0.03
REACH = 9.0
MOST = 3000  # frames to learn from, evenly taken


@dataclass(frozen=True, eq=False)
class PixelCode:
    """Principal components of pictures of one size, brought down to half of it.

    Args:
        mean: float32 (d,) with d = 3 (height / 2) (width / 2).
        components: float32 (k, d), orthonormal rows.
        spread: float32 (k,): standard deviation of each component's values over what it was learnt from.
    """

    mean: np.ndarray
    components: np.ndarray
    spread: np.ndarray

    @classmethod
    def learnt(cls, pictures: np.ndarray, components: int, seed: int) -> PixelCode:
        """From pictures float32 (n, 3, height, width) with even sides.

        Raises:
            BadInput: there are no more pictures than components.
        """
        from sklearn.decomposition import PCA

        small = _halved(pictures).reshape(len(pictures), -1)
        if not 1 <= components < len(small):
            raise BadInput(
                f"{components} components of {len(small)} pictures",
                why="there are fewer of them than pictures",
                mend="give more or longer tracks to learn from, or ask for fewer components",
            )
        found = PCA(components, svd_solver="randomized", random_state=seed).fit(small)
        return cls(
            found.mean_.astype(np.float32),
            found.components_.astype(np.float32),
            np.sqrt(found.explained_variance_).astype(np.float32),
        )

    def through(self, pictures: np.ndarray, noise: float = 0.0, rng: np.random.Generator | None = None) -> np.ndarray:
        """The pictures (n, 3, height, width) after coding and decoding; `noise` as a share of each component's spread."""
        height, width = pictures.shape[2:]
        values = (_halved(pictures).reshape(len(pictures), -1) - self.mean) @ self.components.T
        if noise and rng is not None:
            values = values + noise * self.spread * rng.standard_normal(values.shape, dtype=np.float32)
        small = (values @ self.components + self.mean).reshape(len(pictures), 3, height // 2, width // 2)
        whole = functional.interpolate(torch.from_numpy(small), (height, width), mode="bilinear", align_corners=False)
        return whole.numpy()


@dataclass(frozen=True, eq=False)
class FaceCodes:
    """What NT and AE need.

    Args:
        mouth: of boxes about mouths.
        face: of faces warped to `mean_face`.
        mean_face: float (p, 2), in pixels of a picture of 96 x 112.
    """

    mouth: PixelCode
    face: PixelCode
    mean_face: np.ndarray

    @classmethod
    def learnt(
        cls,
        tracks: Sequence[MarkedTrack],
        *,
        seed: int,
        mouth_components: int = MOUTH_COMPONENTS,
        face_components: int = FACE_COMPONENTS,
    ) -> FaceCodes:
        """From tracks to train on; of many frames, evenly taken ones.

        Raises:
            BadInput: there is no track, sets of points differ, or there are no more frames than components.
        """
        step = every(sum(map(len, tracks)))
        few = [thinned(track, step) for track in tracks]
        return cls.learnt_from_all(few, seed=seed, mouth_components=mouth_components, face_components=face_components)

    @classmethod
    def learnt_from_all(
        cls, tracks: Sequence[MarkedTrack], *, seed: int, mouth_components: int, face_components: int
    ) -> FaceCodes:
        """From all frames of tracks, which are `thinned` already; for whoever cannot hold them whole.

        Raises:
            BadInput: as for `learnt`.
        """
        if not tracks or len({track.points.shape[1] for track in tracks}) > 1:
            raise BadInput(
                f"{len(tracks)} tracks to learn a code from",
                why="there is one at least, all with the same set of points",
            )
        mean_face = _mean_face(tracks)
        faces = np.concatenate([_to_mean_face(track, mean_face) for track in tracks])
        mouths = np.concatenate([_mouths(track) for track in tracks])
        return cls(
            PixelCode.learnt(mouths, mouth_components, seed), PixelCode.learnt(faces, face_components, seed), mean_face
        )


def every(frames: int) -> int:
    """Which frames of each track are learnt from, where there are so many in all: every first, every second, ..."""
    return max(1, -(-frames // MOST))


def thinned(track: MarkedTrack, step: int) -> MarkedTrack:
    """Every `step`-th frame of a track, copied so that the whole one need not stay in memory."""
    return track if step == 1 else MarkedTrack(track.frames[::step].copy(), track.points[::step].copy())


def with_coded_mouth(face: MarkedTrack, codes: FaceCodes, rng: np.random.Generator) -> np.ndarray:
    """NT: uint8 (t, 3, side, side); the mouth is blurred and a little noisy."""
    coded = codes.mouth.through(_mouths(face), MOUTH_NOISE, rng)
    boxes = _mouth_boxes(face)
    back = np.stack([np.column_stack([np.eye(2) / box[0, 0], -box[:, 2] / box[0, 0]]) for box in boxes])
    layer = moved_by(coded, back, (face.side, face.side))
    # No mask may reach over the box, whose border is continued there.
    reach = (np.array([MOUTH[1], MOUTH[0]]) / 2 - 1) * face.unit
    middle = face.part("lips").mean(1)
    inside = np.stack([middle + reach * corner for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1))], 1)
    cover = softened(hull_cover(face.part("lips"), face.side, 7 * face.unit), 9 * face.unit)
    return laid_over(face.frames, layer, np.minimum(cover, hull_cover(inside, face.side)))


def with_coded_face(face: MarkedTrack, codes: FaceCodes) -> np.ndarray:
    """AE: uint8 (t, 3, side, side); the face is smooth."""
    coded = codes.face.through(_to_mean_face(face, codes.mean_face))
    looked_at = np.array(face.which.warped)
    layer = warped(
        coded, np.broadcast_to(codes.mean_face[looked_at], (len(face), len(looked_at), 2)), face.points[:, looked_at],
        sigma=REACH * face.unit, size=(face.side, face.side),
    )  # fmt: skip
    cover = softened(hull_cover(face.part("oval"), face.side, -9 * face.unit), 13 * face.unit)
    return laid_over(face.frames, coloured_like(layer, face.frames, cover), cover)


def _halved(pictures: np.ndarray) -> np.ndarray:
    n, channels, height, width = pictures.shape
    return pictures.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5), dtype=np.float32)


def _mouth_boxes(face: MarkedTrack) -> np.ndarray:
    """Where the pixels of each box lie in its frame: (t, 2, 3)."""
    middle = face.part("lips").mean(1)
    corner = middle - face.unit * (np.array([MOUTH[1], MOUTH[0]]) - 1) / 2
    return np.concatenate([np.broadcast_to(face.unit * np.eye(2), (len(face), 2, 2)), corner[..., None]], 2)


def _mouths(face: MarkedTrack) -> np.ndarray:
    return moved_by(face.frames, _mouth_boxes(face), MOUTH)


def _mean_face(tracks: Sequence[MarkedTrack]) -> np.ndarray:
    """The mean of all frames' points, each brought to the first frame's by its steady ones, in the middle of a picture of 96 x 112."""
    which, first = tracks[0].which, tracks[0].points[0]
    alike = [
        moved(points, similarity(points[which.steady], first[which.steady]))
        for track in tracks
        for points in track.points
    ]
    mean = np.mean(alike, axis=0)
    oval = mean[which.of("oval")]
    low, high = oval.min(0), oval.max(0)
    scale = min(FACE_OVAL[0] / (high[1] - low[1]), FACE_OVAL[1] / (high[0] - low[0]))
    return (mean - (low + high) / 2) * scale + (np.array([FACE[1], FACE[0]]) - 1) / 2


def _to_mean_face(face: MarkedTrack, mean_face: np.ndarray) -> np.ndarray:
    if len(mean_face) != face.points.shape[1]:
        raise BadInput(f"a face of {face.points.shape[1]} points and a code of faces with {len(mean_face)}")
    looked_at = np.array(face.which.warped)
    target = np.broadcast_to(mean_face[looked_at], (len(face), len(looked_at), 2))
    return warped(face.frames, face.points[:, looked_at], target, sigma=REACH * FACE_OVAL[0] / OVAL_HEIGHT, size=FACE)
