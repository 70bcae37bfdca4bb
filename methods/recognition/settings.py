"""Settings of the recognition methods, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...platform.data.degradation import Degradation
from ...platform.errors import BadInput
from ...platform.nn.trunks import LEAST_SIDE
from ...platform.privacy.validate import positive_int
from ...platform.training.files import check_name
from .heads import Margin
from .judging import Judging
from .networks import Architecture
from .recipe import Recipe
from .teacher import TeacherSettings
from .terms import Terms


@dataclass(frozen=True)
class Settings:
    """What `FaceRecognition` and `ObjectRecognition` share; `terms` makes the method.

    Args:
        algorithm: the name that reports give it.
        degradation: how low-resolution pictures are made, in training and test alike.
        student: its network. An `embedding_length` of None takes the mean of the last maps: for objects.
        head: of the class loss.
        terms: what the student imitates, and how much.
        recipe: its training.
        teacher: what it learns from. A student without terms is compared with it all the same.
    """

    algorithm: str = "crrcd"
    degradation: Degradation = field(default_factory=Degradation)
    student: Architecture = field(default_factory=Architecture)
    head: Margin = field(default_factory=Margin)
    terms: Terms = field(default_factory=Terms)
    recipe: Recipe = field(default_factory=Recipe)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        if self.degradation.sizes is not None and self.degradation.back_to is None:
            raise BadInput(
                "sizes are drawn, and the student sees pictures of one size",
                mend="set method.degradation.back_to to that size, or leave sizes out",
            )
        if self.side < LEAST_SIDE:
            raise BadInput(f"a student that sees {self.side} pixels", mend=f"use {LEAST_SIDE} or more, or set back_to")

    @property
    def side(self) -> int:
        """Pixels of a side of what the student sees."""
        return self.degradation.back_to or self.degradation.size


@dataclass(frozen=True)
class FaceSettings(Settings):
    """Settings of `FaceRecognition`.

    Args:
        judging: how the student is judged.
    """

    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student.embedding_length is None:
            raise BadInput(
                "the student has no embedding_length", why="faces are compared by it", mend="set it, e.g. 128"
            )


@dataclass(frozen=True)
class Transfer:
    """Another set of labelled images, on which a linear classifier of the frozen student's embeddings is trained and scored.

    Args:
        name: of a set of `platform.data.sources`; "": none.
        root: its folder.
        side: pixels of a side that its images are brought to before they are degraded; None: those of the training images.
        steps: of the classifier's training.
    """

    name: str = ""
    root: str | None = None
    side: int | None = None
    steps: int = 1000

    def __post_init__(self) -> None:
        positive_int(steps=self.steps)
        if self.side is not None:
            positive_int(side=self.side)


@dataclass(frozen=True)
class ObjectSettings(Settings):
    """Settings of `ObjectRecognition`.

    Args:
        transfer: what the student is also tried on.
    """

    transfer: Transfer = field(default_factory=Transfer)
