"""The card of a video detector: what is needed to use its weights rightly, and what it learned from. It is `card.json`, beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ....platform.errors import BadInput
from ....platform.training.files import read_json, sha256_of, write_json
from .form import Clips, Form
from .model import Network

FILE = "card.json"
WEIGHTS = "detector.safetensors"
FORMAT = "stillhouse video detector 1"
NO_PROOF = "a score is no proof: it says how much clips resemble the forgeries that were learned from, and other forgeries may not"


@dataclass(frozen=True)
class DetectorCard:
    """What weights are and how they are used.

    Args:
        network, clips: form of the network, and what it sees.
        score: of a video: the mean of its clips' logits (logit) or of their probabilities (probability).
        max_frames: of a video that are looked at.
        detects: whether stage 2 was done; otherwise there is a representation, and scores mean nothing.
        threshold: score from which on a video is said to be forged, set on `calibrated_on`; None: none was set.
        trained_on: data, seed and method, in words.
        forgeries: families that stage 2 learned from, here or in the run that was begun with.
        crop: how faces were cut (`platform.data.video_crops.CropSettings`); empty: not known, or generated data.
        track_side: height and width (pixels) of the face tracks that were learned from.
        fps: frames per second of the training tracks: least and most.
        sha256: of the weights; "": not written yet.
    """

    network: Form
    clips: Clips
    score: str
    max_frames: int
    detects: bool
    threshold: float | None
    calibrated_on: str
    trained_on: str
    forgeries: tuple[str, ...]
    crop: dict[str, Any] = field(default_factory=dict)
    track_side: int = 0
    fps: tuple[float, float] = (0.0, 0.0)
    sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "forgeries", tuple(self.forgeries))
        object.__setattr__(self, "fps", tuple(self.fps))

    def to_json(self) -> dict[str, Any]:
        """A JSON form that `from_json` reads back as an equal card."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> DetectorCard:
        """Read `to_json`'s form.

        Raises:
            BadInput: it is none, or of another format.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadInput("this is no card of a video detector", why=f"its format is not '{FORMAT}'")
        values = {name: value for name, value in data.items() if name != "format"}
        if unknown := sorted(set(values) - {one.name for one in fields(cls)}):
            raise BadInput(f"a card does not have {', '.join(unknown)}", mend="read it with the version that wrote it")
        try:
            return cls(**{**values, "network": Form(**values["network"]), "clips": Clips(**values["clips"])})
        except (KeyError, TypeError) as error:
            raise BadInput("this card is not whole", why=str(error), mend="restore it, or repeat the run") from None

    def write(self, folder: Path, network: Network) -> DetectorCard:
        """Write weights and `card.json` into a folder; gives the card with the weights' SHA-256."""
        state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        card = replace(self, sha256=sha256_of(folder / WEIGHTS))
        write_json(folder / FILE, card.to_json())
        return card


def is_detector(folder: Path) -> bool:
    """Whether a folder holds a card of a video detector."""
    try:
        data = read_json(folder / FILE)
    except BadInput:
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


def read_card(folder: Path) -> DetectorCard:
    """The card alone.

    Raises:
        BadInput: it is missing, or is none.
    """
    try:
        return DetectorCard.from_json(read_json(folder / FILE))
    except BadInput as error:
        raise BadInput(
            f"{folder} holds no video detector", why=str(error), mend="give the folder of a finished run of method=naco"
        ) from None


def read_detector(folder: Path) -> tuple[Network, DetectorCard]:
    """A network, in evaluation mode on the CPU, and its card.

    Raises:
        BadInput: a file is missing, is none, or the weights are not those that the card was written for.
    """
    card = read_card(folder)
    weights = folder / WEIGHTS
    if not weights.is_file() or sha256_of(weights) != card.sha256:
        raise BadInput(
            f"{weights} is not what {FILE} was written for",
            why="it is missing, or its SHA-256 is another one",
            mend="restore both files from one run, or repeat it",
        )
    network = Network(replace(card.network, weights=None), card.clips)
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise BadInput(f"{weights} does not fit its card", why=type(error).__name__, mend="repeat the run") from None
    return network.eval(), card
