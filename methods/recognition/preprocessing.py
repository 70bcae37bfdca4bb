"""What a network wants its pixels to be: order of the colours, and scale. A wrong guess costs most of its accuracy without any error.

>>> Preprocessing("bytes", "bgr")(torch.tensor([[[[1.0]], [[0.5]], [[0.0]]]])).flatten().tolist()
[0.0, 127.5, 255.0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...platform.errors import BadInput

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = ("unit", "signed", "bytes", "imagenet")
CHANNELS = ("rgb", "bgr")
CLEARLY = (
    0.05  # area under the ROC curve by which another preprocessing must be better before the given one is called wrong
)


@dataclass(frozen=True)
class Preprocessing:
    """From RGB pictures (B, 3, h, w) in [0, 1].

    Args:
        pixels: unit: 0 .. 1; signed: -1 .. 1; bytes: 0 .. 255; imagenet: torchvision's mean and deviation, in RGB order.
        channels: rgb or bgr.
    """

    pixels: str = "unit"
    channels: str = "rgb"

    def __post_init__(self) -> None:
        for name, known in (("pixels", PIXELS), ("channels", CHANNELS)):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} is {getattr(self, name)!r}", mend=f"use one of {', '.join(known)}")

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return what the network sees."""
        if self.pixels == "signed":
            pictures = 2 * pictures - 1
        elif self.pixels == "bytes":
            pictures = 255 * pictures
        elif self.pixels == "imagenet":
            mean, deviation = (torch.tensor(values).to(pictures)[:, None, None] for values in (MEANS, DEVIATIONS))
            pictures = (pictures - mean) / deviation
        return pictures.flip(1) if self.channels == "bgr" else pictures

    def in_words(self) -> str:
        """For a message or a report."""
        return f"{self.channels}, {self.pixels}"


def check_preprocessing(given: Preprocessing, separation: Callable[[Preprocessing], float]) -> tuple[float, str]:
    """Refuse a preprocessing if another one tells people apart clearly better; else give its area and a sentence for the report.

    Args:
        given: as the user says.
        separation: area under the ROC curve of pairs of labelled pictures, under a preprocessing.

    Raises:
        BadInput: with the one that is better.
    """
    areas = {
        (pixels, channels): separation(Preprocessing(pixels, channels)) for pixels in PIXELS for channels in CHANNELS
    }
    own = areas[given.pixels, given.channels]
    best = max(areas, key=lambda key: areas[key])
    if areas[best] > own + CLEARLY:
        raise BadInput(
            f"the teacher tells people apart with an area under the ROC curve of {own:.3f} where pixels are {given.in_words()}",
            why=f"where they are {Preprocessing(*best).in_words()} it is {areas[best]:.3f}",
            mend=f"set method.teacher.pixels={best[0]} and method.teacher.channels={best[1]}, or method.teacher.check=0",
        )
    return own, f"the teacher's self-test on training pictures: area under the ROC curve {own:.3f} ({given.in_words()})"
