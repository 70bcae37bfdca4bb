"""The neighbouring relations: between which two collections of records an epsilon bounds the difference.

An epsilon for one relation says nothing for another. Under *replace one* a sum of bounded vectors moves by up to twice the
bound, under *add or remove one* by once; Poisson sampling amplifies privacy only for the latter. A vote moves alike under
both: the one teacher whose shard holds the record may vote otherwise.

>>> relation_of("replace-one") is relation_of(REPLACE_ONE) is Relation.REPLACE_ONE
True
>>> in_full("replace-one")
"replace one record; a record is in one shard, so one teacher's vote changes"
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from ..errors import BadInput

# The texts stand in ledgers and statements for good: a change of wording would look like another relation.
REPLACE_ONE = "replace one record; a record is in one shard, so one teacher's vote changes"
ADD_OR_REMOVE = (
    "add or remove one record; the number of places is public and fixed, so the others keep their shards and sampling "
    "rate; a record is in one shard, so one teacher's vote changes"
)


class Relation(StrEnum):
    """A neighbouring relation, by the short word that a grant may name it by."""

    REPLACE_ONE = "replace-one"
    ADD_OR_REMOVE_ONE = "add-or-remove-one"

    @property
    def text(self) -> str:
        """What it says, in full."""
        return REPLACE_ONE if self is Relation.REPLACE_ONE else ADD_OR_REMOVE


EVERY_RELATION = frozenset(Relation)

_KNOWN = {told: relation for relation in Relation for told in (relation.value, relation.text)}


def relation_of(told: str) -> Relation | None:
    """The relation that a short word or a full text names; None for other words, which an old ledger may hold."""
    return _KNOWN.get(told)


def relations_of(told: Iterable[str]) -> tuple[Relation, ...]:
    """The known relations that these words name, in their fixed order, each once.

    Raises:
        BadInput: none, an unknown one, or a text where a list of them belongs.
    """
    found = {relation_of(word) for word in told} if not isinstance(told, str) else {None}
    if not found or None in found:
        raise BadInput(
            "holds_for must name the neighbouring relations that a cost holds for",
            why=f"known ones are {', '.join(Relation)}",
        )
    return tuple(relation for relation in Relation if relation in found)


def in_full(told: str) -> str:
    """The full text of a known relation; other words stay as they are."""
    relation = relation_of(told)
    return told if relation is None else relation.text
