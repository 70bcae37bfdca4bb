"""The card of a recogniser: what is needed to use its weights rightly, and where they come from. `card.json`, beside the weights.

>>> card = Card("resnet_small", resolution=16, embedding_length=128, threshold=0.31, fmr=0.01, trained_on="faces_procedural, seed 0")
>>> Card.from_json(card.to_json()) == card
True
>>> card.preparation()
'to 16 px by bilinear, antialiased'
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...platform.data.resampling import Resampler
from ...platform.errors import BadInput
from ...platform.privacy.validate import positive_int
from ...platform.training.files import read_json, sha256_of, write_json

FILE = "card.json"
STUDENT = "student.safetensors"
FORMAT = "stillhouse recogniser 1"
_RESAMPLERS = ("resampler", "back_by")


def licence_after(teacher_licence: str) -> str:
    """The licence of weights that were learnt here, from data of the owner's and from a teacher."""
    return f"follows from the data and from the teacher's: {teacher_licence or 'not stated'}"


@dataclass(frozen=True)
class Card:
    """What weights are and how they are used.

    Args:
        architecture: name of the network.
        resolution: pixels of a side that a picture of `aligned` pixels is brought to.
        embedding_length: numbers in an embedding.
        pooled: whether the embedding is the mean of the last maps, as for objects, instead of a projection of them, as for faces.
        channels: of the pictures.
        aligned: pixels of a side of an aligned picture, before anything is done to it.
        resampler: what brings it to `resolution`; with another one the network is used on another task than it learnt.
        back_to: pixels that it is brought up to again before the network sees it; None: it stays small.
        back_by: what does that.
        flipped: whether the embedding is the sum of those of a picture and its mirror image.
        threshold: cosine of two embeddings from which on both are said to be one person; None: none was set.
        fmr: share of pairs of different people at or above `threshold` on the data that it was set on.
        held_fmr: share of such pairs to come that pass it at most, with `confidence`, if they are independent and of the same source
            (data, preparation, no mask); None: nothing is promised.
        confidence: see there.
        least_quality: length of an embedding below which nothing is decided; None: everything is.
        teacher: what the weights were distilled from, and `teacher_licence` its licence; "": nothing.
        licence: of the weights.
        trained_on: the data, in words.
        data_sha256: of their content, the test part and its pairs included; "": a card of an earlier version, or not trained here.
        adapted: how batch normalisation was adapted to other faces, and to how many; "": it was not.
        source: where weights come from that were not trained here; "": they were.
        weights: name of their file.
        sha256: of that file; "": not written yet.
    """

    architecture: str
    resolution: int
    embedding_length: int
    pooled: bool = False
    channels: int = 3
    aligned: int = 112
    resampler: Resampler = field(default_factory=Resampler)
    back_to: int | None = None
    back_by: Resampler = field(default_factory=Resampler)
    flipped: bool = True
    threshold: float | None = None
    fmr: float | None = None
    held_fmr: float | None = None
    confidence: float | None = None
    least_quality: float | None = None
    teacher: str = ""
    teacher_licence: str = ""
    licence: str = "not stated"
    trained_on: str = "not stated"
    data_sha256: str = ""
    adapted: str = ""
    source: str = ""
    weights: str = STUDENT
    sha256: str = ""

    def __post_init__(self) -> None:
        positive_int(
            resolution=self.resolution,
            embedding_length=self.embedding_length,
            channels=self.channels,
            aligned=self.aligned,
        )
        if self.back_to is not None:
            positive_int(back_to=self.back_to)
        for name in ("threshold", "fmr", "held_fmr", "confidence", "least_quality"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
                raise BadInput(f"{name} of a card must be a finite number, or none")
        if Path(self.weights).name != self.weights:
            raise BadInput("the weights that a card names must lie beside it", mend="give the name of a file, no path")

    @property
    def side(self) -> int:
        """Pixels of a side of what the network sees."""
        return self.resolution if self.back_to is None else self.back_to

    def preparation(self) -> str:
        """What becomes of an aligned picture before the network sees it, in words."""
        if self.side == self.resolution == self.aligned:
            return f"as aligned, {self.aligned} px"
        words = f"to {self.resolution} px by {self.resampler.in_words()}"
        return words if self.back_to is None else f"{words}, then up to {self.back_to} px by {self.back_by.in_words()}"

    def to_json(self) -> dict[str, Any]:
        """A JSON form that `from_json` reads back as an equal card."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Card:
        """Read `to_json`'s form.

        Raises:
            BadInput: it is none, or of another format.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadInput("this is no card of a recogniser", why=f"its format is not '{FORMAT}'")
        values = {name: value for name, value in data.items() if name != "format"}
        if unknown := sorted(set(values) - {one.name for one in fields(cls)}):
            raise BadInput(f"a card does not have {', '.join(unknown)}", mend="read it with the version that wrote it")
        try:
            for name in _RESAMPLERS:
                if name in values:
                    values[name] = Resampler(**values[name])
            return cls(**values)
        except TypeError as error:
            raise BadInput("this card is not whole", why=str(error), mend="restore it, or repeat the run") from None

    def write(self, folder: Path) -> Card:
        """Write `card.json` beside the weights, which must lie there already; gives the card with their SHA-256."""
        card = replace(self, sha256=sha256_of(folder / self.weights))
        write_json(folder / FILE, card.to_json())
        return card

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read `card.json`, and check that the weights beside it are those it was written for.

        Raises:
            BadInput: a file is missing, is no card, or the weights are others.
        """
        try:
            card = cls.from_json(read_json(folder / FILE))
        except BadInput as error:
            raise BadInput(
                f"{folder} holds no recogniser that can be used",
                why=str(error),
                mend="give the folder of a finished run of recognition, of an export, or of a fetched teacher",
            ) from None
        weights = folder / card.weights
        if not weights.is_file():
            raise BadInput(f"{weights} does not exist", why=f"{FILE} names it", mend="restore it, or repeat the run")
        if sha256_of(weights) != card.sha256:
            raise BadInput(
                f"{weights} is not what {FILE} was written for",
                why="its SHA-256 is another one",
                mend="restore both files from one run, or repeat it",
            )
        return card
