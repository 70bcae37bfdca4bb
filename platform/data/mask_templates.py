"""Pictures of masks: a transparent picture and the six points of a face that belong on it, read from a folder.

The folder has the layout of MaskTheFace's `masks` (github.com/aqeelanwar/MaskTheFace, MIT licence): `masks.cfg`, `templates/*.png` and,
if it is there, `textures/*/*`. It is not part of this package.
"""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import BadInput
from .mask_points import FRONT, LEFT, NAMES, RIGHT

CONFIG = "masks.cfg"
ORIGIN = "give MaskTheFace's folder 'masks', or none: then masks are drawn"
PATTERN_SIDE = 160
SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True, eq=False)
class MaskTemplate:
    """A mask.

    Args:
        kind: what sort it is: surgical, KN95, cloth, ...
        looks: which way the face looks that it is for: front, left or right in the picture.
        picture: float (4, height, width) in [0, 1]: red, green, blue, each already multiplied by the fourth, the opacity. (Mixing
            neighbouring pixels is only right so; else the colour of what cannot be seen bleeds in.)
        points: (6, 2), where `mask_points.NAMES` lie on it.
    """

    kind: str
    looks: str
    picture: Tensor
    points: np.ndarray


def read_templates(folder: Path, span: float) -> tuple[MaskTemplate, ...]:
    """Read all templates that `masks.cfg` describes, brought to a size at which their cheeks lie `span` pixels apart.

    Raises:
        BadInput: the folder, a picture or a point is missing or unreadable.
    """
    config = ConfigParser()
    try:
        with (folder / CONFIG).open(encoding="utf-8") as file:
            config.read_file(file)
    except (OSError, UnicodeDecodeError, ConfigParserError) as error:
        raise BadInput(f"cannot read {folder / CONFIG}", why=type(error).__name__, mend=ORIGIN) from None
    # A section without a template stands for something that is not drawn, such as inpainting.
    described = [name for name in config.sections() if config.has_option(name, "template")]
    if not described:
        raise BadInput(f"{folder / CONFIG} describes no template", mend=ORIGIN)
    return tuple(_template(name, dict(config[name]), folder, span) for name in described)


def read_patterns(folder: Path) -> tuple[Tensor, ...]:
    """Textures, float (3, side, side) in [0, 1], in the order of their names; none where there is no such folder.

    Raises:
        BadInput: one cannot be read.
    """
    files = sorted(file for file in (folder / "textures").glob("*/*") if file.suffix.lower() in SUFFIXES)
    side = (PATTERN_SIDE, PATTERN_SIDE)
    return tuple(_tensor(_opened(file).convert("RGB").resize(side, Image.Resampling.BILINEAR)) for file in files)


def _template(name: str, section: dict[str, str], folder: Path, span: float) -> MaskTemplate:
    where = f"[{name}] of {folder / CONFIG}"
    # Paths there begin at the folder above, whatever it is called here.
    parts = Path(section["template"].strip()).parts[1:]
    if not parts or ".." in parts:
        raise BadInput(f"{where} names no template below its folder", why="it is like masks/templates/surgical.png")
    try:
        points = np.array([[float(x) for x in section[f"mask_{point}"].split(",")] for point in NAMES])
    except (KeyError, ValueError):
        points = np.empty(0)
    if points.shape != (6, 2) or not np.isfinite(points).all():
        raise BadInput(f"{where} lacks one of its six points", why="mask_a to mask_f are two numbers each: x, y")
    image = _opened(folder.joinpath(*parts)).convert("RGBA")
    left, right = points[NAMES.index("a")], points[NAMES.index("c")]
    shrink = span / max(float(np.linalg.norm(right - left)), 1.0)
    size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
    ratio = np.array(size) / image.size
    # PIL weighs colours by opacity when it resizes.
    picture = _tensor(image.resize(size, Image.Resampling.BILINEAR))
    picture = torch.cat([picture[:3] * picture[3:], picture[3:]])
    looks = next((side for side in (LEFT, RIGHT) if name.endswith(f"_{side}")), FRONT)
    return MaskTemplate(name.removesuffix(f"_{looks}"), looks, picture, (points + 0.5) * ratio - 0.5)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            image.load()
            return image
    except Exception as error:  # Of a damaged picture PIL raises whatever it stumbles on.
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend=ORIGIN) from None


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
