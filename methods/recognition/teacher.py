"""Teachers: what sees pictures in high resolution while a student learns.

A teacher is a module that takes RGB pictures in [0, 1], of the size that the data have, and gives a `Seen`; whatever its network
wants (another size, another scale of the pixels, blue first) is done inside. It is never trained here once it is a teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...platform.data.resampling import Resampler
from ...platform.errors import BadInput
from ...platform.privacy.validate import positive_int
from .heads import Margin
from .networks import Architecture
from .preprocessing import Preprocessing
from .recipe import Recipe
from .seen import Seen

SOURCES = ("train", "checkpoint", "torchscript", "onnx", "dlib")
LICENCE_HERE = "that of the data it was trained on"


@runtime_checkable
class Teacher(Protocol):
    """A module from pictures (B, c, h, w), floats in [0, 1], to a `Seen`; without gradients if called by `frozen`.

    Attributes:
        name: what reports call it.
        licence: of its weights.
        size: pixels of a side that its network sees.
        embedding_length: of its embedding.
        maps: channels of its maps, from early to late; empty if it shows none.
    """

    name: str
    licence: str
    size: int
    embedding_length: int
    maps: tuple[int, ...]

    def __call__(self, pictures: Tensor, /) -> Seen:
        """The teacher's view."""


class NetworkTeacher(nn.Module):
    """A network as a teacher.

    Args:
        network: from pictures (B, c, size, size), preprocessed, to a `Seen`.
        name, licence, size, embedding_length, maps: see `Teacher`.
        preprocessing: what the network wants its pixels to be.
    """

    def __init__(
        self, network: nn.Module, *, name: str, licence: str, size: int, embedding_length: int, maps: tuple[int, ...] = (),
        preprocessing: Preprocessing | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = network
        self.name, self.licence, self.size = name, licence, size
        self.embedding_length, self.maps = embedding_length, maps
        self.preprocessing = preprocessing or Preprocessing()
        self._resampler = Resampler()

    def forward(self, pictures: Tensor) -> Seen:
        """Return the network's view of the pictures, resized (bilinear, antialiased) and preprocessed for it."""
        seen: Seen = self.network(self.preprocessing(self._resampler.resize(pictures, self.size)))
        return seen


class CentredTeacher(nn.Module):
    """A teacher less the mean of its embeddings, (D,): what pictures have in common then hides no longer what sets them apart.

    Embeddings that are compared by distance, as dlib's, may all point nearly the same way, while terms compare directions.
    """

    centre: Tensor

    def __init__(self, teacher: Teacher, centre: Tensor) -> None:
        super().__init__()
        self.teacher = teacher
        self.register_buffer("centre", centre)

    def forward(self, pictures: Tensor) -> Seen:
        """The teacher's view, its embedding centred."""
        seen = self.teacher(pictures)
        return Seen(seen.embedding - self.centre, seen.maps)


@dataclass(frozen=True)
class TeacherSettings:
    """Which teacher, and how it is made or read.

    Args:
        source: train (here, in high resolution, on the training set), checkpoint (weights of an architecture of this package),
            torchscript or onnx (embeddings only), dlib (what `stillhouse fetch-teacher` fetched).
        path: of the file; of the folder, for dlib. It is asked for when the teacher is read.
        network: architecture, for train and checkpoint. A file's embedding must have its `embedding_length`, unless that is None.
        size: pixels of a side that the network sees; None: those of the data.
        pixels, channels: what a file's network wants (see `Preprocessing`); networks of this package want unit and rgb.
        name, licence: of a file's weights, for the card.
        recipe, head: of the training.
        head_steps: of the classifier that is fitted to the embeddings of a teacher that has none, where a term compares answers.
        check: training pictures in the self-test of a file's preprocessing; 0: none.
        centre: what terms see of it is its embeddings less their mean over the training pictures; not for one that is trained here,
            whose classifier knows them as they are. None: for dlib, whose embeddings of any two pictures have cosines around .84.
        cache: keep the embeddings of all training pictures and their mirror images (and its maps, in half precision, if a term looks
            at them) instead of calling the teacher at every step; shifts and brightness then do not reach it. None: wherever no term
            looks at its maps, which are large.
    """

    source: str = "train"
    path: str | None = None
    network: Architecture = field(default_factory=Architecture)
    size: int | None = None
    pixels: str = "unit"
    channels: str = "rgb"
    name: str = ""
    licence: str = "not stated"
    recipe: Recipe = field(default_factory=Recipe)
    head: Margin = field(default_factory=Margin)
    head_steps: int = 400
    check: int = 200
    centre: bool | None = None
    cache: bool | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise BadInput(f"the teacher's source is {self.source!r}", mend=f"use one of {', '.join(SOURCES)}")
        if self.source == "train" and self.path is not None:
            raise BadInput(
                "a path is given of a teacher that is trained here",
                mend="set method.teacher.source=checkpoint, or onnx",
            )
        if self.source == "train" and self.centre:
            raise BadInput(
                "centre=true with a teacher that is trained here", why="its classifier knows its embeddings as they are"
            )
        if self.size is not None:
            positive_int(size=self.size)
        positive_int(head_steps=self.head_steps)
        if isinstance(self.check, bool) or not isinstance(self.check, int) or self.check < 0:
            raise BadInput(f"check is {self.check!r}", why="it is a whole number from 0 up")
        _ = self.preprocessing

    @property
    def centred(self) -> bool:
        """Whether the mean is taken off."""
        return self.source == "dlib" if self.centre is None else self.centre

    @property
    def preprocessing(self) -> Preprocessing:
        """What a file's network wants."""
        return Preprocessing(self.pixels, self.channels)


def frozen(teacher: nn.Module, device: torch.device) -> nn.Module:
    """The teacher on a device, in evaluation mode, its weights out of every gradient."""
    for parameter in teacher.parameters():
        parameter.grad = None  # What its own training left.
    return teacher.to(device).eval().requires_grad_(False)
