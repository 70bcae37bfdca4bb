"""Finders of landmarks: tables for real; the libraries by stand-ins that return made-up detections, and by their absence."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.data.alignment import TEMPLATE, five_of_68
from stillhouse.platform.data.landmarks import five_of_mesh, landmark_finder, two_eyes
from stillhouse.platform.errors import BadInput, MissingExtra

PICTURE = np.zeros((80, 100, 3), np.uint8)


def line(name: str, points: np.ndarray) -> str:
    return ",".join([name, *(f"{x:.17g}" for x in points.ravel())])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "points.csv"


class TestTables:
    def test_five_and_68_points_by_name(self, table: Path) -> None:
        many = np.random.default_rng(0).random((68, 2)) * 100
        table.write_text("\n".join([line("a/1.jpg", TEMPLATE), line("b.jpg", many), ""]))
        finder = landmark_finder("csv", table)
        assert finder.looks
        for name, points in (("a/1.jpg", TEMPLATE), ("b.jpg", five_of_68(many))):
            found = finder.find(PICTURE, name)
            assert found is not None and np.array_equal(found, points)
        assert finder.find(PICTURE, "c.jpg") is None

    @pytest.mark.parametrize(
        "header", ["image," + ",".join("xy" * 5), "," + ",".join(map(str, range(10))), "\ufeffimage,points"]
    )
    def test_a_header_is_passed_over(self, table: Path, header: str) -> None:
        table.write_text(f"{header}\n{line('a', TEMPLATE)}\n", encoding="utf-8")
        assert landmark_finder("csv", table).find(PICTURE, "a") is not None

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no landmarks"),
            ("image,x,y\n", "no landmarks"),
            (line("a", TEMPLATE) + "\n" + line("b", TEMPLATE[:4]), "line 2"),
            (line("a", TEMPLATE) + "\n" + line("b", TEMPLATE).replace("38.2", "Q38.2"), "line 2"),
            (line("a", TEMPLATE).replace("38.2", "Q38.2"), "line 1"),
            (line("a", TEMPLATE * np.nan).replace("nan", "inf"), "line 1"),
            (line("a", TEMPLATE) + "\n" + line("", TEMPLATE), "line 2"),
            (line("a", TEMPLATE) + "\n" + line("a", TEMPLATE), "earlier line"),
        ],
    )
    def test_what_is_no_table_is_refused_by_line(self, table: Path, text: str, says: str) -> None:
        table.write_text(text)
        with pytest.raises(BadInput, match=says) as error:
            landmark_finder("csv", table)
        assert "Q38" not in str(error.value)

    def test_missing_and_unreadable_files_are_refused(self, table: Path) -> None:
        with pytest.raises(BadInput, match="FileNotFoundError"):
            landmark_finder("csv", table)
        table.write_bytes(b"\xff\xfe\x00a,\xd8\x00")
        with pytest.raises(BadInput, match="cannot read"):
            landmark_finder("csv", table)

    def test_the_name_is_needed(self, table: Path) -> None:
        table.write_text(line("a", TEMPLATE))
        with pytest.raises(BadInput, match="name"):
            landmark_finder("csv", table).find(PICTURE)


def test_none_never_looks() -> None:
    finder = landmark_finder("none")
    assert not finder.looks and finder.find(PICTURE) is None


@pytest.mark.parametrize(
    ("name", "table", "says"), [("mtcnn", None, "use one of"), ("csv", None, "without"), ("none", "a.csv", "only csv")]
)
def test_unknown_finders_and_stray_tables_are_refused(name: str, table: str | None, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        landmark_finder(name, table)


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("mediapipe", "mediapipe", r"mediapipe==0\.10\.14"),
        ("dlib", "dlib", "dlib-bin"),
        ("opencv", "cv2", "headless<5"),
    ],
)
def test_what_is_not_installed_is_said_with_what_installs_it(
    name: str, module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=says):
        landmark_finder(name)
    # A version that lacks the part is told like none at all.
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    with pytest.raises(MissingExtra, match=says):
        landmark_finder(name)


def test_a_mesh_is_fractions_of_the_picture() -> None:
    mesh = np.full((478, 3), 0.5)
    mesh[[33, 133], 0] = [0.2, 0.3]
    mesh[1] = [0.5, 0.625, 0]
    five = five_of_mesh(mesh, 80, 100)
    assert five == pytest.approx(np.array([[24.5, 39.5], [49.5, 39.5], [49.5, 49.5], [49.5, 39.5], [49.5, 39.5]]))
    assert np.array_equal(five_of_mesh(mesh[:468], 80, 100), five)
    with pytest.raises(BadInput, match="468"):
        five_of_mesh(mesh[:68], 80, 100)


def test_eyes_are_a_level_pair_in_the_upper_face() -> None:
    left, right = [20, 30, 11, 11], [60, 32, 11, 11]
    mouth, low, near = [40, 75, 31, 11], [60, 80, 21, 21], [24, 30, 9, 9]
    pair = two_eyes(np.array([mouth, right, low, near, left]), (0, 0, 100, 100))
    assert pair is not None
    assert np.array_equal(pair[0], [25, 35]) and np.array_equal(pair[1], [65, 37])
    assert two_eyes(np.array([left, mouth, low]), (0, 0, 100, 100)) is None
    assert two_eyes(np.empty((0, 4)), (0, 0, 100, 100)) is None


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def test_mediapipes_largest_face_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def face(size: float, middle: float) -> SimpleNamespace:
        places = np.random.default_rng(0).uniform(-size, size, (468, 2)) + middle
        return SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y) for x, y in places])

    faces: list[SimpleNamespace] | None = [face(0.05, 0.2), face(0.2, 0.6), face(0.1, 0.4)]
    mesh = SimpleNamespace(process=lambda image: SimpleNamespace(multi_face_landmarks=faces))
    fake(monkeypatch, "mediapipe", solutions=SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=lambda **_: mesh)))
    finder = landmark_finder("mediapipe")
    found = finder.find(PICTURE)
    assert found is not None
    expected = five_of_mesh(np.array([[p.x, p.y] for p in face(0.2, 0.6).landmark]), 80, 100)
    assert found == pytest.approx(expected)
    faces = None
    assert finder.find(PICTURE) is None


def test_dlibs_largest_face_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [SimpleNamespace(area=lambda: 10, at=0), SimpleNamespace(area=lambda: 99, at=7)]

    def predictor(image: np.ndarray, box: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(parts=lambda: [SimpleNamespace(x=i + box.at, y=2 * i) for i in range(68)])

    fake(
        monkeypatch,
        "dlib",
        get_frontal_face_detector=lambda: lambda image, up: boxes,
        shape_predictor=lambda path: predictor,
    )
    fake(monkeypatch, "face_recognition_models", pose_predictor_model_location=lambda: "68.dat")
    finder = landmark_finder("dlib")
    found = finder.find(PICTURE)
    assert found is not None and found[2].tolist() == [37, 60]
    boxes.clear()
    assert finder.find(PICTURE) is None


def test_opencvs_eyes_are_looked_for_inside_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    class Cascade:
        def __init__(self, path: str) -> None:
            self.faces = "frontalface" in path

        def detectMultiScale(self, grey: np.ndarray, scale: float, neighbours: int) -> Any:  # noqa: N802
            if self.faces:
                return np.array([[0, 0, 10, 10], [30, 10, 60, 60]])
            seen.append(grey.shape)
            return np.array([[10, 15, 11, 11], [40, 15, 11, 11]]) if grey.shape == (60, 60) else ()

    fake(monkeypatch, "cv2", CascadeClassifier=Cascade)
    fake(monkeypatch, "cv2.data", haarcascades="/cascades")
    found = landmark_finder("opencv").find(PICTURE)
    assert found is not None and seen == [(60, 60)]
    assert found[0].tolist() == pytest.approx([45, 30]) and found[1].tolist() == pytest.approx([75, 30])
    # Nose and mouth below, in the middle and nearly level.
    assert found[2][1] > 40 and found[3][1] > found[2][1] and abs(found[2][0] - 60) < 2
