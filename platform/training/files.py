"""Files that survive a power cut: written aside, forced to disk, then renamed over the old one.

A reader sees the old content or the new, never half of either.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "note.json"
>>> write_json(path, {"answer": 42})
>>> read_json(path)
{'answer': 42}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """The name itself, if it can be part of a path on every system."""
    if not _NAME.fullmatch(name) or len(name) > 80:
        raise BadInput(
            f"name {name!r} cannot be used for a file",
            why="names are 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit",
            mend="choose such a name",
        )
    return name


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that a rename inside it is durable."""
    if os.name == "nt":  # Windows cannot open folders; its renames are journalled.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, fill: Callable[[Path], Path | None]) -> Path:
    """Let `fill` write a file aside, force it to disk and rename it to `path` (or to the path that `fill` returns)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:40]}.{os.getpid()}.tmp")
    try:
        target = fill(aside) or path
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return target


def write_text(path: Path, text: str) -> None:
    """Write text atomically and durably."""

    def fill(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    replace(path, fill)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN) atomically and durably, for people to read as well."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a `BadInput` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", mend="check the folder; a failed run leaves none") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not JSON", why=str(error), mend="restore the file or repeat the run") from None


def sha256_of(path: Path) -> str:
    """Hash a file's content without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces. For hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
