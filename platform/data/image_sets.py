"""Images by name, as a run's configuration says it: which set, where its files lie, what it is scored on.

A kind of data is a frozen dataclass whose fields are its settings (public); `load` gives the data, and `provides` says what methods may
work on it. The kinds of crowd answers and of multi-label sets lie in modules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..errors import BadInput
from ..privacy.validate import positive_int
from .crowd_sample import sampled
from .sources import Source, load, whole_test_set

SCORES = ("protocol", "test")


@dataclass(frozen=True)
class Suggested:
    """What fits a data set, for other sections of a configuration to refer to."""

    teachers: int = 40
    queries: int = 300
    batch_size: int = 256  # of DP-SGD
    threshold: float = 20.0
    sigma1: float = 8.0
    sigma2: float = 5.0
    epsilon: float = 10.0
    delta: float = 1e-5
    augmentation: str = "color_crop_scale_rotate"  # in trainings; with flip where a mirror image shows the same


@dataclass(frozen=True)
class ImageSet:
    """A set that `sources.load` knows by name. `score="test"`: the whole test set, for methods that need no public pool.

    `records`: so many of its private records are learnt from, drawn by the run's seed; the others are not there for that run.
    """

    provides: ClassVar[str] = "images"

    name: str = "digits"
    root: str | None = None
    download: bool = False
    score: str = "protocol"
    records: int | None = None
    suggested: Suggested = field(default_factory=Suggested)

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise BadInput(f"score is {self.score!r}", mend=f"use one of {', '.join(SCORES)}")
        if self.records is not None:
            positive_int(records=self.records)

    def load(self, *, seed: int, key: bytes) -> Source:
        """Load it. `seed` draws the records that are kept, where not all are; `key` does not matter, since nobody is named.

        Raises:
            BadInput: its files are not there, and the message says how to get them; or it has not so many records.
        """
        source = load(self.name, root=self.root, download=self.download)
        source = whole_test_set(source) if self.score == "test" else source
        return source if self.records is None else _fewer(source, self.records, seed)


def _fewer(source: Source, records: int, seed: int) -> Source:
    available = len(source.private)
    kept = source.private.take(sampled(available, records, seed, 0))
    told = f"{records:,} of {available:,} private records, drawn by the run's seed. "
    return replace(source, private=kept, protocol=told + source.protocol, about=told + source.about)
