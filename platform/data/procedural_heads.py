"""Drawn heads that move as heads do: videos of people who do not exist, to try forgery detectors on where there is no video at all.

A person is `procedural_faces`' (shape and colours of some thirty parts) with a grain of the skin. Place, roll, scale, turn, nod,
mouth and brows each are a sum of three sines of 0.2 to 2 Hz; eyes blink by a Poisson process; the light swells slowly and its direction
turns; the background is textured and stands still; the sensor adds noise to every pixel of every frame. Where the points of the face
lie is known, and told with the error that a finder would make. Drawn heads are good for mechanics and for whatever hangs on the order
of frames, not for any claim about faces.

>>> heads = draw_heads(2, videos=1, frames=4, side=32, seed=0)
>>> len(heads), heads.tracks.side, heads.identities.tolist(), heads.names
(2, 32, [0, 1], ('head0000/v0', 'head0001/v0'))
>>> heads.tracks.landmarks(1, [0, 3]).shape
(2, 127, 2)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import BadInput
from . import procedural_faces as drawing
from .forgery_points import HEAD_COUNTS, OVAL_HEIGHT
from .videos import NO_SOURCE, REAL, InMemoryTracks, VideoSet, frame_numbers

BATCH = 8
# Rates of motion (Hz) and how many sines of each kind of motion are added.
RATES = (0.2, 2.0)
SINES = 3
# The most of each: shift (pixels of a side of 88), roll (degrees), scale, the others in the units of `procedural_faces`.
SHIFT, ROLL, SCALE = 4.0 * drawing.TEMPLATE / 88, math.radians(5), 0.03
TURN, NOD, BROW, GAPE, GAZE = 2.6, 1.6, 1.6, 3.4, 0.9
BLINKS, BLINK_SECONDS, CLOSED = (
    0.3,
    4 / 25,
    0.12,
)  # a second, from the first to the last frame, how open a closed eye is
SWELL, SWELL_RATE, LIGHT_TURN = 0.05, 0.1, math.radians(5)  # of the gain, Hz, a second
NOISE = 2.0  # standard deviation, of 255
GRAIN = 64  # period of the skin's texture, in pixels of the template
# MediaPipe's mesh on clips of talking faces: by the second differences in time of the points that no expression moves, whole faces are
# off by 0.05 to 0.3 units and each point by as much again (medians 0.11 and 0.13).
TREMBLE = 0.12
# The whole head is in the picture: its oval is 0.76 of the side high, as in a crop for a detector.
SIZE, LIFT = 0.78, -4.5
# Where a part of the face may lie is a window in `procedural_faces`; heads move further than faces of stills by so much.
MARGIN = 6.0


@dataclass(frozen=True, eq=False)
class MarkedTracks(InMemoryTracks):
    """Tracks in memory with the points of their faces: one float (frames, p, 2) a track."""

    _: KW_ONLY
    points: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        super().__post_init__()
        if [len(one) for one in self.points] != [len(video) for video in self.videos]:
            raise BadInput("points of other numbers of frames than the tracks have")

    def landmarks(self, number: int, frames: Any) -> np.ndarray:
        """Points (x, y) in pixels of some frames, in the order asked for: float32 (t, p, 2)."""
        chosen = frame_numbers(frames, self.frames(number))
        return np.asarray(self.points[number][chosen], dtype=np.float32)

    def track_hash(self, number: int) -> str:
        """SHA-256 over shape, rate, pixels and points."""
        digest = hashlib.sha256(super().track_hash(number).encode())
        digest.update(np.ascontiguousarray(self.points[number], dtype=np.float32).data)
        return digest.hexdigest()


def draw_heads(
    people: int,
    *,
    videos: int = 1,
    frames: int = 48,
    side: int = 88,
    fps: float = 25.0,
    seed: int,
    first: int = 0,
    tremble: float = TREMBLE,
) -> VideoSet:
    """Draw the people with the numbers `first` .. `first + people - 1`, in memory; all tracks are real.

    Args:
        people: how many.
        videos: of each; they differ in motion, light and background.
        frames: in each.
        side: height and width (pixels).
        fps: frames per second.
        seed: decides all; the same seed gives the same people and videos, however many are drawn.
        first: number of the first person, which is their identity.
        tremble: standard deviation of the error of the points, of a face as a whole and of each point for itself, anew in each frame
            (in pixels of a crop of 144 pixels, as all lengths of `forgeries`); 0 tells them exactly.

    Raises:
        BadInput: a number is below 1, the side below 16, or the rate too low for the motion.
    """
    if min(people, videos, frames) < 1 or side < 16 or first < 0:
        raise BadInput(
            f"{people} people with {videos} videos of {frames} frames of {side} pixels",
            mend="use whole numbers from 1 and at least 16 pixels",
        )
    if not tremble >= 0:
        raise BadInput(f"points that tremble by {tremble:g}", mend="use a number from 0")
    if not fps > 2 * RATES[1]:
        raise BadInput(f"{fps:g} frames a second", why=f"motions of up to {RATES[1]:g} Hz need more than twice as many")
    tracks, points, names = [], [], []
    for one in range(first, first + people):
        for video in range(videos):
            drawn = _Head(seed, one, video, frames, side, fps)
            tracks.append(drawn.frames())
            points.append(drawn.points() + drawn.error(tremble))
            names.append(f"head{one:04d}/v{video}")
    number = people * videos
    return VideoSet(
        MarkedTracks(tracks, fps, points=points),
        np.zeros(number, bool),
        np.repeat(np.arange(first, first + people), videos),
        (REAL,) * number,
        tuple(names),
        np.full(number, NO_SOURCE),
    )


def natural_motion(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """A sum of three sines of random rate, phase and weight at these times: float (t,) in [-1, 1]."""
    rates = rng.uniform(*RATES, SINES)
    phases = rng.uniform(0, 2 * np.pi, SINES)
    # Fast motions are small ones: heads have weight.
    weights = rng.uniform(0.3, 1.0, SINES) / rates
    return np.sin(2 * np.pi * rates * seconds[:, None] + phases) @ (weights / weights.sum())


def blinking(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    """How open the eyes are in each frame, 1 for open: float (frames,). A blink begins by chance, 0.3 times a second."""
    length = max(3, round(BLINK_SECONDS * fps))
    # Half closed at its ends, closed in between.
    blink = np.full(length, CLOSED)
    blink[[0, -1]] = 0.5
    opened = np.ones(frames + 2 * length)
    for start in np.flatnonzero(rng.random(frames + length) < BLINKS / fps):
        np.minimum(opened[start : start + length], blink, out=opened[start : start + length])
    return opened[length : length + frames]


class _Scene(drawing._Canvas):
    """A canvas on which the face is smaller and moves further than `procedural_faces` takes for granted."""

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        middle, eyes = drawing.MIDDLE, drawing.EYES_Y
        last = drawing.TEMPLATE
        # What reaches a border of the template is a part without an end.
        moved = (
            0.0 if left <= 0 else middle + SIZE * (left - middle) - MARGIN,
            0.0 if top <= 0 else eyes + LIFT + SIZE * (top - eyes) - MARGIN,
            last if right >= last else middle + SIZE * (right - middle) + MARGIN,
            last if bottom >= last else eyes + LIFT + SIZE * (bottom - eyes) + MARGIN,
        )
        return super().window(*moved)


class _Head:
    """One video of one person: what the person is, what happens in each frame."""

    def __init__(self, seed: int, person: int, video: int, frames: int, side: int, fps: float) -> None:
        self.side, self.number = side, frames
        rng = np.random.default_rng([seed, 1, person])
        self.person = drawing._person(rng)
        self.grain = _grain(rng)
        rng = np.random.default_rng([seed, 2, person, video])
        seconds = np.arange(frames) / fps
        motion = {name: natural_motion(rng, seconds) for name in (
            "x", "y", "roll", "scale", "turn", "nod", "mouth", "brow", "gaze")}  # fmt: skip
        toward = rng.uniform(0, 2 * np.pi) + LIGHT_TURN * seconds * rng.choice([-1, 1])
        swell = SWELL * np.sin(2 * np.pi * SWELL_RATE * seconds + rng.uniform(0, 2 * np.pi))
        uneven = rng.uniform(0.1, 0.3)
        self.shot = {
            "shift_x": SHIFT * motion["x"], "shift_y": LIFT + SHIFT * motion["y"], "tilt": ROLL * motion["roll"],
            "scale": SIZE * (1 + SCALE * motion["scale"]), "turn": TURN * motion["turn"], "nod": NOD * motion["nod"],
            "gape": GAPE * (0.5 + 0.5 * motion["mouth"]), "smile": np.full(frames, rng.normal(0, 0.8)),
            "brow": BROW * motion["brow"], "gaze": GAZE * motion["gaze"], "lids": blinking(rng, frames, fps),
            "light_x": uneven * np.cos(toward), "light_y": uneven * np.sin(toward),
            "gain": np.exp(rng.normal(0, 0.12)) * (1 + swell), "cast": np.tile(1 + rng.normal(0, 0.04, 3), (frames, 1)),
        }  # fmt: skip
        self.ground = _background(rng, side)
        self.errors = [seed, 4, person, video]
        self.noise = np.random.default_rng([seed, 3, person, video])

    def _at(self, frames: slice) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        shot = {name: values[frames].astype(np.float32) for name, values in self.shot.items()}
        number = len(shot["turn"])
        person = {name: np.broadcast_to(value, (number, *value.shape)) for name, value in self.person.items()}
        # Raised brows; in a still they are part of who it is.
        return {**person, "brow_height": person["brow_height"] + shot["brow"]}, shot

    def frames(self) -> np.ndarray:
        """uint8 (frames, 3, side, side)."""
        found = np.empty((self.number, 3, self.side, self.side), np.uint8)
        for start in range(0, self.number, BATCH):
            found[start : start + BATCH] = self._drawn(*self._at(slice(start, start + BATCH)))
        return found

    def _drawn(self, person: dict[str, np.ndarray], shot: dict[str, np.ndarray]) -> np.ndarray:
        canvas = _Scene(shot, self.side)
        canvas.pixels[:] = self.ground
        drawing._head(canvas, person)
        self._texture(canvas, person)
        drawing._eyes(canvas, person, shot)
        drawing._nose_and_mouth(canvas, person, shot)
        pixels = canvas.pixels
        slope = 1 + drawing._wide(shot["light_x"]) * canvas.x / drawing.MIDDLE
        slope += drawing._wide(shot["light_y"]) * canvas.y / drawing.MIDDLE
        pixels *= np.clip(slope, 0.25, 1.9)[:, None]
        pixels *= 255 * (shot["gain"][:, None] * shot["cast"])[:, :, None, None]
        noise = self.noise.standard_normal(pixels.shape, dtype=np.float32)
        noise *= NOISE
        pixels += noise
        np.clip(pixels, 0, 255, out=pixels)
        return np.rint(pixels, out=pixels).astype(np.uint8)

    def _texture(self, canvas: _Scene, person: dict[str, np.ndarray]) -> None:
        """The skin's grain, which moves with the face: a periodic picture read bilinearly at each pixel's place on the face."""
        window = canvas.window(12, 1, 100, drawing.TEMPLATE)
        x, y = canvas.x[:, *window], canvas.y[:, *window]
        low_x, low_y = np.floor(x), np.floor(y)
        right, down = x - low_x, y - low_y
        column, row = low_x.astype(np.int32) & (GRAIN - 1), low_y.astype(np.int32) & (GRAIN - 1)
        next_column, next_row = (column + 1) & (GRAIN - 1), (row + 1) & (GRAIN - 1)
        upper = self.grain[row, column] * (1 - right) + self.grain[row, next_column] * right
        lower = self.grain[next_row, column] * (1 - right) + self.grain[next_row, next_column] * right
        face = np.clip(canvas.inside(x, y - 12, person["face_width"], person["face_height"]), 0, 1)
        canvas.pixels[:, :, *window] *= (1 + face * (upper * (1 - down) + lower * down))[:, None]

    def error(self, tremble: float) -> np.ndarray:
        """What a finder of points would be wrong by: float32 (frames, 127, 2)."""
        rng = np.random.default_rng(self.errors)
        own = rng.standard_normal((self.number, sum(HEAD_COUNTS.values()), 2), dtype=np.float32)
        whole = rng.standard_normal((self.number, 1, 2), dtype=np.float32)
        height = 2 * float(self.person["face_height"]) * SIZE * self.side / drawing.TEMPLATE
        return (own + whole) * np.float32(tremble * height / OVAL_HEIGHT)

    def points(self) -> np.ndarray:
        """Where the points lie in each frame: float32 (frames, 127, 2), pixels of the picture."""
        person, shot = self._at(slice(None))
        wide = {name: value[:, None] for name, value in {**person, **shot}.items() if value.ndim == 1}
        found = np.concatenate([_outlines(wide)[name] for name in HEAD_COUNTS], 1)
        cos, sin = np.cos(wide["tilt"]), np.sin(wide["tilt"])
        right = found[..., 0] * cos - found[..., 1] * sin
        down = found[..., 0] * sin + found[..., 1] * cos
        x = drawing.MIDDLE + wide["shift_x"] + wide["scale"] * right
        y = drawing.EYES_Y + wide["shift_y"] + wide["scale"] * down
        return (np.stack([x, y], 2) * (self.side / drawing.TEMPLATE) - 0.5).astype(np.float32)


def _ring(count: int) -> np.ndarray:
    return np.linspace(0, 2 * np.pi, count, endpoint=False, dtype=np.float32)[None]


def _outlines(wide: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Points of each part (t, n, 2) where `procedural_faces` draws them: on the upright face, from between the eyes."""
    found = {}
    turn = _ring(HEAD_COUNTS["oval"])
    y = wide["face_height"] * np.sin(turn)
    taper = 1 - wide["jaw"] * np.clip(np.sin(turn), 0, 1) ** 2
    found["oval"] = np.stack([wide["face_width"] * np.cos(turn) * taper, y + 12], 2)
    for which, name in ((-1, "left"), (1, "right")):
        turn = _ring(HEAD_COUNTS["left_eye"])
        middle_x, middle_y = which * wide["eye_apart"] + 1.6 * wide["turn"], 0.8 * wide["nod"]
        x = wide["eye_width"] * np.cos(turn)
        y = wide["eye_open"] * wide["lids"] * np.sin(turn) - which * x * wide["eye_tilt"]
        found[f"{name}_eye"] = np.stack([middle_x + x, middle_y + y], 2)
        x = wide["brow_length"] * np.linspace(-1, 1, HEAD_COUNTS["left_brow"], dtype=np.float32)[None]
        y = -wide["brow_height"] - which * x * wide["brow_tilt"] - 0.02 * x * x
        found[f"{name}_brow"] = np.stack([middle_x + x, middle_y + y], 2)
    tip_x, tip_y = 2.4 * wide["turn"], drawing.NOSE_Y - drawing.EYES_Y + wide["nose_length"] + 1.4 * wide["nod"]
    # Down the bridge, then along the wings from left to right.
    across = np.array([0, 0, 0, 0, -1, -0.5, 0, 0.5, 1], np.float32)[None]
    along = np.array([-18, -12, -6, 0, 2, 3, 3.5, 3, 2], np.float32)[None]
    found["nose"] = np.stack([tip_x + across * wide["nose_width"], tip_y + along], 2)
    mouth_x = 1.8 * wide["turn"]
    mouth_y = drawing.MOUTH_Y - drawing.EYES_Y + wide["mouth_height"] + wide["nod"]
    width = wide["mouth_width"] + 0.8 * wide["smile"]
    for name, part, half in (
        ("lips", 1.0, wide["lips"] + 0.6 * wide["gape"]),
        ("inner_lips", 0.9, 0.7 + 0.8 * wide["gape"]),
    ):
        turn = _ring(HEAD_COUNTS[name])
        x = part * width * np.cos(turn)
        y = half * np.sin(turn) - (wide["mouth_bend"] + wide["smile"]) * ((x / width) ** 2 - 0.4)
        found[name] = np.stack([mouth_x + x, mouth_y + y], 2)
    return found


def _grain(rng: np.random.Generator) -> np.ndarray:
    """Relative brightness of skin (GRAIN, GRAIN): pores and blotches, continued over its borders."""
    fine, coarse = (gaussian_filter(rng.standard_normal((GRAIN, GRAIN)), sigma, mode="wrap") for sigma in (1.0, 5.0))
    return (0.03 * fine / fine.std() + 0.03 * coarse / coarse.std()).astype(np.float32)


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    """float32 (3, side, side): one colour with large and small blotches."""
    factor = side / drawing.TEMPLATE
    blotches = np.zeros((3, side, side))
    for channels, sigma, weight in ((1, 10.0, 0.10), (3, 12.0, 0.04), (3, 3.0, 0.03)):
        white = rng.standard_normal((channels, side, side))
        field = gaussian_filter(white, (0, sigma * factor, sigma * factor), mode="reflect")
        blotches += weight * field / field.std()
    colour = rng.uniform(0.25, 0.75) + rng.uniform(-0.12, 0.12, 3)
    return np.clip(colour[:, None, None] + blotches, 0.02, 0.98).astype(np.float32)
