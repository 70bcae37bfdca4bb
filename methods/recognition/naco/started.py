"""What a run begins with: a fresh network, or that of a finished run, which knows certain faces and certain forgeries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....platform.data.video_crops import CropSettings, OtherSettings, check_settings
from ....platform.data.videos import VideoData
from ....platform.errors import BadInput
from ....platform.training.run import Run
from .card import read_card, read_detector
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


def check_faces(settings: NacoSettings, data: VideoData) -> None:
    """Refuse data whose faces are cut otherwise than those that the run which is begun with learned from, as far as both are known.

    Raises:
        OtherSettings: names what differs.
    """
    if settings.start is None:
        return
    card = read_card(Path(settings.start))
    if card.crop and data.preprocessing:
        check_settings(card.crop, CropSettings(**data.preprocessing))
    side = next((part.tracks.side for part in data.parts().values() if len(part)), 0)
    if card.track_side and side and card.track_side != side:
        raise OtherSettings(
            "these faces are cut out differently",
            why=f"the tracks that {settings.start} learned from are {card.track_side} and are {side} pixels wide here",
            mend="cut them as those that were learned from",
        )


def learned_families(settings: NacoSettings, data: VideoData) -> tuple[str, ...]:
    """Families that a run's detector learned from, or was chosen on: in the run that it begins with, and in its own stage 2."""
    learned = set() if settings.start is None else set(read_card(Path(settings.start)).forgeries)
    if settings.finetuning.mode != "none" and not settings.only_tested:
        fakes = settings.finetuning.fakes
        learned |= {*data.train.forgeries, *data.validation.forgeries} if fakes == "given" else {fakes}
    return tuple(sorted(learned))
