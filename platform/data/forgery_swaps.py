"""Forgeries with a donor: another person's face, or another person's expression, on the face of a track.

- `swapped` (FS, after FaceSwap): the donor's frames in order, to and fro, warped to the points of the face.
- `swapped_at_random` (TMP): the same with the donor's frames in random order, each held for one to three frames.
- `reenacted` (RE, after Face2Face): one frame of the face's own, warped to its present points with the donor's expression added.

Lengths are in units of `MarkedTrack.unit`. The recipes are ours: stand-ins for the programs they are named after, which do better.
"""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from .alignment import moved, similarity
from .forgery_blending import coloured_like, laid_over
from .forgery_points import EXPRESSIVE, MarkedTrack, hull_cover, softened
from .forgery_warp import warped

REACH, REACH_OF_EXPRESSION = 9.0, 6.0
RENEWED = 40  # frames between two of the face's own that are reenacted
OFFSET = 0.9  # share of the donor's expression
HELD = (1, 3)


def to_and_fro(number: int, of: int) -> np.ndarray:
    """Numbers of `of` frames, there and back again, `number` of them.

    >>> to_and_fro(8, 3).tolist()
    [0, 1, 2, 1, 0, 1, 2, 1]
    """
    if of == 1:
        return np.zeros(number, dtype=np.int64)
    steps = np.arange(number) % (2 * of - 2)
    return np.minimum(steps, 2 * of - 2 - steps)


def held_at_random(number: int, of: int, rng: np.random.Generator) -> np.ndarray:
    """Random numbers of `of` frames, each held for one to three, never the same one twice running; `number` in all."""
    chosen: list[int] = []
    last = -1
    while len(chosen) < number:
        drawn = int(rng.integers(of))
        if drawn == last and of > 1:
            continue
        last = drawn
        chosen += [drawn] * int(rng.integers(HELD[0], HELD[1] + 1))
    return np.array(chosen[:number])


def swapped(face: MarkedTrack, donor: MarkedTrack) -> np.ndarray:
    """FS: uint8 (t, 3, side, side). The seam and what trembles in the points give it away."""
    return _with_face_of(donor, to_and_fro(len(face), len(donor)), face, erode=5, soft=9)


def swapped_at_random(face: MarkedTrack, donor: MarkedTrack, rng: np.random.Generator) -> np.ndarray:
    """TMP: uint8 (t, 3, side, side). Its face jumps."""
    return _with_face_of(donor, held_at_random(len(face), len(donor), rng), face, erode=5, soft=15)


def reenacted(face: MarkedTrack, donor: MarkedTrack) -> np.ndarray:
    """RE: uint8 (t, 3, side, side). The skin stands still for 40 frames."""
    _check_alike(face, donor)
    own = np.arange(len(face)) // RENEWED * RENEWED
    wanted = face.points.copy()
    moving = face.which.of(*EXPRESSIVE)
    wanted[:, moving] += OFFSET * _expression(face, donor)[:, moving]
    looked_at = np.array(face.which.warped)
    layer = warped(
        face.frames[own], face.points[own][:, looked_at], wanted[:, looked_at], sigma=REACH_OF_EXPRESSION * face.unit
    )
    return laid_over(face.frames, layer, _oval(face, erode=7, soft=11))


def _with_face_of(
    donor: MarkedTrack, chosen: np.ndarray, face: MarkedTrack, *, erode: float, soft: float
) -> np.ndarray:
    _check_alike(face, donor)
    looked_at = np.array(face.which.warped)
    layer = warped(
        donor.frames[chosen], donor.points[chosen][:, looked_at], face.points[:, looked_at],
        sigma=REACH * face.unit, size=(face.side, face.side),
    )  # fmt: skip
    cover = _oval(face, erode=erode, soft=soft)
    return laid_over(face.frames, coloured_like(layer, face.frames, cover), cover)


def _oval(face: MarkedTrack, *, erode: float, soft: float) -> np.ndarray:
    return softened(hull_cover(face.part("oval"), face.side, -erode * face.unit), soft * face.unit)


def _expression(face: MarkedTrack, donor: MarkedTrack) -> np.ndarray:
    """How far each of the donor's points is off its mean, in the pose of the face: (t, p, 2)."""
    steady = donor.which.steady
    first = donor.points[0]
    upright = np.stack([moved(points, similarity(points[steady], first[steady])) for points in donor.points])
    mean = upright.mean(0)
    offsets = (upright - mean)[to_and_fro(len(face), len(donor))]
    turned = np.stack([similarity(mean[steady], points[steady])[:, :2] for points in face.points])
    return np.einsum("tpj,tij->tpi", offsets, turned)


def _check_alike(face: MarkedTrack, donor: MarkedTrack) -> None:
    if face.points.shape[1] != donor.points.shape[1]:
        raise BadInput(
            f"a face of {face.points.shape[1]} points and a donor of {donor.points.shape[1]}",
            mend="find both with the same finder of landmarks",
        )
