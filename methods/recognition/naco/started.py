"""The network that a run begins with: fresh, or of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....platform.errors import BadInput
from ....platform.training.run import Run
from .card import read_detector
from .model import Network, fresh_network
from .settings import NacoSettings


def started_network(run: Run, settings: NacoSettings) -> tuple[Network, Any]:
    """The network on the run's device, and JSON that names its weights.

    Raises:
        BadInput: the run that is begun with has another network.
    """
    if settings.start is None:
        weights = settings.network.weights
        network = fresh_network(settings.network, settings.clips, run.seed_for("network"))
        return network.to(run.device), {"start": None, "weights": weights}
    network, card = read_detector(Path(settings.start))
    for name, own in (("network", settings.network), ("clips", settings.clips)):
        there = getattr(card, name)
        other = [
            key for key in own.__dataclass_fields__ if key != "weights" and getattr(own, key) != getattr(there, key)
        ]
        if other:
            raise BadInput(
                f"{settings.start} has another {name}",
                why=f"{', '.join(other)} differ",
                mend=f"set method.{name} as that run had it",
            )
    # The form that is asked for counts from here on; they agree in all that makes weights.
    network.form = settings.network
    return network.to(run.device), {"start": card.sha256}
