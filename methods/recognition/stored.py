"""A recogniser read from disk for use: a run's folder, an export's, a fetched teacher's, or an ONNX file.

    stored = load_recogniser(Path("runs/crrcd"))
    templates = stored.embed(pictures)            # uint8 (n, 3, 112, 112), aligned -> float32 (n, D), not normalised

What the card says is done to the pictures first: the same resampler, the same resolution as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...platform.errors import BadInput
from .card import FILE, Card
from .embedding import Network, both_ways, templates
from .networks import Recogniser
from .onnx_file import OnnxNetwork, read_onnx

ONNX = ".onnx"
PIECE = 64


@dataclass(frozen=True, eq=False)
class Stored:
    """A network in evaluation mode, and its card."""

    card: Card
    network: Network

    def prepared(self, pictures: Tensor) -> Tensor:
        """From aligned pictures (B, c, a, a), floats in [0, 1], to what the network sees.

        Raises:
            BadInput: they are of another size than the card says.
        """
        wanted = (self.card.channels, self.card.aligned, self.card.aligned)
        if tuple(pictures.shape[1:]) != wanted:
            raise BadInput(
                f"pictures of shape {tuple(pictures.shape[1:])}",
                why=f"this recogniser is given {wanted[0]} channels of {wanted[1]} x {wanted[2]} pixels",
                mend="align the faces, or resize pictures that show nothing else",
            )
        small = self.card.resampler.resize(pictures, self.card.resolution)
        return small if self.card.back_to is None else self.card.back_by.resize(small, self.card.back_to)

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Templates (n, D) float32 of aligned pictures, uint8 (n, c, a, a); the sum over both mirror images if the card says so."""
        found = []
        for start in range(0, len(pictures), PIECE):
            piece = torch.from_numpy(np.ascontiguousarray(pictures[start : start + PIECE])).float() / 255
            seen = self.prepared(piece)
            if self.card.flipped:
                found.append(templates(both_ways(self.network, seen).numpy(), flip=True))
            else:
                with torch.no_grad():
                    found.append(self.network(seen).embedding.float().numpy())
        if not found:
            return np.zeros((0, self.card.embedding_length), np.float32)
        return np.concatenate(found).astype(np.float32)


def load_recogniser(path: Path) -> Stored:
    """The recogniser in a folder with `card.json`, in a folder with one ONNX file and no card, or in an ONNX file.

    Raises:
        BadInput: there is none, it is damaged, or its network is not known here.
        MissingExtra: it is an ONNX file, and onnxruntime is not installed.
    """
    if path.is_dir() and not (path / FILE).is_file():
        files = sorted(path.glob(f"*{ONNX}"))
        if len(files) == 1:
            path = files[0]
    if path.is_file() and path.suffix == ONNX:
        session, card = read_onnx(path)
        return Stored(card, OnnxNetwork(session, card))
    if not path.exists():
        raise BadInput(
            f"{path} does not exist", mend="give the folder of a finished run, of an export, or an ONNX file"
        )
    folder = path if path.is_dir() else path.parent
    card = Card.read(folder)
    return Stored(card, network_of(card, folder))


def network_of(card: Card, folder: Path) -> nn.Module:
    """The network that a card in this folder tells of, with its weights, in evaluation mode.

    Raises:
        BadInput: its architecture is not known here, or the weights do not fit it.
    """
    # Each brings modules of its own, which the others do not need.
    if card.architecture == "dlib_resnet":
        from .pretrained.teacher import teacher_of

        return teacher_of(card, folder)
    if card.architecture == "g2d":
        from .g2d.saved import read_recogniser

        return read_recogniser(folder)[0]
    length = None if card.pooled else card.embedding_length
    network = Recogniser(card.architecture, side=card.side, embedding_length=length, channels=card.channels)
    try:
        state = load_file(folder / card.weights)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadInput(
            f"{folder / card.weights} does not fit its card",
            why=f"{type(error).__name__}: it is damaged, or not of {card.architecture} for {card.side} pixels",
            mend="restore weights and card from one run, or repeat it",
        ) from None
    if not all(bool(torch.isfinite(one).all()) for one in state.values()):
        raise BadInput(f"{folder / card.weights} holds values that are not finite", mend="repeat the run")
    return network.eval().requires_grad_(False)
