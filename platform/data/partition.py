"""Which record goes to which silo: fixed by record numbers and a key alone, never by what a record holds.

Differential privacy of votes rests on it: changing one record must change one shard and no other. A manifest gives every
record number (or every *group* of records, so that one person stays in one shard) a keyed hash, sorts by it, and deals the
sorted list out in equal parts. So shards are disjoint and exhaustive by construction, and of equal size give or take one.

>>> manifest = Manifest.make(10, 3, key="demo")
>>> [len(manifest.indices(s)) for s in range(3)]
[4, 3, 3]
>>> sorted(int(i) for s in range(3) for i in manifest.indices(s)) == list(range(10))
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput


@dataclass(frozen=True, eq=False)
class Manifest:
    """The shard of each record, (n,) int64, and the hash of what the assignment was made from."""

    assignment: np.ndarray
    shards: int
    hash: str

    @classmethod
    def make(cls, n: int, shards: int, *, key: str, groups: Sequence[Any] | None = None) -> Manifest:
        """Assign records 0 .. n-1 to shards.

        Args:
            n: number of records.
            shards: number of shards, at most the number of records (or groups).
            key: decides the assignment; choose it without looking at the data.
            groups: for each record the identity of its group (a person, a patient); a group is never split.
        """
        if groups is not None and len(groups) != n:
            raise BadInput(f"{len(groups)} groups for {n} records", mend="name one group for each record")
        names = [str(i) for i in range(n)] if groups is None else [str(g) for g in groups]
        units = sorted(set(names), key=lambda name: (_keyed_hash(key, name), name))
        if not 1 <= shards <= len(units):
            raise BadInput(
                f"{shards} shards for {len(units)} {'records' if groups is None else 'groups'}",
                why="every silo needs a record, and one lies in exactly one silo",
                mend=f"use 1 to {len(units)} silos",
            )
        shard_of = {name: i * shards // len(units) for i, name in enumerate(units)}
        assignment = np.array([shard_of[name] for name in names], dtype=np.int64)
        return cls(assignment, shards, _fingerprint(assignment, shards))

    def __post_init__(self) -> None:
        if self.assignment.ndim != 1 or (self.assignment < 0).any():
            raise BadInput("the manifest is no list of shard numbers", mend="make it again")
        counts = np.bincount(self.assignment, minlength=self.shards) if len(self.assignment) else np.zeros(self.shards)
        if len(counts) != self.shards or (counts == 0).any():
            raise BadInput("the manifest leaves a shard empty or names one that does not exist", mend="make it again")
        if _fingerprint(self.assignment, self.shards) != self.hash:
            raise BadInput("the manifest was altered", why="its hash does not fit its content", mend="make it again")

    def __len__(self) -> int:
        return len(self.assignment)

    def indices(self, shard: int) -> np.ndarray:
        """The record numbers of one shard, rising."""
        if not 0 <= shard < self.shards:
            raise BadInput(f"shard {shard} of {self.shards}", mend=f"shards are numbered 0 .. {self.shards - 1}")
        return np.flatnonzero(self.assignment == shard)

    def to_json(self) -> dict[str, Any]:
        """A JSON form. It names no content, only numbers."""
        return {"shards": self.shards, "hash": self.hash, "assignment": self.assignment.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read `to_json`'s form; an altered one is refused."""
        try:
            return cls(np.asarray(data["assignment"], dtype=np.int64), int(data["shards"]), str(data["hash"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("this is not a partition manifest", why=type(error).__name__) from None


def _keyed_hash(key: str, name: str) -> bytes:
    # The key is hashed first, so that it may be of any length.
    return hashlib.blake2b(name.encode(), key=hashlib.sha256(key.encode()).digest()).digest()


def _fingerprint(assignment: np.ndarray, shards: int) -> str:
    body = json.dumps([shards, assignment.tolist()])
    return hashlib.sha256(body.encode()).hexdigest()
