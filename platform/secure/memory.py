"""What a silo remembers over restarts: the rounds it has taken part in. A round that is opened again is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ..errors import BadInput

_BYTES = 32


class RoundMemory:
    """The ids of rounds, in a file (or in this process only, where `path` is None). One process owns the file."""

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._turn = path, threading.Lock()
        self._known: set[bytes] = set()
        if path is not None:
            if not path.exists():
                path.touch(mode=0o600)
                _sync(path.parent)
            raw = path.read_bytes()
            whole = len(raw) - len(raw) % _BYTES
            self._known = {raw[start : start + _BYTES] for start in range(0, whole, _BYTES)}
            if whole < len(raw):
                # A crash cut the last entry off before its round was answered.
                os.truncate(path, whole)

    def take(self, round_id: bytes) -> None:
        """Remember a round, durably, before anything is said in it.

        Raises:
            BadInput: this silo took part in it before.
        """
        if len(round_id) != _BYTES:
            raise BadInput(f"the id of a round has {_BYTES} bytes")
        with self._turn:
            if round_id in self._known:
                raise BadInput(
                    "this silo has been in that round", why="an opening was replayed", mend="open a new round"
                )
            if self._path is not None:
                with self._path.open("ab") as file:
                    file.write(round_id)
                    file.flush()
                    os.fsync(file.fileno())
            self._known.add(round_id)


def _sync(folder: Path) -> None:
    """A new file's name is as durable as what is written to it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
