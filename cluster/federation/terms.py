"""What the relay is told by the run's configuration (`[tool.flwr.app.config]`), checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...platform.errors import BadInput
from ...platform.privacy.validate import positive
from .flower import Setting


@dataclass(frozen=True)
class RelayTerms:
    """Keys as in the app's `pyproject.toml`, there with dashes.

    Args:
        address, token_file, ca_file: the aggregator, and a silo's token that owns all silos.
        roster: a file that says which node is which silo; empty: clients are taken at their word.
        silos: how many are expected.
        quorum: how many teachers are enough to begin; 0: all.
        start_seconds, training_seconds, deadline_seconds: for clients to connect, for the training of those that did, for a batch.
        state_file: where to write how the relay stands; empty: nowhere.
    """

    address: str
    token_file: str
    ca_file: str
    roster: str
    silos: int
    quorum: int
    start_seconds: float
    training_seconds: float
    deadline_seconds: float
    state_file: str

    def __post_init__(self) -> None:
        positive(
            start_seconds=self.start_seconds,
            training_seconds=self.training_seconds,
            deadline_seconds=self.deadline_seconds,
        )
        if self.silos < 1 or not 0 <= self.quorum <= self.silos:
            raise BadInput(
                f"silos={self.silos} and quorum={self.quorum} do not go together",
                mend="say how many silos there are, and a quorum of at most so many",
            )

    @classmethod
    def read(cls, settings: Mapping[str, Setting]) -> RelayTerms:
        """Take the relay's own keys out of a run's configuration.

        Raises:
            BadInput: one is missing or of another type.
        """
        kinds: dict[str, type[Setting]] = {"str": str, "int": int, "float": float}
        found: dict[str, Any] = {}
        for field in fields(cls):
            key, kind = field.name.replace("_", "-"), kinds[str(field.type)]
            value = settings.get(key)
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise BadInput(
                    f"the run's configuration has no {key} of type {field.type}", mend=f"give --run-config '{key}=...'"
                )
            found[field.name] = value
        return cls(**found)

    @property
    def least(self) -> int:
        """How many silos must have a teacher."""
        return self.quorum or self.silos
