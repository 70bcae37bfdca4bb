"""How many processes train together, and which of them this is."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadInput


@dataclass(frozen=True)
class World:
    """`rank` counts from 0; rank 0 alone writes files."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise BadInput(f"rank {self.rank} of {self.size} processes does not exist", mend="count ranks from 0")

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0
