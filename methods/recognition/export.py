"""A recogniser in a folder of its own: weights with their card, and an ONNX file; for whoever uses it without the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.training.files import write_text
from .aird.face_bn import adapt_bn
from .card import Card
from .export_onnx import export_onnx
from .given_pictures import GivenPictures
from .stored import PIECE, Stored, load_recogniser

FORMATS = ("torch", "onnx")
ONNX_FILE = "student.onnx"
README = "README.txt"
MOST_FACES = 2000


def adapted(stored: Stored, faces: GivenPictures) -> Stored:
    """The recogniser with batch normalisation adapted to faces like those it will see (FaceBN, `mix`).

    Threshold and least quality are dropped: they were set on embeddings of the network as it was trained.

    Raises:
        BadInput: the network has no batch normalisation.
    """
    if not isinstance(stored.network, nn.Module):
        raise BadInput("an ONNX file cannot be adapted", why="its batch normalisation is folded", mend="adapt the run")
    # A random choice: in the order of their names faces come person by person.
    numbers = np.random.default_rng(0).permutation(len(faces))[:MOST_FACES].tolist()
    batches: list[Tensor] = [
        stored.prepared(pixels(faces, numbers[start : start + PIECE])) for start in range(0, len(numbers), PIECE)
    ]
    found = adapt_bn(stored.network, batches, "mix")
    words = "; ".join([*found.notes, "the threshold was dropped: set another"])
    card = replace(
        stored.card, adapted=words, threshold=None, fmr=None, held_fmr=None, confidence=None, least_quality=None
    )
    return Stored(card, found.model)


def pixels(faces: GivenPictures, numbers: Sequence[int]) -> Tensor:
    """Floats (n, 3, a, a) in [0, 1] of these pictures."""
    return torch.from_numpy(faces.pictures.read(list(numbers))).float() / 255


def export_recogniser(
    folder: Path, place: Path, formats: Sequence[str], *, told: Sequence[str], faces: GivenPictures | None = None
) -> None:
    """Write a run's recogniser into an empty folder.

    Args:
        folder: of the run.
        place: exists.
        formats: some of `FORMATS`.
        told: lines for the README and the ONNX file: which run it was, and its privacy statement.
        faces: adapt batch normalisation to them.

    Raises:
        BadInput: the run's files do not fit each other, or the network cannot be adapted or told as a graph.
        MissingExtra: of ONNX.
        RunFailed: the ONNX graph answers otherwise than the network.
    """
    stored = load_recogniser(folder)
    if faces is not None:
        stored = adapted(stored, faces)
    network, card = stored.network, stored.card
    assert isinstance(network, nn.Module)
    lines = ["A recogniser: pictures to embeddings, which are compared by cosine.", "", *told, "", *_uses(card), ""]
    if "torch" in formats:
        _write_weights(network, card, folder, place)
        lines.append(
            f"{card.weights}, card.json: weights and how they are used; stillhouse predict FOLDER PICTURES reads them"
        )
    if "onnx" in formats:
        written = export_onnx(network, card, place / ONNX_FILE, notes=told)
        lines.append(
            f"{ONNX_FILE}: the same as a graph, any batch; differs from the network by {written.difference:.1g} at most in a number"
        )
    write_text(place / README, "\n".join(lines) + "\n")


def _uses(card: Card) -> list[str]:
    found = [
        f"It is given RGB pictures of {card.aligned} pixels, aligned, in [0, 1], {card.preparation()}.",
        "An embedding is the sum of those of a picture and its mirror image." if card.flipped else "",
        _decision(card),
        f"Adapted: {card.adapted}." if card.adapted else "",
        f"Trained on {card.trained_on}. Licence: {card.licence}.",
        f"Distilled from {card.teacher} (licence: {card.teacher_licence or 'not stated'})." if card.teacher else "",
    ]
    return [line for line in found if line]


def _decision(card: Card) -> str:
    """From which cosine on two pictures show one person, and how often that is wrong of different people; "" without a threshold."""
    if card.threshold is None:
        return ""
    words = f"Two show one person from a cosine of {card.threshold:.4f} on (FMR {card.fmr} on the pairs it was set on"
    if card.held_fmr is not None:
        words += f"; at most {card.held_fmr} on such pairs to come, with confidence {card.confidence}"
    return f"{words})."


def _write_weights(network: nn.Module, card: Card, folder: Path, place: Path) -> None:
    # What a network keeps beside its weights, such as its form, is part of the file.
    with safe_open(folder / card.weights, framework="pt") as file:
        metadata = file.metadata()
    state = {name: one.contiguous() for name, one in network.state_dict().items()}
    (place / card.weights).write_bytes(save(state, metadata))
    card.write(place)
