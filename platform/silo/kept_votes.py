"""Votes that a silo has cast, kept in its own folder: a batch that is asked again gets the very same votes, also after a restart.

An entry is tied to the teacher and to the batch, so another teacher's votes are never given out. It carries a checksum instead of being
forced to disk: one that a power cut tore is not used, and the teacher votes anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

FOLDER = "votes"
LIMIT = 64
STORED = np.dtype("<i4")
DIGEST_BYTES = 32


class KeptVotes:
    """The votes of one silo's teacher.

    Args:
        silo: the silo's folder.
        teacher: what identifies the teacher.
        limit: how many batches to keep; the oldest go first.
    """

    def __init__(self, silo: Path, teacher: str, *, limit: int = LIMIT) -> None:
        self._folder, self._teacher, self._limit = silo / FOLDER, teacher, limit

    def get(self, batch: str, queries: int) -> np.ndarray | None:
        """Return the votes (Q,) cast on a batch, or None if there are none that are whole."""
        try:
            raw = self._path(batch).read_bytes()
        except FileNotFoundError:
            return None
        digest, body = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
        if len(body) != queries * STORED.itemsize or hashlib.sha256(body).digest() != digest:
            return None
        return np.frombuffer(body, STORED).astype(np.int64)

    def put(self, batch: str, votes: np.ndarray) -> None:
        """Keep the votes (Q,) on a batch."""
        self._folder.mkdir(exist_ok=True)
        body, path = votes.astype(STORED).tobytes(), self._path(batch)
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            aside.write_bytes(hashlib.sha256(body).digest() + body)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        kept = sorted(self._folder.glob("*.votes"), key=lambda entry: entry.stat().st_mtime_ns)
        for oldest in kept[: -self._limit]:
            oldest.unlink(missing_ok=True)

    def _path(self, batch: str) -> Path:
        return self._folder / f"{hashlib.sha256(f'{self._teacher} {batch}'.encode()).hexdigest()}.votes"
