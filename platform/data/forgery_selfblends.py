"""Forgeries without a donor: a face, or a part of it, laid over itself.

- `self_blended` (SBI, after Shiohara & Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022): colours, sharpness, place
  and mask of the layer drawn anew for each frame; or once for all (`coherent`), which differs in nothing but temporal independence.
- `jittered` (JITTER): the same face, moved a little each frame; no change of colour.
- `replayed` (REPLAY): eyes or mouth show a short loop of the track's own frames.
- `inpainted` (INP): two of eyes, mouth and nose filled from their rims, the outline trembling.

Lengths are in units of `MarkedTrack.unit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .alignment import moved, similarity
from .forgery_blending import coarsened, laid_over, sharpened
from .forgery_inpainting import RADIUS, filled
from .forgery_points import EYES, MarkedTrack, hull_cover, softened
from .forgery_warp import moved_by

GAIN, LEVEL = (0.92, 1.08), 8.0
COARSER, SHARPER = (2.0, 3.0), (0.3, 0.7)
TURN, SCALE, SHIFT = math.radians(1.5), (0.97, 1.03), 0.02  # the shift as a share of the side
POINTS = 2.0
ERODED, SOFT, ALPHAS = (3, 5, 9, 13), (5, 9, 15), (0.5, 0.75, 1.0, 1.0)
JITTER_SHIFT, JITTER_TURN = 1.5, math.radians(1.0)
LOOP = (6, 10)
HOLES = ("left_eye", "right_eye", "lips", "nose")
HOLE_POINTS, HOLE_GROWN = 1.5, 1.0


@dataclass(frozen=True, eq=False)
class _Blend:
    """What is drawn for a self-blended frame."""

    gain: np.ndarray
    level: np.ndarray
    coarser: float | None
    sharper: float
    turn: float
    scale: float
    shift: np.ndarray
    points: np.ndarray
    eroded: float
    soft: float
    alpha: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, points: int) -> _Blend:
        coarse = rng.random() < 0.5
        return cls(
            gain=rng.uniform(*GAIN, 3), level=rng.uniform(-LEVEL, LEVEL, 3),
            coarser=float(rng.uniform(*COARSER)) if coarse else None, sharper=float(rng.uniform(*SHARPER)),
            turn=float(rng.uniform(-TURN, TURN)), scale=float(rng.uniform(*SCALE)), shift=rng.uniform(-SHIFT, SHIFT, 2),
            points=rng.normal(0, POINTS, (points, 2)), eroded=float(rng.choice(ERODED)), soft=float(rng.choice(SOFT)),
            alpha=float(rng.choice(ALPHAS)),
        )  # fmt: skip


def self_blended(face: MarkedTrack, rng: np.random.Generator, *, coherent: bool = False) -> np.ndarray:
    """SBI, or its control SBI_COHERENT: uint8 (t, 3, side, side)."""
    oval = face.which.of("oval")
    blends = [_Blend.drawn(rng, len(oval)) for _ in range(1 if coherent else len(face))]
    out = np.empty_like(face.frames)
    for number, (frame, points) in enumerate(zip(face.frames, face.points, strict=True)):
        blend = blends[0 if coherent else number]
        middle = points[oval].mean(0)
        change = _about(middle, blend.turn, blend.scale, blend.shift * face.side)
        layer = frame.astype(np.float32) * blend.gain[:, None, None] + blend.level[:, None, None]
        layer = coarsened(layer, blend.coarser) if blend.coarser else sharpened(layer, blend.sharper)
        layer = moved_by(layer[None], _inverse(change)[None])
        outline = moved(points[oval] + blend.points * face.unit, change)
        cover = softened(hull_cover(outline[None], face.side, -blend.eroded * face.unit), blend.soft * face.unit)
        out[number] = laid_over(frame[None], layer, cover, blend.alpha)[0]
    return out


def jittered(face: MarkedTrack, rng: np.random.Generator) -> np.ndarray:
    """JITTER: uint8 (t, 3, side, side); the face alone is moved, by N(0, 1.5 pixels) and N(0, 1 degree) in each frame."""
    oval = face.part("oval")
    shifts = rng.normal(0, JITTER_SHIFT * face.unit, (len(face), 2))
    turns = rng.normal(0, JITTER_TURN, len(face))
    changes = np.stack([
        _about(middle, turn, 1.0, shift) for middle, turn, shift in zip(oval.mean(1), turns, shifts, strict=True)
    ])  # fmt: skip
    layer = moved_by(face.frames, np.stack([_inverse(change) for change in changes]))
    cover = softened(hull_cover(oval, face.side, -5 * face.unit), 9 * face.unit)
    return laid_over(face.frames, layer, cover)


def loop_numbers(number: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the frames that a loop shows: 6 to 10 running ones (at most half of all) again and again, `number` in all."""
    length = min(int(rng.integers(LOOP[0], LOOP[1] + 1)), max(1, number // 2))
    start = int(rng.integers(number - length + 1))
    return start + np.arange(number) % length


def replayed(face: MarkedTrack, rng: np.random.Generator) -> np.ndarray:
    """REPLAY: uint8 (t, 3, side, side); a loop in the place of both eyes or of the mouth, carried along with the face."""
    parts = (EYES, ("lips",))[int(rng.integers(2))]
    shown = loop_numbers(len(face), rng)
    steady = face.which.steady
    to_now = np.stack([
        similarity(before[steady], now[steady]) for before, now in zip(face.points[shown], face.points, strict=True)
    ])  # fmt: skip
    layer = moved_by(face.frames[shown], np.stack([_inverse(change) for change in to_now]))
    cover = np.zeros((len(face), face.side, face.side), np.float32)
    for part in parts:
        before = np.stack(
            [moved(points, change) for points, change in zip(face.part(part)[shown], to_now, strict=True)]
        )
        # What is shown and what it hides both lie under the mask.
        both = np.concatenate([before, face.part(part)], 1)
        np.maximum(cover, hull_cover(both, face.side, 4 * face.unit), out=cover)
    return laid_over(face.frames, layer, softened(cover, 9 * face.unit))


def inpainted(face: MarkedTrack, rng: np.random.Generator) -> np.ndarray:
    """INP: uint8 (t, 3, side, side); two parts, the same in all frames, filled with an outline that trembles by N(0, 1.5 pixels)."""
    parts = [HOLES[number] for number in rng.choice(len(HOLES), 2, replace=False)]
    holes = np.zeros((len(face), face.side, face.side), bool)
    for part in parts:
        points = face.part(part)
        trembling = points + rng.normal(0, HOLE_POINTS * face.unit, points.shape)
        holes |= hull_cover(trembling, face.side, HOLE_GROWN * face.unit) >= 0.5
    found = [filled(frame, hole, RADIUS) for frame, hole in zip(face.frames, holes, strict=True)]
    return laid_over(face.frames, np.stack(found), holes.astype(np.float32))


def _about(middle: np.ndarray, turn: float, scale: float, shift: np.ndarray) -> np.ndarray:
    """Turn and scale about a point, then shift: (2, 3)."""
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.column_stack([linear, middle + shift - linear @ middle])


def _inverse(change: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(change[:, :2])
    return np.column_stack([linear, -linear @ change[:, 2]])
