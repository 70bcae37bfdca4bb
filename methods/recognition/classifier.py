"""A classifier of objects as a run leaves it: the recogniser and its head, read again, and told as an ONNX file of its own.

network, card = read_classifier(Path("runs/crrcd_objects"))
logits = network(pictures)                    # floats (B, channels, side, side) in [0, 1], prepared as card["preparation"] says
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.training.files import read_json
from .export_onnx import Exported, Form, export_graph
from .heads import Head, Margin
from .networks import Recogniser
from .objects import CARD, FORMAT
from .onnx_file import INPUT

OUTPUT = "logits"
METADATA = "stillhouse.classifier"


class Classifier(nn.Module):
    """Prepared pictures (B, channels, side, side) to logits (B, classes)."""

    def __init__(self, recogniser: Recogniser, head: Head) -> None:
        super().__init__()
        self.recogniser, self.head = recogniser, head

    def forward(self, pictures: Tensor) -> Tensor:
        """Return plain logits, or scaled cosines, as the head is."""
        logits: Tensor = self.head(self.recogniser(pictures).embedding)
        return logits


def read_classifier(folder: Path) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of a run's folder, in evaluation mode, and its card.

    Raises:
        BadInput: there is none, or card and weights do not fit each other.
    """
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BadInput(f"{folder / CARD} is no card of a classifier", mend="give the folder of a run on objects")
    try:
        recogniser = Recogniser(
            card["architecture"],
            side=card["side"],
            embedding_length=card["embedding_length"],
            channels=card["channels"],
        )
        # A scale other than the usual one multiplies all logits alike, and changes no answer.
        head = Head(Margin(card["head"]), length=recogniser.embedding_length, classes=card["classes"])
        network = Classifier(recogniser, head)
        network.load_state_dict(load_file(folder / Path(card["weights"]).name))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder} holds no whole classifier",
            why=f"{type(error).__name__}: card and weights do not fit each other",
            mend="restore both files from one run, or repeat it",
        ) from None
    return network.eval().requires_grad_(False), card


def export_classifier(folder: Path, path: Path, *, notes: Sequence[str] = ()) -> Exported:
    """Write a run's classifier as an ONNX file from prepared pictures to logits; see `export_graph`.

    Raises:
        BadInput: the folder holds no classifier.
        MissingExtra, RunFailed: see `export_graph`.
    """
    network, card = read_classifier(folder)
    told = f"{INPUT}: in [0, 1], {card['preparation']}; {OUTPUT} of {card['classes']} classes ({card['head']})"
    inside = {METADATA: json.dumps(card)}
    form = Form(card["channels"], card["side"], OUTPUT, card["classes"], inside, "\n".join([told, *notes]))
    return export_graph(network, form, path)
