"""Synthetic masks on faces: from pictures of masks, or drawn where there are none.

A mask is brought to six points of the face by a homography, takes on the light of the face, sometimes another colour, and is laid over
it; what covers the face is returned with it, because a network that fills in what is hidden has to know. The recipe is MaskTheFace's
(Anwar & Raychowdhury, arXiv 2008.11104), as far as aligned crops need it.

Put masks on before anything is made smaller: laid over a small picture, a mask has an edge that no camera makes, and a network finds
that edge instead of the mask.

>>> maker = MaskMaker()
>>> masked, alpha = maker.put(torch.full((2, 3, 112, 112), 0.5), torch.Generator().manual_seed(0))
>>> masked.shape, alpha.shape, bool(alpha[:, :, 85, 56].min() > 0.9), float(alpha[:, :, :30].max())
(torch.Size([2, 3, 112, 112]), torch.Size([2, 1, 112, 112]), True, 0.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .alignment import SIDE
from .homography import homography
from .mask_drawing import draw_mask, random_colour
from .mask_points import FRONT, aligned_points, points_of_68
from .mask_templates import MaskTemplate, read_patterns, read_templates
from .resampling import check_pictures

LEAST_SIDE = 32
# Cheek to cheek in an aligned crop, and a little: a template larger than the crop shows it is sampled with pixels left out.
SPAN = 80 / SIDE
DRAWING_SEED = 0
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class MaskMaker:
    """Puts masks on aligned faces.

    Args:
        templates: folder of pictures of masks, see `mask_templates`; None: masks are drawn, see `mask_drawing`.
        kinds: the sorts to take; empty: all there are.
        recolour: how often a mask gets a random colour.
        patterned: how often it gets one of the folder's textures, if it has any and was not recoloured.
        jitter: standard deviation by which each of the six points is off, in pixels of a crop of 112.
        lift: the mask sits up to this much higher or lower, in the same pixels.
        follow: whether the mask takes on the brightness and saturation of what it covers.
        drawings: how many different masks are drawn. They are drawn once, the same in every run.

    Raises:
        BadInput: a setting is out of its range; with the first masks: the templates cannot be read.
    """

    templates: str | Path | None = None
    kinds: tuple[str, ...] = ()
    recolour: float = 0.6
    patterned: float = 0.2
    jitter: float = 2.5
    lift: float = 4.0
    follow: bool = True
    drawings: int = 64

    def __post_init__(self) -> None:
        # A list, too: configuration files have no tuples.
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for name in ("recolour", "patterned"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}={getattr(self, name)} is no share", why="it lies in 0 .. 1")
        for name in ("jitter", "lift"):
            if not 0 <= getattr(self, name) <= SIDE / 4:
                raise BadInput(f"{name}={getattr(self, name)} pixels of {SIDE}", why=f"it lies in 0 .. {SIDE // 4}")
        if self.drawings < 1:
            raise BadInput(f"{self.drawings} drawings", why="there is at least one")

    def put(self, images: Tensor, generator: torch.Generator, landmarks: Any = None) -> tuple[Tensor, Tensor]:
        """Return the faces with masks, and how much of each pixel a mask covers.

        Each picture's mask depends on the generator's state and its place in the order, however the pictures are split into batches.

        Args:
            images: float (n, 3, side, side) in [0, 1], aligned to the template, at least 32 pixels large.
            generator: what the masks are drawn from.
            landmarks: (n, 68, 2) in pixels of these pictures: masks are put where they say, without jitter and lift. A row that is not
                finite stands for a face that was not found: it is masked as without landmarks. None: the same place in every crop.

        Returns:
            Pictures like `images`, and alpha (n, 1, side, side) in [0, 1].

        Raises:
            BadInput: the pictures or the landmarks are not as said above.
        """
        check_pictures(images, "faces", channels=(3,))
        n, side = len(images), images.shape[2]
        if images.shape[3] != side or side < LEAST_SIDE:
            raise BadInput(
                f"faces of {side} x {images.shape[3]} pixels",
                why=f"masks are put on square crops of {LEAST_SIDE} pixels or more, before they are made smaller",
            )
        found = None if landmarks is None else np.asarray(landmarks, dtype=float)
        if found is not None and found.shape != (n, 68, 2):
            raise BadInput(f"landmarks of shape {found.shape} for {n} faces", why="each has 68 points (x, y)")
        seeds = torch.randint(2**62, (n,), generator=generator, device=generator.device).tolist()
        masked, alpha = images.clone(), images.new_zeros(n, 1, side, side)
        for i, seed in enumerate(seeds):
            of_face = None if found is None or not np.isfinite(found[i]).all() else found[i]
            mask = self._mask(images[i].detach().float().cpu(), np.random.default_rng(seed), of_face).to(images)
            masked[i] = (images[i] * (1 - mask[3:]) + mask[:3]).clamp(0, 1)
            alpha[i] = mask[3:]
        return masked, alpha

    def _mask(self, face: Tensor, rng: np.random.Generator, landmarks: np.ndarray | None) -> Tensor:
        """One mask where it belongs: (4, side, side), colours multiplied by opacity."""
        side = face.shape[1]
        folder = None if self.templates is None else Path(self.templates)
        templates, patterns = _held(folder, self.kinds, self.drawings, side)
        if landmarks is None:
            looks, points = FRONT, aligned_points(side)
            points = points + rng.normal(0, self.jitter, points.shape) * side / SIDE
            points[:, 1] += rng.uniform(-self.lift, self.lift) * side / SIDE
        else:
            points, looks = points_of_68(landmarks)
        # Drawn masks are for faces from the front; a turned face gets one all the same.
        fitting = [one for one in templates if one.looks == looks] or [one for one in templates if one.looks == FRONT]
        template = fitting[rng.integers(len(fitting))]
        picture = self._coloured(template.picture, patterns, rng)
        mask = warped(picture, homography(template.points, points), side)
        return lit_like(mask, face) if self.follow else mask

    def _coloured(self, picture: Tensor, patterns: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        chance, tint = rng.random(), torch.tensor(random_colour(rng))[:, None, None]
        if chance < self.recolour:
            return recoloured(picture, tint)
        if patterns and chance < self.recolour + (1 - self.recolour) * self.patterned:
            pattern = patterns[rng.integers(len(patterns))]
            size = (picture.shape[1], picture.shape[2])
            return recoloured(picture, functional.interpolate(pattern[None], size, mode="bilinear", antialias=True)[0])
        return picture


@lru_cache(maxsize=8)
def _held(
    folder: Path | None, kinds: tuple[str, ...], drawings: int, side: int
) -> tuple[tuple[MaskTemplate, ...], tuple[Tensor, ...]]:
    """Templates of these kinds, and patterns, for crops of that size. Kept, since reading or drawing them takes a second."""
    if folder is None:
        rng = np.random.default_rng(DRAWING_SEED)
        found = tuple(draw_mask(rng, SPAN * side) for _ in range(drawings))
        patterns: tuple[Tensor, ...] = ()
    else:
        found, patterns = read_templates(folder, SPAN * side), read_patterns(folder)
    kept = tuple(one for one in found if not kinds or one.kind in kinds)
    there = sorted({one.kind for one in found})
    if set(kinds) - set(there) or not any(one.looks == FRONT for one in kept):
        raise BadInput(
            f"no front view of a mask of each kind among {', '.join(kinds) or 'the templates'}",
            mend=f"there are {', '.join(there)}",
        )
    return kept, patterns


def warped(picture: Tensor, to_crop: np.ndarray, side: int) -> Tensor:
    """Bring a picture (4, h, w) into a crop (4, side, side) by a homography from its pixels to the crop's; transparent elsewhere."""
    back = np.linalg.inv(to_crop)
    y, x = np.mgrid[:side, :side]
    lifted = np.stack([x, y, np.ones_like(x)], 2) @ back.T
    # `homography` makes this positive on the near side of the horizon.
    seen = lifted[..., 2] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.where(seen[..., None], lifted[..., :2] / lifted[..., 2:], -1e4)
    size = np.array([picture.shape[2], picture.shape[1]])
    grid = torch.from_numpy((2 * places + 1) / size - 1).float()[None]
    return functional.grid_sample(picture[None], grid, align_corners=False)[0].clamp(0, 1)


def recoloured(picture: Tensor, colour: Tensor) -> Tensor:
    """Give a mask (4, h, w) another colour, (3, 1, 1) or (3, h, w), and keep its light and shade."""
    grey = (picture[:3] * torch.tensor(GREY)[:, None, None]).sum(0)
    opacity = picture[3]
    mean = grey.sum() / opacity.sum().clamp(min=1e-6)
    # `grey` is multiplied by opacity already, and so is what comes of it.
    shaded = torch.minimum(grey / mean.clamp(min=0.02) * colour, opacity)
    return torch.cat([shaded, picture[3:]])


def lit_like(mask: Tensor, face: Tensor) -> Tensor:
    """Bring the brightness and saturation of a mask (4, h, w) towards those of what it covers of a face (3, h, w).

    Each is multiplied by 1 + (mean over the covered face - mean over the mask), as MaskTheFace does.
    """
    opacity = mask[3]
    weight = opacity / opacity.sum().clamp(min=1e-6)
    colour = mask[:3] / opacity.clamp(min=1e-6)
    bright = 1 + ((face.amax(0) - colour.amax(0)) * weight).sum()
    strong = 1 + ((_saturation(face) - _saturation(colour)) * weight).sum()
    grey = (colour * torch.tensor(GREY)[:, None, None]).sum(0)
    changed = (grey + strong * (colour - grey)) * bright
    return torch.cat([changed.clamp(0, 1) * opacity, mask[3:]])


def _saturation(colour: Tensor) -> Tensor:
    highest = colour.amax(0)
    return (highest - colour.amin(0)) / highest.clamp(min=1e-6)
