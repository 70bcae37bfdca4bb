"""Checkpoints: the state of a training, kept so that a killed run goes on where it was.

A file's name holds its number and the SHA-256 of its content (`00000012.<sha256>.safetensors`), so content and
checksum become visible in one rename. The last two are kept: when the newest is damaged, `load` says so and goes back
to the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .files import replace, sha256_of, sync_folder
from .values import load_value, save_value

_KEPT = 2
_SUFFIX = ".safetensors"


class Checkpoints:
    """The checkpoints of one training in one folder."""

    def __init__(self, folder: Path, *, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self._say = say

    def save(self, state: Any) -> Path:
        """Keep a state (see `values` for what it may hold). It is on disk when this returns."""
        present = self._files()
        number = present[-1][0] + 1 if present else 1

        def fill(aside: Path) -> Path:
            save_value(aside, state)
            return self.folder / f"{number:08d}.{sha256_of(aside)}{_SUFFIX}"

        path = replace(self.folder / f"{number:08d}", fill)
        for _, old in present[: len(present) + 1 - _KEPT]:
            old.unlink(missing_ok=True)  # another process may have been faster
        return path

    def load(self) -> Any | None:
        """The newest state that is whole, or None where there is none."""
        for number, path in reversed(self._files()):
            try:
                if sha256_of(path) != path.name.split(".")[1]:
                    raise BadInput("its checksum does not match its content")
                return load_value(path)
            except (BadInput, OSError) as error:
                # Set aside rather than deleted: it no longer counts as one of the two kept, and can be looked at.
                path.rename(path.with_name(path.name + ".damaged"))
                sync_folder(self.folder)
                self._say(f"checkpoint {number} of {self.folder.name} is damaged ({error}); going back to the last one")
        return None

    def _files(self) -> list[tuple[int, Path]]:
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            parts = path.name.split(".")
            if len(parts) == 3 and parts[0].isdigit():
                found.append((int(parts[0]), path))
        return sorted(found)
