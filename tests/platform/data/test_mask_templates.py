"""Masks from a folder that is written here: points and colours as they should be, and whatever may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data.mask_points import FRONT, LEFT, RIGHT
from stillhouse.platform.data.mask_templates import read_patterns, read_templates
from stillhouse.platform.errors import BadInput

POINTS = {"a": (20, 30), "b": (100, 10), "c": (180, 30), "d": (40, 100), "e": (100, 140), "f": (160, 100)}


def section(name: str, picture: str | None = None, **changes: str) -> str:
    lines = {
        "template": f"masks/templates/{picture or name}.png",
        **{f"mask_{p}": f"{x}, {y}" for p, (x, y) in POINTS.items()},
    }
    lines.update(changes)
    return f"[{name}]\n" + "".join(f"{key}: {value}\n" for key, value in lines.items() if value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    picture = np.zeros((160, 200, 4), np.uint8)
    picture[..., :3] = (0, 255, 0)  # what cannot be seen is green
    picture[20:140, 40:160] = (255, 0, 0, 255)
    picture[60:80, 60:80, 3] = 128
    for name in ("cup", "cup_left", "cup_right"):
        Image.fromarray(picture).save(tmp_path / "templates" / f"{name}.png")
    text = [
        section("cup"),
        ";[old]\n;template: gone.png\n",
        section("cup_left"),
        section("cup_right"),
        "[empty]\n[inpaint_left]\n",
    ]
    (tmp_path / "masks.cfg").write_text("\n".join(text))
    return tmp_path


def test_templates_are_read_with_their_points_and_brought_to_size(folder: Path) -> None:
    templates = read_templates(folder, 80)
    assert [(one.kind, one.looks) for one in templates] == [("cup", FRONT), ("cup", LEFT), ("cup", RIGHT)]
    picture, points = templates[0].picture, templates[0].points
    assert picture.shape == (4, 80, 100)
    a, b, c, f, e, d = (np.array(POINTS[name]) for name in "abcfed")
    assert points == pytest.approx((np.array([a, b, c, f, e, d]) + 0.5) / 2 - 0.5)
    assert np.linalg.norm(points[2] - points[0]) == pytest.approx(80)


def test_colours_are_multiplied_by_opacity_and_unseen_ones_do_not_bleed(folder: Path) -> None:
    for span in (160, 53, 200):
        red, green, blue, opacity = read_templates(folder, span)[0].picture
        assert float(green.max()) == 0 == float(blue.max())
        assert float((red - opacity).abs().max()) < 1.5 / 255
        assert set(np.unique(opacity.round(decimals=1))) >= {0, 0.5, 1}


def test_textures_are_read_in_order_and_may_be_absent(folder: Path) -> None:
    assert read_patterns(folder) == ()
    for place, level in (("b/1.jpg", 200), ("a/2.png", 10)):
        path = folder / "textures" / place
        path.parent.mkdir(parents=True)
        Image.new("RGB", (30, 20), (level,) * 3).save(path)
    (folder / "textures" / "a" / "notes.txt").write_text("none")
    patterns = read_patterns(folder)
    assert [round(float(one.mean()) * 255) for one in patterns] == [10, 200]
    assert {one.shape for one in patterns} == {(3, 160, 160)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "describes no template"),
        ("[empty]\n", "describes no template"),
        ("template: outside of any section\n", "cannot read"),
        (section("cup") + section("cup"), "cannot read"),
        (section("cup", mask_e=""), "six points"),
        (section("cup", mask_e="1"), "six points"),
        (section("cup", mask_e="one, two"), "six points"),
        (section("cup", mask_e="nan, 1"), "six points"),
        (section("cup", template="masks/../../secret.png"), "below its folder"),
        (section("cup", template="cup.png"), "below its folder"),
        (section("cup", template="/cup.png"), "cannot read"),
        (section("hat"), r"hat\.png"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder: Path, text: str, says: str) -> None:
    (folder / "masks.cfg").write_text(text)
    with pytest.raises(BadInput, match=says):
        read_templates(folder, 80)


def test_missing_and_damaged_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "templates" / "cup.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(BadInput, match=r"cup\.png"):
        read_templates(folder, 80)
    with pytest.raises(BadInput, match="give MaskTheFace's folder"):
        read_templates(tmp_path / "elsewhere", 80)
