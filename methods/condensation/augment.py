"""Differentiable augmentation of standardised images: one draw for a whole batch ("Siamese"), or one for every image.

What is filled in (crop, cutout, the margins of scale and rotate) is 0 after standardisation: the mean grey and not black.

>>> Augmentation("color_crop_cutout_flip_scale_rotate").without("cutout", "flip").strategy
'color_crop_scale_rotate'
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...platform.errors import BadInput

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
# Of these the order rule takes one a call.
MEMBERS = ("crop", "scale", "rotate")

# DSA's magnitudes (Zhao & Bilen 2021, arXiv 2102.08259), which IDC, DM, M3D and DANCE keep.
BRIGHTNESS = (-0.5, 0.5)  # added
SATURATION = (0.0, 2.0)  # factor about the mean of the channels
CONTRAST = (0.5, 1.5)  # factor about the mean of the image
CROP = 0.125  # largest shift, of the side
CUTOUT = 0.5  # side of the square, of the side
FLIP = 0.5  # probability
SCALE = (1 / 1.2, 1.2)
ROTATE = (-15.0, 15.0)  # degrees


@dataclass(frozen=True)
class Augmentation:
    """Operations by name and the rule by which one call picks among them.

    Attributes:
        strategy: names of `OPERATIONS` joined by `_`; "" or "none" leaves images as they are.
        one: False: flip, color, one of crop, scale and rotate, cutout, in this order and as far as listed (IDC: Kim et al. 2022,
            arXiv 2205.14959). True: exactly one of all that are listed (DSA and DM).

    Raises:
        BadInput: a name is unknown or there twice.
    """

    strategy: str = "color_crop_cutout"
    one: bool = False

    def __post_init__(self) -> None:
        _check(self.operations)
        if twice := [name for name in OPERATIONS if self.operations.count(name) > 1]:
            raise BadInput(f"augmentation {twice[0]!r} is listed twice in {self.strategy!r}", mend="list it once")

    @property
    def operations(self) -> tuple[str, ...]:
        """The listed names, in the order given."""
        return () if self.strategy in ("", "none") else tuple(self.strategy.split("_"))

    def without(self, *names: str) -> Augmentation:
        """Return this augmentation minus operations, listed or not (cutout beside CutMix, flip for digits).

        Raises:
            BadInput: a name is unknown.
        """
        _check(names)
        return dataclasses.replace(self, strategy="_".join(n for n in self.operations if n not in names))

    def plan(self, generator: torch.Generator) -> tuple[str, ...]:
        """Return the operations of one call in order, drawing where the rule leaves a choice."""
        listed = self.operations
        choice = listed if self.one else tuple(name for name in MEMBERS if name in listed)
        drawn = (choice[int(torch.randint(len(choice), (), generator=generator))],) if choice else ()
        if self.one:
            return drawn
        first, last = (tuple(name for name in names if name in listed) for names in (("flip", "color"), ("cutout",)))
        return first + drawn + last

    def shared(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images (B, c, h, w) augmented with the same parameters throughout; the gradient passes.

        Args:
            images: standardised, single or double precision, on any device. Not modified, but returned where nothing is done.
            generator: of the CPU; the draws depend neither on the precision nor on the device.
        """
        return self._augment(images, 1, generator)

    def single(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images (B, c, h, w) augmented with parameters of their own; arguments as for `shared`.

        Which operations there are is drawn once for the batch, as the published evaluations do.
        """
        return self._augment(images, len(images), generator)

    def _augment(self, images: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        for name in self.plan(generator):
            images = _operate(name, images, draws, generator)
        dense = images.is_contiguous() or images.is_contiguous(memory_format=torch.channels_last)
        return images if dense else images.contiguous()


def _check(names: Sequence[str]) -> None:
    for name in names:
        if name not in OPERATIONS:
            near = difflib.get_close_matches(name, OPERATIONS, n=1)
            raise BadInput(
                f"there is no augmentation {name!r}",
                why=f"the operations are {', '.join(OPERATIONS)}",
                mend=f"write {near[0]!r}" if near else "join some of these by '_', or write 'none'",
            )


def _operate(name: str, images: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Apply one operation with 1 or B draws of its parameters."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(draws, generator=generator)

    def integer(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (draws,), generator=generator)

    h, w = images.shape[2:]
    match name:
        case "color":
            return color(images, uniform(*BRIGHTNESS), uniform(*SATURATION), uniform(*CONTRAST))
        case "crop":
            down, right = _part(CROP, h), _part(CROP, w)
            return crop(images, integer(-down, down), integer(-right, right))
        case "cutout":
            # A side that is even has no middle pixel: one more place of its centre keeps both borders alike.
            return cutout(images, integer(0, h - _part(CUTOUT, h) % 2), integer(0, w - _part(CUTOUT, w) % 2))
        case "flip":
            return flip(images, uniform(0, 1) < FLIP)
        case "scale":
            x, y = uniform(*SCALE), uniform(*SCALE)
            return warp(images, torch.stack([x, torch.zeros_like(x), torch.zeros_like(x), y], 1).view(-1, 2, 2))
        case _:
            angle = uniform(*ROTATE) * (math.pi / 180)
            sin, cos = angle.sin(), angle.cos()
            return warp(images, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


def _part(ratio: float, side: int) -> int:
    return int(ratio * side + 0.5)


# Parameters of the operations below are tensors of the CPU with one entry (for all images) or with B.


def color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Return x + b, then (x - m) s + m with m the mean of the channels, then (x - M) k + M with M the mean of the image.

    In one pass: M is not changed by the saturation, so that all three are k s x + k (1 - s) m + (1 - k) M + b.
    """
    b, s, k = (values.to(images)[:, None, None, None] for values in (brightness, saturation, contrast))
    if images.shape[1] == 1:
        return (images * k).add_((1 - k) * images.mean((1, 2, 3), keepdim=True) + b)
    m = images.mean(1, keepdim=True)
    return (images * (k * s)).add_(k * (1 - s) * m + (1 - k) * m.mean((2, 3), keepdim=True) + b)


def crop(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return windows of the images' size moved by `down` and `right` pixels (integers, at most CROP of the side), 0 outside."""
    b, c, h, w = images.shape
    if len(down) == 1:
        y, x = int(down), int(right)
        window = images[:, :, max(y, 0) : h + min(y, 0), max(x, 0) : w + min(x, 0)]
        return F.pad(window, (max(-x, 0), max(x, 0), max(-y, 0), max(y, 0)))
    # All windows lie within images padded by the largest shift; an index without channels keeps it small.
    margin_y, margin_x = _part(CROP, h), _part(CROP, w)
    padded = F.pad(images, (margin_x, margin_x, margin_y, margin_y))
    rows = torch.arange(margin_y, margin_y + h) + down[:, None]
    columns = torch.arange(margin_x, margin_x + w) + right[:, None]
    pixel = (rows[:, :, None] * (w + 2 * margin_x) + columns[:, None, :]).to(images.device)
    return padded.flatten(2).gather(2, pixel.view(b, 1, h * w).expand(b, c, h * w)).view(b, c, h, w)


def cutout(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return images with 0 in a square, half as wide as the image, about (row, column) and cut off at the borders."""
    (top, bottom), (left, right) = _span(row, images.shape[2]), _span(column, images.shape[3])
    if len(row) == 1:
        fresh = images.clone()
        fresh[:, :, int(top) : int(bottom), int(left) : int(right)] = 0
        return fresh
    y, x = torch.arange(images.shape[2]), torch.arange(images.shape[3])
    rows = (y >= top[:, None]) & (y < bottom[:, None])
    columns = (x >= left[:, None]) & (x < right[:, None])
    return images * (~(rows[:, None, :, None] & columns[:, None, None, :])).to(images)


def _span(centre: Tensor, size: int) -> tuple[Tensor, Tensor]:
    side = _part(CUTOUT, size)
    start = centre - side // 2
    return start.clamp(min=0), (start + side).clamp(max=size)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Return images with left and right changed over where `mirrored` is true."""
    if len(mirrored) == 1:
        return images.flip(3) if bool(mirrored) else images
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Return images sampled at `matrices` (1 or B, 2, 2) times (x, y), both from -1 to 1: bilinear, 0 outside."""
    b, c, h, w = images.shape
    theta = F.pad(matrices, (0, 1)).to(images)
    grid = F.affine_grid(theta, [len(theta), c, h, w], align_corners=False).expand(b, h, w, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
