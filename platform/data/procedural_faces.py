"""Drawn faces of people who do not exist: a set to try face recognition on, with nothing to download and nobody to offend.

A person is some thirty numbers (shape of head, hair, brows, eyes, nose and mouth, colours, beard, glasses, a mole). A picture adds what
does not belong to the person: place, size and tilt in the frame, a turn of the head, expression, light and its direction, background,
noise. Light and background belong to a *medium*, as in the frames of one video. Person i of a seed is the same however many are drawn.

>>> faces = draw_people(3, media=2, frames=2, side=112, seed=0)
>>> len(faces), faces.people, faces.size, faces.names[0], faces.media.tolist()
(12, 3, (112, 112), 'person0000/v0_0.png', [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import BadInput
from .faces import FaceImages, InMemory

BATCH = 8  # small enough to stay in a processor's cache
TEMPLATE = 112.0  # all lengths are in pixels of the 112 x 112 template, with the eyes where alignment puts them
EYES_Y, NOSE_Y, MOUTH_Y = 51.6, 71.7, 92.3
MIDDLE = 56.0
Numbers = Mapping[str, np.ndarray]
SKIN = np.array([[0.96, 0.84, 0.75], [0.87, 0.68, 0.53], [0.66, 0.46, 0.33], [0.36, 0.24, 0.17]])
HAIR = np.array([[0.07, 0.06, 0.06], [0.27, 0.17, 0.10], [0.52, 0.33, 0.17], [0.80, 0.66, 0.42], [0.62, 0.62, 0.62]])
IRIS = np.array([[0.18, 0.11, 0.07], [0.35, 0.22, 0.10], [0.24, 0.36, 0.22], [0.30, 0.43, 0.58]])


def draw_people(
    people: int,
    *,
    media: int,
    frames: int,
    side: int = 112,
    seed: int,
    first: int = 0,
    nuisance: float = 1.0,
) -> FaceImages:
    """Draw the people with the numbers `first` .. `first + people - 1`, in memory.

    Args:
        people: how many.
        media: sessions of each, which differ in light and background.
        frames: pictures in each session.
        side: height and width (pixels).
        seed: decides all; the same seed gives the same people and pictures.
        first: number of the first person.
        nuisance: how much pictures of one person differ; 0: by the noise of the camera only.

    Raises:
        BadInput: a number is below 1, or the nuisance negative.
    """
    if min(people, media, frames) < 1 or side < 8 or nuisance < 0 or first < 0:
        raise BadInput(
            f"{people} people with {media} x {frames} pictures of {side} pixels, nuisance {nuisance}",
            mend="use whole numbers from 1, at least 8 pixels, a nuisance from 0",
        )
    traits = [_person(np.random.default_rng([seed, 1, first + one])) for one in range(people)]
    shots = [
        shot
        for one in range(people)
        for shot in _shots(np.random.default_rng([seed, 2, first + one]), media, frames, nuisance)
    ]
    each = media * frames
    identities = np.repeat(np.arange(people), each)
    images = np.empty((len(shots), 3, side, side), np.uint8)
    for start in range(0, len(shots), BATCH):
        part = range(start, min(start + BATCH, len(shots)))
        known = {key: np.stack([traits[identities[i]][key] for i in part]) for key in traits[0]}
        taken = {key: np.stack([shots[i][key] for i in part]) for key in shots[0]}
        # Noise of its own for each picture, so that it does not depend on what else is drawn.
        noise = np.stack([_noise([seed, 3, first + i // each, i % each], side) for i in part])
        images[start : part.stop] = _drawn(known, taken, side, noise)
    called = tuple(f"person{first + one:04d}" for one in range(people))
    names = tuple(f"{called[one]}/v{m}_{f}.png" for one in range(people) for m in range(media) for f in range(frames))
    return FaceImages(
        InMemory(images), identities, names, media=np.repeat(np.arange(people * media), frames), people_names=called
    )


def _between(colours: np.ndarray, where: float) -> np.ndarray:
    low = min(int(where), len(colours) - 2)
    return colours[low] + (colours[low + 1] - colours[low]) * (where - low)


def _person(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What belongs to the person."""
    skin = _between(SKIN, rng.uniform(0, 3)) * rng.uniform(0.93, 1.05) + rng.normal(0, 0.015, 3)
    hair = _between(HAIR, rng.uniform(0, 4)) + rng.normal(0, 0.02, 3)
    beard = max(0.0, rng.uniform(-1.2, 0.8))
    numbers = {
        "face_width": rng.uniform(33, 43), "face_height": rng.uniform(50, 59), "jaw": rng.uniform(0.0, 0.42),
        "hairline": rng.uniform(-44, -24), "fringe_tilt": rng.uniform(-0.35, 0.35), "fringe_bend": rng.uniform(-0.012, 0.014),
        "hair_width": rng.uniform(2, 13), "hair_length": rng.uniform(-35, 60), "hair_top": rng.uniform(2, 9),
        "brow_height": rng.uniform(7.5, 13), "brow_thick": rng.uniform(1.0, 3.2), "brow_tilt": rng.uniform(-0.25, 0.3),
        "brow_length": rng.uniform(7.5, 11.5), "brow_dark": rng.uniform(0.25, 0.8),
        "eye_apart": rng.uniform(15.2, 20.0), "eye_width": rng.uniform(5.2, 8.4), "eye_open": rng.uniform(2.2, 4.4),
        "eye_tilt": rng.uniform(-0.2, 0.2), "iris": rng.uniform(2.1, 3.3),
        "nose_length": rng.uniform(-4, 5), "nose_width": rng.uniform(4.0, 8.8), "nose_bridge": rng.uniform(1.0, 3.4),
        "mouth_height": rng.uniform(-3.5, 3.5), "mouth_width": rng.uniform(9.5, 17), "lips": rng.uniform(1.8, 5.0),
        "lips_red": rng.uniform(0.0, 0.4), "mouth_bend": rng.uniform(-1.5, 2.0),
        "beard": beard, "glasses": float(rng.random() < 0.2) * rng.uniform(0.6, 1.0), "glasses_size": rng.uniform(8.5, 11.5),
        "mole_x": rng.uniform(-26, 26), "mole_y": rng.uniform(-6, 38), "mole": float(rng.random() < 0.25) * rng.uniform(1.0, 2.2),
    }  # fmt: skip
    found = {key: np.asarray(value, np.float32) for key, value in numbers.items()}
    colours = {"skin": skin, "hair": hair, "eye_colour": _between(IRIS, rng.uniform(0, 3)) + rng.normal(0, 0.02, 3)}
    return {**found, **{key: np.clip(value, 0.03, 0.98).astype(np.float32) for key, value in colours.items()}}


def _shots(rng: np.random.Generator, media: int, frames: int, nuisance: float) -> list[dict[str, np.ndarray]]:
    """What belongs to the pictures of one person, session after session."""
    found = []
    for _ in range(media):
        session = {
            "gain": np.exp(rng.normal(0, 0.2) * nuisance), "cast": 1 + nuisance * rng.normal(0, 0.05, 3),
            "light_x": nuisance * rng.normal(0, 0.28), "light_y": nuisance * rng.normal(0, 0.15),
            "ground": 0.5 + min(nuisance, 1) * rng.uniform(-0.4, 0.4, 3), "turn": nuisance * rng.normal(0, 2.2),
            "smile": nuisance * rng.normal(0, 1.2), "noise": 0.02 + 0.02 * nuisance * rng.random(),
        }  # fmt: skip
        for _ in range(frames):
            moved = {
                "shift_x": nuisance * rng.normal(0, 1.4), "shift_y": nuisance * rng.normal(0, 1.4),
                "scale": np.exp(nuisance * rng.normal(0, 0.035)), "tilt": nuisance * rng.normal(0, 0.05),
                "turn": session["turn"] + nuisance * rng.normal(0, 1.0), "nod": nuisance * rng.normal(0, 1.0),
                "smile": session["smile"] + nuisance * rng.normal(0, 0.8), "gape": max(0.0, nuisance * rng.normal(-0.5, 1.6)),
                "lids": np.exp(-abs(nuisance * rng.normal(0, 0.3))), "gaze": nuisance * rng.normal(0, 0.9),
                "gain": session["gain"] * np.exp(nuisance * rng.normal(0, 0.05)),
            }  # fmt: skip
            found.append({key: np.asarray(value, np.float32) for key, value in {**session, **moved}.items()})
    return found


class _Canvas:
    """Pictures under way, float32 (b, 3, side, side), and where each of their pixels lies on the face (template pixels, upright)."""

    def __init__(self, shot: Numbers, side: int) -> None:
        y, x = np.meshgrid((np.arange(side, dtype=np.float32) + 0.5) * (TEMPLATE / side), (np.arange(side, dtype=np.float32) + 0.5)
                           * (TEMPLATE / side), indexing="ij")  # fmt: skip
        right = (x[None] - MIDDLE - _wide(shot["shift_x"])) / _wide(shot["scale"])
        down = (y[None] - EYES_Y - _wide(shot["shift_y"])) / _wide(shot["scale"])
        cos, sin = np.cos(_wide(shot["tilt"])), np.sin(_wide(shot["tilt"]))
        self.side = side
        self.x, self.y = right * cos + down * sin, down * cos - right * sin
        self.pixels = np.empty((len(right), 3, side, side), np.float32)
        self.edge = max(1.0, TEMPLATE / side)  # softness of edges: about a pixel

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns that are all there is to look at for a part of the face in this box (template pixels of the picture)."""
        factor = self.side / TEMPLATE
        cut = [int(np.clip(round(value * factor), 0, self.side)) for value in (top, bottom, left, right)]
        return slice(cut[0], max(cut[1], cut[0] + 1)), slice(cut[2], max(cut[3], cut[2] + 1))

    def at(self, window: tuple[slice, slice], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from a point of each face."""
        return self.x[:, *window] - _wide(x), self.y[:, *window] - _wide(y)

    def paint(self, window: tuple[slice, slice], cover: np.ndarray, colour: np.ndarray) -> None:
        """Lay a colour (b, 3) over the pictures where `cover` (b, rows, columns) is above 0."""
        under = self.pixels[:, :, *window]
        under += np.clip(cover, 0, 1)[:, None] * (colour[:, :, None, None] - under)

    def inside(self, x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cover of an ellipse with these half axes, with soft edges."""
        a, b = _wide(a), _wide(b)
        return (1 - np.sqrt((x / a) ** 2 + (y / b) ** 2)) * np.minimum(a, b) / self.edge + 0.5


def _wide(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(numbers, np.float32)[:, None, None]


def _noise(seed: list[int], side: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, side, side), dtype=np.float32)


def _drawn(person: Numbers, shot: Numbers, side: int, noise: np.ndarray) -> np.ndarray:
    canvas = _Canvas(shot, side)
    canvas.pixels[:] = shot["ground"][:, :, None, None]
    _head(canvas, person)
    _eyes(canvas, person, shot)
    _nose_and_mouth(canvas, person, shot)
    pixels = canvas.pixels
    pixels *= (shot["gain"][:, None] * shot["cast"])[:, :, None, None]
    slope = 1 + _wide(shot["light_x"]) * canvas.x / MIDDLE + _wide(shot["light_y"]) * canvas.y / MIDDLE
    pixels *= np.clip(slope, 0.25, 1.9)[:, None]
    pixels += noise * shot["noise"][:, None, None, None]
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _head(canvas: _Canvas, person: Numbers) -> None:
    """Hair behind, neck, face, hair in front, beard; the middle of the face lies 12 pixels below the eyes."""
    all_of_it = canvas.window(0, 0, TEMPLATE, TEMPLATE)
    x, y = canvas.x, canvas.y - 12
    zero = np.zeros(len(x), np.float32)
    width, height = person["face_width"], person["face_height"]
    behind = canvas.inside(x, y + 6, width + person["hair_width"], height + person["hair_top"])
    below = (_wide(width + person["hair_width"] * 0.9) - np.abs(x)) / canvas.edge
    long = np.minimum(below, (_wide(person["hair_length"]) - y) / canvas.edge) * (y > 0)
    canvas.paint(all_of_it, np.maximum(np.where(y < _wide(person["hair_length"]), behind, 0), long), person["hair"])
    neck = np.minimum((_wide(width * 0.58) - np.abs(x)) / canvas.edge, (y - 30) / canvas.edge)
    canvas.paint(all_of_it, neck, person["skin"] * 0.78)
    taper = 1 - _wide(person["jaw"]) * np.clip(y / _wide(height), 0, 1) ** 2
    face = np.clip(canvas.inside(x / taper, y, width, height), 0, 1)
    canvas.paint(all_of_it, face, person["skin"])
    fringe = _wide(person["hairline"]) + _wide(person["fringe_tilt"]) * x + _wide(person["fringe_bend"]) * x * x
    canvas.paint(all_of_it, np.minimum(2 * face, np.clip((fringe - y) / (2 * canvas.edge) + 0.5, 0, 1)), person["hair"])
    jaw = canvas.window(8, 60, 104, TEMPLATE)
    around = np.clip(1 - canvas.inside(*canvas.at(jaw, zero, zero + 30), width * 0.62, height * 0.36), 0, 1)
    low = np.clip((canvas.y[:, *jaw] - 22) / 8, 0, 1)
    canvas.paint(jaw, face[:, *jaw] * around * low * _wide(person["beard"]), person["hair"] * 0.85)
    cheek = canvas.window(15, 30, 97, 104)
    spot = canvas.inside(
        *canvas.at(cheek, person["mole_x"], person["mole_y"]), person["mole"] + 0.01, person["mole"] + 0.01
    )
    canvas.paint(cheek, np.where(_wide(person["mole"]) > 0, spot, 0), person["skin"] * 0.3)


def _eyes(canvas: _Canvas, person: Numbers, shot: Numbers) -> None:
    """A turn of the head moves all features sideways; what lies nearer to the camera moves more."""
    turn, nod = shot["turn"] * 1.6, shot["nod"] * 0.8
    white, black = (np.full((len(turn), 3), value, np.float32) for value in (0.93, 0.05))
    for which in (-1, 1):
        window = canvas.window(8, 26, 62, 72) if which < 0 else canvas.window(50, 26, 104, 72)
        x, y = canvas.at(window, which * person["eye_apart"] + turn, nod)
        lifted = y + which * x * _wide(person["eye_tilt"])
        opening = person["eye_open"] * shot["lids"]
        eye = np.clip(canvas.inside(x, lifted, person["eye_width"], opening), 0, 1)
        canvas.paint(window, canvas.inside(x, lifted, person["eye_width"] + 1.2, opening + 1.2), person["skin"] * 0.6)
        canvas.paint(window, eye, white)
        seen = x - _wide(shot["gaze"])
        canvas.paint(
            window,
            np.minimum(eye, np.clip(canvas.inside(seen, y, person["iris"], person["iris"]), 0, 1)),
            person["eye_colour"],
        )
        pupil = np.clip(canvas.inside(seen, y, person["iris"] * 0.45, person["iris"] * 0.45), 0, 1)
        canvas.paint(window, np.minimum(eye, pupil), black)
        brow = y + _wide(person["brow_height"]) + which * x * _wide(person["brow_tilt"]) + 0.02 * x * x
        cover = np.clip(canvas.inside(x, brow, person["brow_length"], person["brow_thick"]), 0, 1)
        canvas.paint(window, cover * _wide(person["brow_dark"] + 0.2), person["hair"] * 0.7)
        ring = 1.2 - np.abs(np.hypot(x, y * 1.15) - _wide(person["glasses_size"]))
        canvas.paint(window, ring * _wide(person["glasses"]), black)


def _nose_and_mouth(canvas: _Canvas, person: Numbers, shot: Numbers) -> None:
    turn, nod, smile = shot["turn"], shot["nod"], shot["smile"]
    window = canvas.window(32, 46, 80, 92)
    tip = NOSE_Y - EYES_Y + person["nose_length"] + nod * 1.4
    x, y = canvas.at(window, turn * 2.4, tip)
    bridge = canvas.inside(
        x - _wide(person["nose_bridge"]) - 1.0, y + 9, np.full_like(turn, 1.5), np.full_like(turn, 11.0)
    )
    canvas.paint(window, np.clip(bridge, 0, 1) * 0.6, person["skin"] * 0.75)
    canvas.paint(
        window,
        np.clip(canvas.inside(x, y - 1.5, person["nose_width"], np.full_like(turn, 2.6)), 0, 1) * 0.8,
        person["skin"] * 0.7,
    )
    canvas.paint(
        window,
        np.clip(canvas.inside(x, y, person["nose_width"] * 0.7, np.full_like(turn, 3.0)), 0, 1) * 0.8,
        person["skin"],
    )
    for which in (-1, 1):
        hole = canvas.inside(
            x - which * _wide(person["nose_width"] * 0.45), y - 2.2, np.full_like(turn, 1.3), np.full_like(turn, 0.9)
        )
        canvas.paint(window, hole, person["skin"] * 0.25)
    window = canvas.window(24, 72, 88, TEMPLATE)
    width = person["mouth_width"] + 0.8 * smile
    x, y = canvas.at(window, turn * 1.8, MOUTH_Y - EYES_Y + person["mouth_height"] + nod)
    bent = y + _wide(person["mouth_bend"] + smile) * ((x / _wide(width)) ** 2 - 0.4)
    red = np.array([1.0, 0.45, 0.45], np.float32)
    amount = person["lips_red"][:, None]
    lips = person["skin"] * (0.78 - 0.2 * amount) * (1 - amount) + amount * red * (0.35 + 0.4 * person["skin"])
    canvas.paint(window, canvas.inside(x, bent, width, person["lips"] + 0.6 * shot["gape"]), lips)
    canvas.paint(window, canvas.inside(x, bent, width * 0.9, 0.7 + 0.8 * shot["gape"]), person["skin"] * 0.2)
