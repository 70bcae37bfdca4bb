"""One entry of the ledger and the hash that ties it to all entries before it.

The hash covers every stored column as text, each with its length in front, so no two different entries share an
encoding and no byte of an entry can change without changing its hash:

>>> netstrings("ab", "", None)
b'2:ab,0:,-'
>>> netstrings("a", "b") == netstrings("ab", "")
False

Amounts are whole numbers, one for a scalar budget and one per order for a Renyi curve, kept as text:

>>> encode_amounts((625000, 12)), decode_amounts("625000,12")
('625000,12', (625000, 12))
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

GRANT = "grant"
CHARGE = "charge"

_AMOUNTS = re.compile(r"(0|[1-9][0-9]{0,18})(,(0|[1-9][0-9]{0,18}))*")


class Entry(NamedTuple):
    """A row of the ledger, in the order of its columns. `time` informs; only `seq` orders."""

    seq: int
    time: str
    dataset: str
    what: str
    key: str | None
    body: str
    cost: str
    spent: str
    grant_seq: int
    previous: str
    hash: str

    @property
    def costs(self) -> tuple[int, ...]:
        """What this entry cost, in billionths."""
        return decode_amounts(self.cost)

    @property
    def spent_after(self) -> tuple[int, ...]:
        """The total of the data set after this entry."""
        return decode_amounts(self.spent)

    @property
    def content(self) -> dict[str, Any]:
        """A charge: event, purpose, run. A grant: epsilon, delta, kind, orders, cap, neighbouring, by."""
        content: dict[str, Any] = json.loads(self.body)
        return content


def netstrings(*fields: str | None) -> bytes:
    """An injective encoding of texts and absent values."""
    parts = []
    for field in fields:
        if field is None:
            parts.append(b"-")
        else:
            data = field.encode()
            parts.append(b"%d:%b," % (len(data), data))
    return b"".join(parts)


def start_hash(identity: str) -> str:
    """What the first entry of the ledger `identity` names as its previous hash."""
    return hashlib.sha256(netstrings("stillhouse ledger 1", identity)).hexdigest()


def entry_hash(entry: Entry) -> str:
    """The hash of all columns but the hash itself."""
    seq, time, dataset, what, key, body, cost, spent, grant_seq, previous, _ = entry
    data = netstrings(
        "stillhouse entry 1", str(seq), time, dataset, what, key, body, cost, spent, str(grant_seq), previous
    )
    return hashlib.sha256(data).hexdigest()


def sealed(entry: Entry) -> Entry:
    """The entry with its hash filled in."""
    return entry._replace(hash=entry_hash(entry))


def canonical_json(value: Mapping[str, Any]) -> str:
    """One text for one value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def encode_amounts(amounts: tuple[int, ...]) -> str:
    """Whole numbers as text."""
    return ",".join(map(str, amounts))


def decode_amounts(text: str) -> tuple[int, ...]:
    """The numbers that `encode_amounts` wrote; any other text is a ValueError."""
    if not _AMOUNTS.fullmatch(text):
        raise ValueError("not a list of amounts")
    return tuple(map(int, text.split(",")))
