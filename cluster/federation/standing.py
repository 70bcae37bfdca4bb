"""How a relay stands, in a file: whoever started it reads there how many teachers are ready, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...platform.aggregator.wire import read_error, write_error
from ...platform.errors import RunFailed, StillhouseError
from ...platform.training.files import read_json, write_json

TRAINING, VOTING, FAILED = "training", "voting", "failed"


@dataclass
class Standing:
    """What a relay tells: its state, the teachers that are ready, whose they are, how many were trained now and how many found."""

    path: Path | None
    silos: list[str] = field(default_factory=list)
    trained: int = 0
    reused: int = 0

    def tell(
        self,
        state: str,
        *,
        ready: int | None = None,
        lost: list[str] | None = None,
        error: StillhouseError | None = None,
    ) -> None:
        """Write it down, if there is where."""
        if self.path is None:
            return
        told: dict[str, Any] = {
            "state": state, "silos": self.silos, "trained": self.trained, "reused": self.reused,
            "ready": len(self.silos) if ready is None else ready, "lost": lost or [],
        }  # fmt: skip
        if error is not None:
            told["error"] = write_error(error).decode()
        write_json(self.path, told)


def read_standing(path: Path) -> dict[str, Any]:
    """Return what a relay told last; empty before it told anything.

    Raises:
        StillhouseError: it ended, with this error.
    """
    if not path.is_file():
        return {}
    told: dict[str, Any] = read_json(path)
    if told["state"] == FAILED:
        raise read_error(told["error"].encode()) or RunFailed("the relay failed", mend=f"look into {path}")
    return told
