"""Stages: the long steps of a run, each kept with a hash of its inputs.

A second start with the same inputs finds the kept result; other inputs make another result next to it. A result that
was damaged on disk is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .files import canonical_json, check_name, replace, sha256_of
from .values import load_value, save_value

MISSING = object()


class Stages:
    """The kept stages of one run."""

    def __init__(self, folder: Path, *, seed: int, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self._seed = seed
        self._say = say

    def find(self, name: str, inputs: Any) -> Any:
        """The kept value, or `MISSING`."""
        for path in sorted((self.folder / check_name(name)).glob(f"{self._key(name, inputs)}.*.safetensors")):
            try:
                if sha256_of(path) != path.name.split(".")[1]:
                    raise BadInput("its checksum does not match its content")
                return load_value(path)
            except (BadInput, OSError) as error:
                path.rename(path.with_name(path.name + ".damaged"))
                self._say(f"the kept result of stage {name} is damaged ({error}); running it again")
        return MISSING

    def keep(self, name: str, inputs: Any, value: Any) -> Path:
        """Keep a stage's value. It is on disk when this returns."""
        key = self._key(name, inputs)
        folder = self.folder / check_name(name)

        def fill(aside: Path) -> Path:
            save_value(aside, value, about={"stage": name, "seed": str(self._seed), "inputs": canonical_json(inputs)})
            return folder / f"{key}.{sha256_of(aside)}.safetensors"

        return replace(folder / key, fill)

    def _key(self, name: str, inputs: Any) -> str:
        try:
            text = canonical_json([name, self._seed, inputs])
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"the inputs of stage {name} are not plain JSON",
                why=str(error),
                mend="name what the result depends on in numbers, texts, lists and dicts (content hashes for data)",
            ) from None
        return hashlib.sha256(text.encode()).hexdigest()[:32]
