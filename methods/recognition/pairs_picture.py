"""Pairs of test pictures as the student sees them, with their score and the verdict: faces, so shown only where the settings say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...platform.data.faces import FaceData
from .judging import Judged

TILE = 96
GAP = 8
TEXT = 40
RIGHT, WRONG = (40, 110, 60), (168, 40, 12)


def chosen_pairs(judged: Judged, same: np.ndarray, count: int) -> np.ndarray:
    """Numbers of pairs, of both kinds in turn: from the clearest of a kind to the worst, at even steps between."""
    order = []
    for kind, sign in ((True, -1), (False, 1)):
        own = np.flatnonzero(same == kind)
        own = own[np.argsort(sign * judged.scores[own], kind="stable")]
        most = min(len(own), -(-count // 2))
        order.append(own[np.unique(np.linspace(0, len(own) - 1, most).round().astype(int))])
    longest = max(map(len, order))
    turns = [part[i] for i in range(longest) for part in order if i < len(part)]
    return np.array(turns[:count], np.int64)


def pairs_picture(data: FaceData, judged: Judged, prepare: Callable[[Tensor], Tensor], count: int) -> np.ndarray:
    """A picture (h, w, 3) uint8: one pair a row of tiles, four pairs side by side; below each its score, its truth, and the verdict.

    Args:
        data: the test pictures and pairs.
        judged: scores and thresholds of the student.
        prepare: from floats (B, c, H, W) to what the student sees.
        count: how many pairs.
    """
    numbers = chosen_pairs(judged, data.pairs.same, count)
    sides = [_tiles(data, side[numbers], prepare) for side in (data.pairs.first, data.pairs.second)]
    threshold = np.asarray(judged.verification.thresholds)[data.pairs.fold[numbers]]
    columns = min(4, len(numbers))
    rows = -(-len(numbers) // columns)
    width, height = columns * (2 * TILE + 3 * GAP), rows * (TILE + TEXT + GAP)
    canvas = np.full((height, width, 3), 255, np.uint8)
    for place, (number, first, second) in enumerate(zip(numbers, *sides, strict=True)):
        top, left = place // columns * (TILE + TEXT + GAP) + GAP, place % columns * (2 * TILE + 3 * GAP) + GAP
        canvas[top : top + TILE, left : left + TILE] = first
        canvas[top : top + TILE, left + TILE + GAP : left + 2 * TILE + GAP] = second
        score, right = float(judged.scores[number]), bool(judged.verification.correct[number])
        truth = "one person" if data.pairs.same[number] else "two people"
        words = f"{score:.2f} against {threshold[place]:.2f}", f"{truth}, {'right' if right else 'WRONG'}"
        _write(canvas, words, top + TILE, left, RIGHT if right else WRONG)
    return canvas


def _tiles(data: FaceData, numbers: np.ndarray, prepare: Callable[[Tensor], Tensor]) -> np.ndarray:
    """What the student sees of these pictures, enlarged pixel by pixel: uint8 (n, TILE, TILE, 3)."""
    pictures = prepare(torch.from_numpy(data.test.read(numbers)).float() / 255)
    large = torch.nn.functional.interpolate(pictures, (TILE, TILE), mode="nearest-exact")
    return (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _write(canvas: np.ndarray, lines: tuple[str, ...], top: int, left: int, colour: tuple[int, int, int]) -> None:
    from PIL import Image, ImageDraw

    block = Image.fromarray(canvas[top : top + TEXT, left : left + 2 * TILE + GAP].copy())
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((1, 3 + 16 * number), line, fill=colour)
    canvas[top : top + TEXT, left : left + 2 * TILE + GAP] = np.asarray(block)
