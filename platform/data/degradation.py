"""From high to low resolution: how the pictures that a student sees are made from those that its teacher sees.

- `paper`: the pinned resampler and nothing else, as published work on low-resolution recognition does it; nothing is random.
- `realistic`: blur and motion, a resampler drawn anew, sensor noise, JPEG, and tone, each picture for itself. It stands for pictures
  that were small when they were taken, in which all of these come before the file.

>>> shrink = Degradation(size=16)
>>> shrink(torch.rand(4, 3, 112, 112)).shape
torch.Size([4, 3, 16, 16])
>>> shrink.in_words()
'to 16 px by bilinear, antialiased'
>>> Degradation(size=16, back_to=112).in_words()
'to 16 px by bilinear, antialiased, then up to 112 px by bilinear, antialiased'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from . import corruptions
from .resampling import KINDS, Resampler, check_pictures

MODES = ("paper", "realistic")
LEAST_SIZE = 4
Range = tuple[float, float]


@dataclass(frozen=True)
class Realism:
    """How much of each corruption `realistic` may put on a picture; a range is drawn from uniformly.

    Args:
        blur: standard deviation of a Gaussian, in pixels of the picture before it is made small.
        motion_share: how often a picture is smeared by motion as well.
        motion: length of the path, in the same pixels.
        kinds: resamplers, one of which is drawn.
        noise: standard deviation, on the scale 0 .. 255.
        jpeg: quality, 1 .. 100, whole numbers.
        gamma: exponent; drawn uniformly in its logarithm, so that brighter and darker are alike.
        gain: factor after it.

    Raises:
        BadInput: a range is none, or reaches where it has no meaning.
    """

    blur: Range = (0.0, 2.0)
    motion_share: float = 0.3
    motion: Range = (2.0, 9.0)
    kinds: tuple[str, ...] = KINDS
    noise: Range = (0.0, 12.0)
    jpeg: tuple[int, int] = (30, 95)
    gamma: Range = (0.8, 1.25)
    gain: Range = (0.8, 1.2)

    def __post_init__(self) -> None:
        limits = {
            "blur": (0, 100),
            "motion": (0, 100),
            "noise": (0, 255),
            "jpeg": (1, 100),
            "gamma": (0.1, 10),
            "gain": (0, 10),
        }
        for name, (least, most) in limits.items():
            low, high = _as_range(name, getattr(self, name))
            if not least <= low <= high <= most:
                raise BadInput(
                    f"{name} from {low} to {high}", why=f"it rises, within {least} .. {most}", mend="swap or narrow it"
                )
            object.__setattr__(self, name, (low, high))
        if not 0 <= self.motion_share <= 1:
            raise BadInput(f"motion_share {self.motion_share} is no share", why="it lies in 0 .. 1")
        for kind in self.kinds:
            Resampler(kind)
        if not self.kinds:
            raise BadInput("no kinds of resampler to draw from", mend=f"name some of {', '.join(KINDS)}")
        object.__setattr__(self, "kinds", tuple(self.kinds))

    def in_words(self) -> str:
        """Its settings on one line."""
        return ", ".join(f"{one.name} {_words(getattr(self, one.name))}" for one in fields(self))


@dataclass(frozen=True)
class Degradation:
    """A degradation: pictures float (n, c, H, H) in [0, 1], c 1 or 3, to (n, c, size, size) in [0, 1].

    The teacher and the student must see the same picture: flip and crop first, then degrade.

    Args:
        size: pixels of a side in low resolution.
        mode: one of `MODES`.
        back_to: pixels to bring them up to again, for a network that wants them large; None: they stay small.
        resampler: what makes them small in mode `paper`. Training and test must use the same one.
        back_by: what brings them up again.
        sizes: draw the size from this range, ends included, instead of `size`: for a student of several resolutions. One size a
            batch, because the pictures have to fit each other; one size a picture with `back_to`, where they fit anyway.
        realism: the corruptions of mode `realistic`.

    Raises:
        BadInput: a setting is none of these.
    """

    size: int = 16
    mode: str = "paper"
    back_to: int | None = None
    resampler: Resampler = field(default_factory=Resampler)
    back_by: Resampler = field(default_factory=Resampler)
    sizes: tuple[int, int] | None = None
    realism: Realism = field(default_factory=Realism)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadInput(f"no degradation is called {self.mode!r}", mend=f"use one of {', '.join(MODES)}")
        low, high = (self.size, self.size) if self.sizes is None else _as_range("sizes", self.sizes)
        if low != int(low) or high != int(high) or not LEAST_SIZE <= low <= high:
            raise BadInput(
                f"sizes from {low} to {high}", why=f"they are whole numbers of at least {LEAST_SIZE}, rising"
            )
        if self.sizes is not None:
            object.__setattr__(self, "sizes", (int(low), int(high)))
        if self.back_to is not None and self.back_to < high:
            raise BadInput(
                f"back_to={self.back_to} is below the size {high}", why="it is for bringing pictures up again"
            )

    def at(self, size: int) -> Degradation:
        """The same with one fixed size: to score at, or for a curve over resolutions."""
        return replace(self, size=size, sizes=None)

    @property
    def random(self) -> bool:
        """Whether anything is drawn, so that a generator is needed."""
        return self.mode == "realistic" or self.sizes is not None

    def in_words(self) -> str:
        """What it does, for a checkpoint, a table or a report."""
        to = f"{self.size} px" if self.sizes is None else f"{self.sizes[0]} .. {self.sizes[1]} px"
        words = f"to {to} by {self.resampler.in_words()}"
        if self.mode == "realistic":
            words = f"to {to}, realistic ({self.realism.in_words()})"
        return words if self.back_to is None else f"{words}, then up to {self.back_to} px by {self.back_by.in_words()}"

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the degraded pictures, on the same device.

        The same pictures and the same state of the generator give the same result. Splitting a batch in two gives other draws; in mode
        `paper` without `sizes` there are none, and each picture is made as if it were alone.

        Raises:
            BadInput: the pictures are not as said above, too small, or a generator is missing.
        """
        check_pictures(images, channels=(1, 3))
        height, width = images.shape[2:]
        largest = self.size if self.sizes is None else self.sizes[1]
        if height != width:
            raise BadInput(
                f"pictures of {height} x {width}", why="they would be squeezed", mend="cut them square first"
            )
        if height < largest:
            raise BadInput(
                f"pictures of {height} px cannot be degraded to {largest}",
                mend="give larger pictures or a smaller size",
            )
        if not self.random:
            return self._up(self.resampler.resize(images, self.size))
        if generator is None:
            raise BadInput(f"the mode '{self.mode}' draws at random", mend="give a torch.Generator")
        if not len(images):
            return images.new_zeros(0, images.shape[1], *[self.back_to or largest] * 2)
        sizes = self._drawn_sizes(len(images), generator)
        if self.mode == "paper":
            return self._by_group(images, sizes, torch.zeros_like(sizes), (self.resampler,), lambda small, _: small)
        return self._realistic(images, sizes, generator)

    def _drawn_sizes(self, n: int, generator: torch.Generator) -> Tensor:
        if self.sizes is None:
            return torch.full((n,), self.size)
        low, high = self.sizes
        draws = n if self.back_to is not None else 1
        return torch.randint(low, high + 1, (draws,), generator=generator, device=generator.device).cpu().expand(n)

    def _realistic(self, images: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
        n, real = len(images), self.realism

        def drawn(low: float, high: float) -> Tensor:
            return torch.rand(n, generator=generator, device=generator.device).cpu() * (high - low) + low

        images = corruptions.gaussian_blur(images, drawn(*real.blur))
        length, angle = drawn(*real.motion), drawn(0, torch.pi)
        images = corruptions.motion_blur(images, length * (drawn(0, 1) < real.motion_share), angle)
        kinds = torch.randint(len(real.kinds), (n,), generator=generator, device=generator.device).cpu()
        noise = drawn(*real.noise) / 255
        # A half to either side, so that the ends come up as often as what lies between them.
        quality = (drawn(real.jpeg[0] - 0.5, real.jpeg[1] + 0.5)).round().clamp(*real.jpeg)
        gamma, gain = drawn(*(torch.tensor(real.gamma).log().tolist())).exp(), drawn(*real.gain)

        def after(small: Tensor, who: Tensor) -> Tensor:
            small = corruptions.gaussian_noise(small, noise[who], generator)
            return corruptions.tone(corruptions.jpeg(small, quality[who]), gamma[who], gain[who])

        return self._by_group(images, sizes, kinds, tuple(map(Resampler, real.kinds)), after)

    def _by_group(
        self,
        images: Tensor,
        sizes: Tensor,
        kinds: Tensor,
        resamplers: Sequence[Resampler],
        after: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Resize those of one size and one resampler together; `after` is given them and their numbers."""
        side = self.back_to or int(sizes[0])
        degraded = images.new_empty(*images.shape[:2], side, side)
        for size, kind in sorted(set(zip(sizes.tolist(), kinds.tolist(), strict=True))):
            who = ((sizes == size) & (kinds == kind)).nonzero()[:, 0]
            small = after(resamplers[kind].resize(images[who.to(images.device)], size), who)
            degraded[who.to(images.device)] = self._up(small)
        return degraded

    def _up(self, small: Tensor) -> Tensor:
        return small if self.back_to is None else self.back_by.resize(small, self.back_to)


def _as_range(name: str, given: Any) -> tuple[Any, Any]:
    # A list, too: configuration files have no tuples.
    if isinstance(given, str) or len(given) != 2:
        raise BadInput(
            f"{name} is no range", why="it needs its lowest and its highest value", mend=f"{name}=[low,high]"
        )
    low, high = given
    return low, high


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(value) if isinstance(value[0], str) else f"{value[0]} .. {value[1]}"
    return str(value)
