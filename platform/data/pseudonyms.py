"""Names for people that say nothing about them: a keyed hash in place of the name, under a key that never leaves its folder.

One person has one pseudonym under one key, so that reports of one run root agree; under another key it is another one, and
nobody without the key can test a guess. Whoever holds the key can: it is as secret as the names.

>>> key = bytes(32)
>>> pseudonyms(["worker 7", "worker 8", "worker 7"], key)
['ygpnutzaoxgu', 'p72uazbpzeiz', 'ygpnutzaoxgu']
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput

KEY_BYTES = 32
FEWEST_KEY_BYTES = 16  # fewer could be tried one by one
LETTERS = 12  # 60 bits: a collision among a million people has probability 4e-7, and is refused where names must differ


def pseudonyms(names: Sequence[str], key: bytes) -> list[str]:
    """The pseudonym of each name: 12 letters and digits of a BLAKE2b hash.

    Raises:
        BadInput: the key is shorter than 16 bytes.
    """
    if len(key) < FEWEST_KEY_BYTES:
        raise BadInput(
            f"a pseudonym key of {len(key)} bytes",
            why="a short key can be found by trying",
            mend=f"give {KEY_BYTES} random bytes",
        )
    # The key is hashed first, so that it may be of any length.
    secret = hashlib.sha256(key).digest()
    digests = (hashlib.blake2b(name.encode(), key=secret, person=b"pseudonym", digest_size=16) for name in names)
    return [base64.b32encode(digest.digest()).decode().lower()[:LETTERS] for digest in digests]


def numbered(names: Sequence[str], key: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number people by the order of their pseudonyms, which tells nothing of the order in the file.

    Without a key (`b""`) they are numbered by a key that is forgotten at once, and called by these numbers: nobody can link them to
    anything, not even to the same people in another call.

    Returns:
        For each name the person's number, int64 (n,), and the pseudonyms, one for each number.
    """
    known = sorted(set(names))
    hidden = dict(zip(known, pseudonyms(known, key or secrets.token_bytes(KEY_BYTES)), strict=True))
    order = sorted(known, key=lambda name: hidden[name])
    number_of = {name: number for number, name in enumerate(order)}
    shown = tuple(hidden[name] for name in order) if key else tuple(f"annotator {n + 1}" for n in range(len(order)))
    return np.array([number_of[name] for name in names], dtype=np.int64), shown


def kept_key(path: Path) -> bytes:
    """The key in this file, which only its owner may read; made of operating-system randomness if there is none yet.

    Raises:
        BadInput: the file holds something else, or others may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make_key(path)
    return _read_key(path)


def _make_key(path: Path) -> None:
    """Write a key aside and link it to its place: nobody sees half a key, and of two makers the first wins."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()


def _read_key(path: Path) -> bytes:
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise BadInput(
            f"others may read {path}",
            why="who has this key can find out whose pseudonym is whose",
            mend=f"chmod 600 {path}",
        )
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise BadInput(
            f"{path} holds no pseudonym key",
            why=f"a key has {KEY_BYTES} bytes",
            mend="restore it, or remove it and let a new one be made: pseudonyms change then",
        )
    return key
