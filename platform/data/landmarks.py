"""Landmarks of a face: the five points that alignment needs, from whichever finder is installed.

- `none`: pictures are crops already.
- `csv`: a table with one line a picture: its name, then 5 or 68 points as x, y, x, y, ...
- `mediapipe`: MediaPipe's face mesh, also of masked faces.
- `dlib`: dlib's detector and 68 points.
- `opencv`: OpenCV's Haar cascades for two eyes, of frontal faces only.

The last three are libraries of their own, and an error says how to install them. None fetches anything when it runs. Points are (x, y)
in pixels, (0, 0) the centre of the first pixel, in the order left eye, right eye, nose, left and right corner of the mouth, as they lie
in the picture.

>>> landmark_finder("none").looks
False
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import BadInput, MissingExtra
from .alignment import five_of_68, five_of_eyes

# Of MediaPipe's mesh: corners of both eyes, tip of the nose, corners of the mouth.
OF_MESH = ((33, 133), (362, 263), (1,), (61,), (291,))
MESHES = (468, 478)
FIVE, SIXTY_EIGHT = 5, 68


class Landmarks(Protocol):
    """A finder."""

    @property
    def looks(self) -> bool:
        """False for one that never finds any, because pictures are crops already."""

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        """Five points (5, 2) of the largest face in a picture uint8 (height, width, 3) in RGB; None where there is no face.

        `name` is the picture's, for a finder that looks it up.
        """


def five_of_mesh(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(5, 2) of MediaPipe's mesh (468 or 478, 2 or 3), whose coordinates are fractions of the picture's width and height."""
    array = np.asarray(points, dtype=float)
    if array.ndim != 2 or len(array) not in MESHES:
        raise BadInput(
            f"landmarks of shape {array.shape}", why="a mesh has 468 points, or 478 with those of the irises"
        )
    return np.array([array[list(some), :2].mean(0) for some in OF_MESH]) * [width, height] - 0.5


def two_eyes(boxes: np.ndarray, face: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The likeliest pair of eyes among boxes (n, 4) of x, y, width, height inside a face's box; centres, left one first.

    Eyes lie in the upper 60 % of a face, at about one height, a quarter to two thirds of its width apart. Of several such pairs the
    widest boxes count most; None where there is none.
    """
    left, top, width, height = face
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    centres = boxes[:, :2] + (boxes[:, 2:] - 1) / 2
    best, most = None, 0.0
    for i, one in enumerate(centres):
        for j, other in enumerate(centres):
            across, down = other - one
            fits = 0.25 * width < across < 0.67 * width and abs(down) < 0.35 * across
            inside = all(top <= y <= top + 0.6 * height and left <= x <= left + width for x, y in (one, other))
            if fits and inside and boxes[i, 2] + boxes[j, 2] > most:
                best, most = (one, other), boxes[i, 2] + boxes[j, 2]
    return best


@dataclass(frozen=True)
class NoLandmarks:
    """Never looks: pictures are crops already."""

    looks: bool = field(default=False, init=False)

    def find(self, image: np.ndarray, name: str | None = None) -> None:
        """None."""


@dataclass(frozen=True, eq=False)
class CsvLandmarks:
    """Landmarks from a table. A picture that is not in it has no face.

    Args:
        table: a CSV file. Each line has a picture's name and 10 or 136 numbers; a first line without a name or without numbers is a
            header.

    Raises:
        BadInput: the file cannot be read, or a line is no such line; which one is said by its number.
    """

    table: str | Path
    looks: bool = field(default=True, init=False)
    points: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.points.update(read_table(Path(self.table)))

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        """The points of the picture with this name."""
        if name is None:
            raise BadInput("landmarks from a table need the picture's name", mend="give its name as the table has it")
        return self.points.get(name)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Five points (5, 2) by the name of the picture; see `CsvLandmarks`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read landmarks from {path}", why=type(error).__name__) from None
    table: dict[str, np.ndarray] = {}
    for line, (name, *cells) in enumerate(rows, 1):
        numbers = np.array([_number(cell) for cell in cells])
        if line == 1 and (not name or np.isnan(numbers).all()):
            continue  # a header
        count = len(numbers)
        if not name or count not in (2 * FIVE, 2 * SIXTY_EIGHT) or not np.isfinite(numbers).all():
            raise BadInput(
                f"line {line} of {path} is no picture's landmarks",
                why=f"a name and {2 * FIVE} or {2 * SIXTY_EIGHT} finite numbers make a line",
            )
        if name in table:
            raise BadInput(f"line {line} of {path} names a picture that an earlier line named", mend="keep one of them")
        points = numbers.reshape(-1, 2)
        table[name] = points if count == 2 * FIVE else five_of_68(points)
    if not table:
        raise BadInput(f"{path} holds no landmarks", why="it has no line but a header")
    return table


@dataclass(eq=False)
class MediapipeLandmarks:
    """MediaPipe's face mesh, on single pictures."""

    looks: bool = field(default=True, init=False)
    mesh: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        solutions = _needed(
            "mediapipe", "solutions", "pip install 'mediapipe==0.10.14' (later wheels come without models)"
        )
        self.mesh = solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=8)

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        """Five points of the largest face's mesh."""
        found = self.mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        meshes = [np.array([[point.x, point.y] for point in face.landmark]) for face in found]
        if not meshes:
            return None
        return five_of_mesh(max(meshes, key=lambda mesh: np.prod(np.ptp(mesh, axis=0))), *image.shape[:2])


@dataclass(eq=False)
class DlibLandmarks:
    """dlib's detector of frontal faces and its 68 points."""

    looks: bool = field(default=True, init=False)
    detector: Any = field(init=False, repr=False)
    predictor: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mend = "pip install dlib-bin face_recognition_models (the 68 points' weights are for research only)"
        self.detector = _needed("dlib", "get_frontal_face_detector", mend)()
        weights = _needed("face_recognition_models", "pose_predictor_model_location", mend)()
        self.predictor = _needed("dlib", "shape_predictor", mend)(weights)

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        """Five points of the largest face; small faces are looked for at twice the size."""
        image = np.ascontiguousarray(image)
        faces = self.detector(image, 1)
        if not faces:
            return None
        shape = self.predictor(image, max(faces, key=lambda face: face.area()))
        return five_of_68(np.array([[part.x, part.y] for part in shape.parts()], dtype=float))


@dataclass(eq=False)
class OpencvLandmarks:
    """OpenCV's Haar cascades: a frontal face, two eyes in it, and the rest by the template. It fails on masks and profiles."""

    looks: bool = field(default=True, init=False)
    faces: Any = field(init=False, repr=False)
    eyes: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mend = "pip install 'opencv-python-headless<5' (5 comes without cascades)"
        cascade, folder = _needed("cv2", "CascadeClassifier", mend), _needed("cv2.data", "haarcascades", mend)
        self.faces = cascade(str(Path(folder) / "haarcascade_frontalface_default.xml"))
        self.eyes = cascade(str(Path(folder) / "haarcascade_eye.xml"))

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        """Five points of the largest face with two eyes."""
        grey = np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8)
        for x, y, width, height in sorted(self.faces.detectMultiScale(grey, 1.1, 5), key=lambda box: -box[2] * box[3]):
            inside = np.ascontiguousarray(grey[y : y + height, x : x + width])
            boxes = np.asarray(self.eyes.detectMultiScale(inside, 1.1, 3), dtype=float).reshape(-1, 4)
            eyes = two_eyes(boxes + np.array([x, y, 0, 0]), (x, y, width, height))
            if eyes is not None:
                return five_of_eyes(*eyes)
        return None


FINDERS: dict[str, Callable[[], Landmarks]] = {
    "none": NoLandmarks,
    "mediapipe": MediapipeLandmarks,
    "dlib": DlibLandmarks,
    "opencv": OpencvLandmarks,
}


def landmark_finder(name: str, table: str | Path | None = None) -> Landmarks:
    """Return the finder with this name.

    Args:
        name: `none`, `csv`, `mediapipe`, `dlib` or `opencv`.
        table: the file of `csv`.

    Raises:
        BadInput: no finder has this name, or `csv` has no table and another one has.
        MissingExtra: what it needs is not installed.
    """
    known = ("csv", *FINDERS)
    if name not in known:
        raise BadInput(f"no finder of landmarks is called {name!r}", mend=f"use one of {', '.join(known)}")
    if (name == "csv") != (table is not None):
        raise BadInput(
            f"the finder '{name}' with{'out' if table is None else ''} a table", why="csv, and only csv, needs one"
        )
    return CsvLandmarks(table) if table is not None else FINDERS[name]()


def _needed(module: str, name: str, mend: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MissingExtra(f"these landmarks need {module}", why=str(error), mend=mend) from None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
