"""What the entries add up to: read in order, each checked against all before it.

Admission never asks a total from the database. It replays entries through `Books`, so a charge can only be admitted
on totals that follow from a whole chain. Costs are not priced again here: the price of an old entry is what was
written then, under its hash, even if a later library would round a curve differently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..privacy.budget import LARGEST_AMOUNT, BudgetKind
from ..privacy.neighbours import in_full
from .chain import CHARGE, GRANT, Entry, decode_amounts, entry_hash, start_hash


@dataclass(frozen=True)
class Terms:
    """What a grant allows. A later grant for the same data set may change only `epsilon`, `cap` and `by`."""

    epsilon: float
    delta: float
    kind: BudgetKind
    orders: tuple[float, ...]
    cap: tuple[int, ...]
    neighbouring: str
    by: str

    def to_json(self) -> dict[str, Any]:
        """The body of the grant's entry."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "kind": self.kind.value,
            "orders": list(self.orders),
            "cap": list(self.cap),
            "neighbouring": self.neighbouring,
            "by": self.by,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Terms:
        """The terms that `to_json` wrote; an older entry may name its neighbouring relation by the short word."""
        lists = {"kind": BudgetKind(data["kind"]), "orders": tuple(data["orders"]), "cap": tuple(data["cap"])}
        return cls(**{**data, **lists, "neighbouring": in_full(data["neighbouring"])})

    def fixed(self) -> tuple[object, ...]:
        """What no later grant may change."""
        return self.delta, self.kind, self.orders, self.neighbouring


@dataclass(frozen=True)
class Account:
    """One data set's terms and its total so far."""

    grant_seq: int
    terms: Terms
    spent: tuple[int, ...]
    entries: int


class Books:
    """The state that follows from the entries read so far."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.seq = 0
        self.head = start_hash(identity)
        self.accounts: dict[str, Account] = {}

    def copy(self) -> Books:
        """Books that can go on without changing these."""
        other = Books(self.identity)
        other.seq, other.head, other.accounts = self.seq, self.head, dict(self.accounts)
        return other

    def add(self, entry: Entry) -> str | None:
        """Take the next entry in; what is wrong with it, or None. A wrong entry leaves the books as they were."""
        if not _well_typed(entry):
            return f"entry {entry.seq!r} holds a value of a wrong type"
        if entry.seq != self.seq + 1:
            return f"entry {self.seq + 1} is missing (found {entry.seq})"
        if entry.previous != self.head:
            return f"entry {entry.seq} does not follow from the entry before it"
        if entry.hash != entry_hash(entry):
            return f"entry {entry.seq} was altered"
        try:
            account = self._after(entry)
        except (ValueError, TypeError, KeyError) as error:
            return f"entry {entry.seq} makes no sense: {error}"
        self.accounts[entry.dataset] = account
        self.seq, self.head = entry.seq, entry.hash
        return None

    def _after(self, entry: Entry) -> Account:
        before = self.accounts.get(entry.dataset)
        if entry.what == GRANT:
            return _after_grant(before, entry)
        if entry.what == CHARGE:
            return _after_charge(before, entry)
        raise ValueError("it is neither a grant nor a charge")


def _well_typed(entry: Entry) -> bool:
    seq, time, dataset, what, key, body, cost, spent, grant_seq, previous, own = entry
    texts = (time, dataset, what, body, cost, spent, previous, own)
    return (
        type(seq) is int
        and type(grant_seq) is int
        and all(type(text) is str for text in texts)
        and (key is None or type(key) is str)
    )


def _after_grant(before: Account | None, entry: Entry) -> Account:
    terms = Terms.from_json(json.loads(entry.body))
    spent = before.spent if before else (0,) * len(terms.cap)
    if entry.key is not None or entry.grant_seq != entry.seq or any(decode_amounts(entry.cost)):
        raise ValueError("a grant has no key, no cost and names itself")
    if decode_amounts(entry.spent) != spent:
        raise ValueError("a grant must leave the total as it is")
    if before and terms.fixed() != before.terms.fixed():
        raise ValueError("it changes terms that are fixed")
    if len(terms.cap) != len(spent) or not all(s <= c <= LARGEST_AMOUNT for s, c in zip(spent, terms.cap, strict=True)):
        raise ValueError("its cap is below what was spent")
    return Account(entry.seq, terms, spent, (before.entries if before else 0) + 1)


def _after_charge(before: Account | None, entry: Entry) -> Account:
    if before is None:
        raise ValueError("a charge without a grant")
    if not entry.key or entry.grant_seq != before.grant_seq:
        raise ValueError("a charge needs a key and names the grant in force")
    cost, spent = decode_amounts(entry.cost), decode_amounts(entry.spent)
    if len(cost) != len(before.spent) or min(cost) < 1:
        raise ValueError("a charge costs at least 1 everywhere")
    if spent != tuple(map(int.__add__, before.spent, cost)):
        raise ValueError("its total is not the total before plus its cost")
    if any(map(int.__gt__, spent, before.terms.cap)):
        raise ValueError("its total is above the cap")
    return Account(before.grant_seq, before.terms, spent, before.entries + 1)
