"""A finished recogniser on disk: weights, what they are the weights of, and a card for whoever uses them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ....platform.errors import BadInput
from ..card import Card
from .inpainting import Inpainter
from .networks import Descriptor
from .reformer import Reforming
from .stages import MaskedRecogniser, Network

ARCHITECTURE = "g2d"
INPAINTING = "inpainting.safetensors"
FORM = "form"


def write_recogniser(folder: Path, recogniser: MaskedRecogniser, network: Network, card: Card) -> None:
    """Write the weights, with the network's form in their metadata, and the card beside them."""
    form = {"network": asdict(network), "mask_map": recogniser.maps.kind}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in recogniser.state_dict().items()}
    save_file(state, folder / card.weights, metadata={FORM: json.dumps(form)})
    card.write(folder)


def read_recogniser(folder: Path) -> tuple[MaskedRecogniser, Card]:
    """The recogniser that `write_recogniser` left, in evaluation mode, and its card.

    Raises:
        BadInput: there is none, it is of another kind, or it is damaged.
    """
    card = Card.read(folder)
    if card.architecture != ARCHITECTURE:
        raise BadInput(f"{folder} holds a recogniser of kind '{card.architecture}', not {ARCHITECTURE}")
    path = folder / card.weights
    try:
        with safe_open(str(path), framework="pt") as file:
            form: dict[str, Any] = json.loads((file.metadata() or {})[FORM])
        shape = form["network"]
        network = Network(Descriptor(**shape["descriptor"]), Reforming(**shape["reformer"]))
        recogniser = MaskedRecogniser(network, form["mask_map"])
        recogniser.load_state_dict(load_file(path))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{path} cannot be read as a recogniser of masked faces", why=type(error).__name__, mend="repeat the run"
        ) from None
    return recogniser.eval().requires_grad_(False), card


def write_inpainter(folder: Path, inpainter: Inpainter) -> None:
    """Keep encoder and decoder, for another run to begin with (`inpainting.start`)."""
    save_file(
        {name: one.detach().cpu().contiguous() for name, one in inpainter.state_dict().items()}, folder / INPAINTING
    )


def load_inpainter(path: Path, inpainter: Inpainter) -> None:
    """Take encoder and decoder over from a file.

    Raises:
        BadInput: it is missing, damaged, or of another form.
    """
    try:
        inpainter.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise BadInput(
            f"{path} does not hold an encoder and decoder of this form",
            why=type(error).__name__,
            mend=f"give {INPAINTING} of a run with the same method.network.descriptor",
        ) from None
