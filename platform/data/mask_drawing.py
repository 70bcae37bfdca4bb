"""Masks drawn by a rule, for when no pictures of masks are at hand: an outline through the six points, folds, straps, cloth.

Three sorts, of random form and colour: `surgical` with pleats and a seam, `cloth` with stripes, dots or checks, `cup` with a ridge down
the middle, as respirators have.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter

from .mask_points import ALIGNED, FRONT, NAMES
from .mask_templates import MaskTemplate

KINDS = ("surgical", "cloth", "cup")
# The drawing is of an aligned crop of 112 pixels and what lies about it, where straps may end.
MARGIN = 20
CANVAS = 112 + 2 * MARGIN
# Outlines are drawn this much larger and averaged, for soft edges.
FINER = 3
SURGICAL = ((0.62, 0.80, 0.93), (0.95, 0.96, 0.96), (0.66, 0.86, 0.78), (0.16, 0.16, 0.18), (0.95, 0.78, 0.83))
STEPS = np.linspace(0, 1, 13)[:-1, None]
Colour = Sequence[float]


def draw_mask(rng: np.random.Generator, span: float) -> MaskTemplate:
    """Draw one, at a size at which its cheeks lie `span` pixels apart."""
    kind = KINDS[rng.integers(len(KINDS))]
    scale = span / (ALIGNED[NAMES.index("c"), 0] - ALIGNED[NAMES.index("a"), 0])
    side = round(CANVAS * scale)
    y, x = (np.mgrid[:side, :side] + 0.5) / scale - MARGIN - 0.5
    outline = _outline(kind, rng)
    cover = _filled(outline, side)
    shade = _light(kind, x, y, rng) * _seam(cover, scale, rng)
    colour = _coloured(kind, x, y, rng) * shade[..., None]
    straps = _straps(outline, side, rng)
    strap_colour = np.array([1.0, 1.0, 1.0]) * rng.uniform(0.75, 1.0) if rng.random() < 0.7 else colour.mean((0, 1))
    # The straps come from behind the mask.
    shown = straps * (1 - cover)
    opacity = cover + shown
    premultiplied = np.clip(colour, 0, 1) * cover[..., None] + strap_colour * shown[..., None]
    picture = torch.from_numpy(np.concatenate([premultiplied, opacity[..., None]], 2)).permute(2, 0, 1).float()
    return MaskTemplate(kind, FRONT, picture.clamp(0, 1).contiguous(), (ALIGNED + MARGIN + 0.5) * scale - 0.5)


def _outline(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A closed line (n, 2) through the six points, its sides curved; (0, 0) is the crop's first pixel."""
    points = ALIGNED + rng.normal(0, 1.0, ALIGNED.shape)
    # How far each side bends outwards, as a part of its length: nose to cheek twice, cheek to jaw, jaw to chin twice, jaw to cheek.
    bend = {"surgical": (-0.04, 0.04, 0.10), "cloth": (-0.08, 0.06, 0.16), "cup": (0.03, 0.10, 0.13)}[kind]
    top, side, bottom = rng.normal(bend, 0.02)
    line = []
    for i, out in enumerate((top, top, side, bottom, bottom, side)):
        start, end = points[i], points[(i + 1) % 6]
        across = end - start
        middle = (start + end) / 2 + 2 * out * np.array([across[1], -across[0]])
        line.append((1 - STEPS) ** 2 * start + 2 * STEPS * (1 - STEPS) * middle + STEPS**2 * end)
    return np.concatenate(line)


def _filled(outline: np.ndarray, side: int) -> np.ndarray:
    large = Image.new("L", (side * FINER, side * FINER))
    ImageDraw.Draw(large).polygon(_on_canvas(outline, side), fill=255)
    return np.asarray(large.reduce(FINER), dtype=float) / 255


def _straps(outline: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    large = Image.new("L", (side * FINER, side * FINER))
    draw = ImageDraw.Draw(large)
    width = max(1, round(rng.uniform(1.0, 2.2) * side / CANVAS * FINER))
    a, c, f, d = (outline[len(STEPS) * NAMES.index(name)] for name in ("a", "c", "f", "d"))
    rise, fall = rng.uniform(2, 12), rng.uniform(12, 26)
    for upper, lower, way in ((a, d, -1), (c, f, 1)):
        reach = way * rng.uniform(5, 13)
        draw.line(_on_canvas(np.array([upper, upper + np.array([reach, -rise])]), side), fill=255, width=width)
        draw.line(_on_canvas(np.array([lower, [upper[0] + reach, lower[1] - fall]]), side), fill=255, width=width)
    return np.asarray(large.reduce(FINER), dtype=float) / 255


def _on_canvas(line: np.ndarray, side: int) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (line + MARGIN + 0.5) * side / CANVAS * FINER]


def _light(kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness (side, side): a bulge lit from somewhere, folds, and the grain of the cloth."""
    round_x, round_y = (x - 56) / 45, (y - 84) / 40
    light = 1 - rng.uniform(0.1, 0.3) * round_x**2 - rng.uniform(0.0, 0.2) * round_y**2
    light += rng.normal(0, 0.06) * round_x + rng.normal(-0.04, 0.04) * round_y
    if kind == "cup":
        ridge = np.abs(x - 56 - rng.normal(0, 1.5))
        light += rng.uniform(0.03, 0.1) * np.exp(-(ridge**2) / 8) - rng.uniform(0.02, 0.08) * np.exp(
            -((ridge - 4) ** 2) / 8
        )
    else:
        count = int(rng.integers(2, 4)) if kind == "surgical" else int(rng.integers(0, 3))
        for height in np.linspace(72, 100, count + 2)[1:-1] + rng.normal(0, 1.5, count):
            # A fold is a parabola: dark under the edge that lies over it, bright on that edge.
            off = (y - height - rng.normal(4, 2) * (1 - round_x**2)) / rng.uniform(0.9, 1.6)
            light -= rng.uniform(0.06, 0.18) * off * np.exp(0.5 - off**2 / 2)
    grain = rng.normal(size=x.shape)
    coarse = gaussian_filter(rng.normal(size=x.shape), 2.5)
    return light + 0.02 * grain + rng.uniform(0.0, 0.03) * coarse / coarse.std()


def _seam(cover: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A darker rim and, further in, a sewn line."""
    inside = distance_transform_edt(cover > 0.5) / scale
    rim = 1 - rng.uniform(0.1, 0.35) * np.exp(-inside / 1.0)
    return rim - rng.uniform(0.0, 0.12) * np.exp(-(((inside - rng.uniform(3, 5)) / 0.6) ** 2))


def _coloured(kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3): one colour, and for cloth half the time a second one in stripes, dots or checks."""
    if kind == "surgical":
        first: Colour = SURGICAL[rng.integers(len(SURGICAL))]
    elif kind == "cup":
        first = (rng.uniform(0.8, 0.97),) * 3 if rng.random() < 0.7 else random_colour(rng)
    else:
        first = random_colour(rng)
    plain = np.clip(np.array(first) + rng.normal(0, 0.02, 3), 0, 1)
    if kind != "cloth" or rng.random() < 0.5:
        return np.broadcast_to(plain, (*x.shape, 3))
    turn, period = rng.uniform(0, np.pi), rng.uniform(5, 14)
    u = (x * np.cos(turn) + y * np.sin(turn)) / period
    v = (y * np.cos(turn) - x * np.sin(turn)) / period
    wave = (np.sin(2 * np.pi * u), np.minimum(np.cos(2 * np.pi * u), np.cos(2 * np.pi * v)) - 0.3,
            np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v))[rng.integers(3)]  # fmt: skip
    # A slope instead of a step: the pattern's edges are as soft as the outline's.
    part = np.clip(0.5 + wave * period / 3, 0, 1)[..., None]
    return plain * (1 - part) + np.array(random_colour(rng)) * part


def random_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour that cloth may have: any hue, from grey to strong, from dark to bright."""
    return colorsys.hsv_to_rgb(rng.random(), 0.9 * rng.random(), rng.uniform(0.12, 1.0))
