"""Who may call: access tokens with a role each. The file keeps their SHA-256 only, so reading it gives no access.

A token is 256 random bits, so a plain hash is enough (there is nothing to guess). Comparison takes the same time
whatever is presented. The file is read again when it changes: a token can be added or withdrawn while the server runs.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "tokens.json"
>>> secret = add_token(path, role="silo", name="hospital-a")
>>> Tokens(path).identify(secret)
Caller(role='silo', name='hospital-a', silos=('hospital-a',))
>>> Tokens(path).identify("guess") is None
True
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, NotAuthorised
from ..training.files import replace

ROLES = ("silo", "analyst", "officer")
_MEND = "make it with `stillhouse token`"


class UnknownToken(NotAuthorised):
    """Nobody here holds this token."""


@dataclass(frozen=True)
class Caller:
    """Somebody known: role, name, and for a silo's credential the silos that it may vote for."""

    role: str
    name: str
    silos: tuple[str, ...] = ()


def add_token(path: Path, *, role: str, name: str, silos: Sequence[str] | None = None) -> str:
    """Make a token and return its secret, which is kept nowhere. A silo's token owns the silo of its own name, or `silos`.

    A second token for the same role and name stands beside the first, so that it can be changed without a gap.
    """
    known = _read(path) if path.exists() else {}
    secret = _add(known, role, name, silos)
    _write(path, known)
    return secret


def make_tokens(
    path: Path, *, silos: Mapping[str, Sequence[str]], analysts: Sequence[str] = (), officers: Sequence[str] = ()
) -> dict[str, str]:
    """Write a new file with one token a name, replacing an old one; return the secrets by name.

    `silos` maps a credential's name to the silos that it may vote for.
    """
    everybody = [*silos, *analysts, *officers]
    if len(set(everybody)) != len(everybody):
        raise BadInput("two credentials have the same name", mend="give every credential a name of its own")
    known: dict[str, Caller] = {}
    made = {name: _add(known, "silo", name, owned) for name, owned in silos.items()}
    made |= {name: _add(known, "analyst", name, None) for name in analysts}
    made |= {name: _add(known, "officer", name, None) for name in officers}
    _write(path, known)
    return made


class Tokens:
    """The token file of a running server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._known = _read(path)

    def identify(self, secret: str) -> Caller | None:
        """Return who holds this token, or None. Compares with every known hash, also after a match.

        Raises:
            NotAuthorised: the file was removed or damaged while the server runs; then nobody is let in.
        """
        self._refresh()
        presented = _hash(secret)
        found = None
        for known, caller in self._known.items():
            if hmac.compare_digest(known, presented):
                found = caller
        return found

    def _refresh(self) -> None:
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._known, self._stamp = _read(self._path), stamp
        except BadInput:
            self._known, self._stamp = {}, None
            raise NotAuthorised(
                "nobody can be identified", why="the aggregator's token file cannot be read", mend="restore that file"
            ) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        raise BadInput(f"no token file {path}", mend=_MEND) from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _add(known: dict[str, Caller], role: str, name: str, silos: Sequence[str] | None) -> str:
    if role not in ROLES:
        raise BadInput(f"unknown role {role!r}", why=f"roles are {', '.join(ROLES)}")
    for text in (name, *(silos or ())):
        if not isinstance(text, str) or not text or not text.isprintable() or text != text.strip():
            raise BadInput("a name must be plain printable text")
    if role != "silo" and silos is not None:
        raise BadInput("only a silo's token owns silos")
    secret = secrets.token_urlsafe(32)
    owned = tuple(silos) if silos is not None else (name,)
    known[_hash(secret)] = Caller(role, name, owned if role == "silo" else ())
    return secret


def _write(path: Path, known: Mapping[str, Caller]) -> None:
    rows: list[dict[str, Any]] = []
    for token, caller in known.items():
        row: dict[str, Any] = {"token_sha256": token, "role": caller.role, "name": caller.name}
        rows.append(row | ({"silos": list(caller.silos)} if caller.role == "silo" else {}))

    def fill(aside: Path) -> None:
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")

    replace(path, fill)


def _read(path: Path) -> dict[str, Caller]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {_token(row): _caller(row) for row in rows}
    except FileNotFoundError:
        raise BadInput(f"no token file {path}", mend=_MEND) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = str(error) if isinstance(error, BadInput) else type(error).__name__
        raise BadInput(f"the token file {os.fspath(path)} cannot be read", why=why, mend=_MEND) from None


def _token(row: Mapping[str, Any]) -> str:
    token = row["token_sha256"]
    if not isinstance(token, str) or len(token) != 64 or set(token) - set("0123456789abcdef"):
        raise BadInput("token_sha256 must be 64 hexadecimal digits")
    return token


def _caller(row: Mapping[str, Any]) -> Caller:
    unknown = set(row) - {"token_sha256", "role", "name", "silos"}
    silos = row.get("silos", [row["name"]] if row["role"] == "silo" else [])
    if unknown or row["role"] not in ROLES or not isinstance(row["name"], str) or not isinstance(silos, list):
        raise BadInput("each entry has token_sha256, role, name and, for a silo, a list of silos")
    return Caller(row["role"], row["name"], tuple(str(silo) for silo in silos))
