"""What silos and server agree on before the first round, out of band, and each keeps in a file of its own: who, on which terms, how
much noise.

A server that also handed this out could put keys of its own into it. So a silo takes it from somebody else, or compares its digest
over another line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..privacy.distributed_mechanisms import Shared, shared_from_json
from ..privacy.validate import positive_int
from ..training.files import canonical_json, check_name, read_json, write_json
from .keys import digest
from .protocol import Terms


@dataclass(frozen=True)
class Agreement:
    """Silos by name, in the order of their numbers; terms; the mechanism, and the classes it counts."""

    silos: tuple[str, ...]
    terms: Terms
    mechanism: Shared
    classes: int

    def __post_init__(self) -> None:
        positive_int(classes=self.classes)
        for silo in self.silos:
            check_name(silo)
        if len(set(self.silos)) != len(self.silos) or len(self.silos) != len(self.terms.members):
            raise BadInput(
                f"{len(self.silos)} names for {len(self.terms.members)} members",
                mend="give each member one name of its own",
            )

    @classmethod
    def of(
        cls,
        members: Mapping[str, bytes],
        *,
        server: bytes,
        mechanism: Shared,
        classes: int,
        dropped: int,
        colluding: int,
    ) -> Agreement:
        """Between silos of these names and public keys and a server of this key."""
        terms = Terms.of(list(members.values()), server=server, dropped=dropped, colluding=colluding)
        return cls(tuple(members), terms, mechanism, classes)

    def number(self, silo: str) -> int:
        """The number of a silo.

        Raises:
            BadInput: it has no part in this.
        """
        if silo not in self.silos:
            raise BadInput(
                "this silo is not among those that have agreed", mend="compare its folder's name with the agreement"
            )
        return self.silos.index(silo) + 1

    @property
    def digest(self) -> str:
        """By which two files are compared: hexadecimal."""
        return digest(b"agreement", canonical_json(self.to_json()).encode()).hex()

    def to_json(self) -> dict[str, Any]:
        """A JSON object; nothing in it is secret."""
        return {
            "silos": list(self.silos), "terms": self.terms.to_json(), "mechanism": self.mechanism.to_json(), "classes": self.classes,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Agreement:
        """What `to_json` described."""
        try:
            silos: Sequence[str] = data["silos"]
            return cls(
                tuple(silos), Terms.from_json(data["terms"]), shared_from_json(data["mechanism"]), data["classes"]
            )
        except (KeyError, TypeError):
            raise BadInput(
                "this is no agreement on secure aggregation", mend="write it with `Agreement.write`"
            ) from None

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Agreement:
        """What a file holds.

        Raises:
            BadInput: there is none, or it holds something else.
        """
        return cls.from_json(read_json(path))
