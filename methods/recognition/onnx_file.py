"""A recogniser as an ONNX file: one graph from prepared pictures to embeddings, with the card in its metadata.

Input `pictures`: float32 (batch, channels, side, side), RGB in [0, 1], already brought to `side` pixels as the card says. Output
`embedding`: float32 (batch, D), not normalised. The batch is dynamic.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...platform.errors import BadInput, MissingExtra
from .card import Card
from .seen import Seen

INPUT, OUTPUT = "pictures", "embedding"
METADATA = "stillhouse.card"


def onnx_library(module: str) -> Any:
    """The library `module`, of the extra `recognition`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"ONNX files need {module}", why=str(error), mend="pip install -e '.[recognition]' in the source folder"
        ) from None


def open_session(content: bytes | Path, *, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU; `threads` 0: as many as it likes. Its own exceptions tell what is wrong with a file."""
    runtime = onnx_library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    given = str(content) if isinstance(content, Path) else content
    return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def read_onnx(path: Path) -> tuple[Any, Card]:
    """The session of a file, and the card in it.

    Raises:
        BadInput: it is no ONNX file, or none that `stillhouse export` wrote.
        MissingExtra: onnxruntime is not installed.
    """
    onnx_library("onnxruntime")
    try:
        session = open_session(path, threads=torch.get_num_threads())
    except Exception as error:  # onnxruntime has a class of its own for every kind of damage.
        raise BadInput(f"{path} cannot be read as ONNX", why=type(error).__name__) from None
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    names = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    if text is None or names != ([INPUT], [OUTPUT]):
        raise BadInput(
            f"{path} holds no recogniser's card",
            why="how its pictures must be prepared is not known",
            mend="give a file that `stillhouse export --format onnx` wrote",
        )
    try:
        return session, Card.from_json(json.loads(text))
    except (BadInput, json.JSONDecodeError) as error:
        raise BadInput(f"the card in {path} cannot be read", why=str(error)) from None


class OnnxNetwork:
    """A session as a network: pictures (B, c, side, side) to a `Seen` without maps, on the CPU."""

    def __init__(self, session: Any, card: Card) -> None:
        self._session, self._card = session, card

    def __call__(self, pictures: Tensor, /) -> Seen:
        """Return the embedding."""
        wanted = (self._card.channels, self._card.side, self._card.side)
        if tuple(pictures.shape[1:]) != wanted:
            raise BadInput(f"pictures of shape {tuple(pictures.shape[1:])}", why=f"this network sees {wanted}")
        batch = pictures.detach().cpu().numpy().astype(np.float32)
        return Seen(torch.from_numpy(self._session.run([OUTPUT], {INPUT: batch})[0]))
