"""What condensing starts with, made from records or from charged releases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...platform.privacy.statement import PrivacyStatement
from .matching import Term
from .membership import Membership
from .standard import Standard


@dataclass(frozen=True, eq=False)
class Prepared:
    """The start, what moves it, and what may be said about the result.

    Attributes:
        start: images (C, ipc, c, h, w) in [0, 1].
        terms: what moves them.
        standard: the standardisation of whoever looks at them.
        statement: of the result.
        membership: records to audit with, or None.
        full_data: accuracy of a network that learnt from all records, where known.
        source: hash of the releases that all of this follows from, so that nothing made of others is taken for it.
    """

    start: Tensor
    terms: Sequence[Term]
    standard: Standard
    statement: PrivacyStatement
    membership: Membership | None = None
    full_data: float | None = None
    source: str = ""


@dataclass(frozen=True, eq=False)
class OnInputs:
    """A term for images that are stored as network inputs: it is given pixels."""

    term: Term
    standard: Standard

    @property
    def name(self) -> str:
        """The term's."""
        return self.term.name

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        """One loss for each class."""
        pixels: list[Any] = [self.standard.inverse(own) for own in images]
        return self.term(pixels, classes, number)
