"""Export of a recogniser to ONNX: dynamic batch, batch normalisation folded into the layers before it, checked before it is kept.

The check runs the file by onnxruntime on random pictures and compares with the network, at batches of 1, 3 and 7: exports that
answer a single picture rightly and a batch wrongly are common. A file that differs is not written.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...platform.errors import BadInput, RunFailed
from ...platform.training.files import replace
from .card import Card
from .onnx_file import INPUT, METADATA, OUTPUT, onnx_library, open_session
from .seen import Seen

BATCHES = (1, 3, 7)
LARGEST_DIFFERENCE = 1e-4
OPSET = 20


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: the file.
        difference: largest difference of an embedding's number to the network's, over all checked batches.
        operators: how often each occurs in the graph.
    """

    path: Path
    difference: float
    operators: dict[str, int]


@dataclass(frozen=True)
class Form:
    """What a graph takes and gives.

    Args:
        channels, side: of the pictures.
        output: name of what it gives, and `length` of it for a picture.
        metadata: texts inside the file.
        description: for whoever opens it.
    """

    channels: int
    side: int
    output: str
    length: int
    metadata: Mapping[str, str]
    description: str

    def pictures(self, count: int, generator: torch.Generator) -> Tensor:
        """Random pictures of this form."""
        return torch.rand(count, self.channels, self.side, self.side, generator=generator)


class _Embedding(nn.Module):
    """The embedding alone: maps are for training."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        seen: Seen = self.network(pictures)
        return seen.embedding


def form_of(card: Card, notes: Sequence[str] = ()) -> Form:
    """That of a recogniser: prepared pictures to embeddings, with the card inside."""
    told = f"{INPUT}: RGB in [0, 1], {card.preparation()}; {OUTPUT}: {card.embedding_length} numbers, compare by cosine"
    inside = {METADATA: json.dumps(card.to_json())}
    return Form(card.channels, card.side, OUTPUT, card.embedding_length, inside, "\n".join([told, *notes]))


def export_onnx(network: nn.Module, card: Card, path: Path, *, notes: Sequence[str] = ()) -> Exported:
    """Write a recogniser (pictures to a `Seen`) as an ONNX file from prepared pictures to embeddings; see `export_graph`.

    Args:
        network: any; one adapted by FaceBN is a network too.
        card: goes into the file's metadata.
        path: the file.
        notes: lines for the file's description, such as a privacy statement.
    """
    return export_graph(_Embedding(network), form_of(card, notes), path)


def export_graph(network: nn.Module, form: Form, path: Path) -> Exported:
    """Write a network as an ONNX file.

    Args:
        network: pictures (B, channels, side, side) to (B, length), on the CPU, in any mode; it is exported as in evaluation, and left
            as it was.
        form: of what it takes and gives.
        path: the file.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime are not installed.
        BadInput: the network does not take or give what its form says, or cannot be told as a graph.
        RunFailed: the graph answers otherwise than the network. Nothing was written.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        onnx_library(library)
    training = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        _check_form(network, form)
        model = _graph(network, form)
        content = model.SerializeToString()
        difference = largest_difference(network, content, form)
    finally:
        for module, mode in training:
            module.training = mode
    if not difference <= LARGEST_DIFFERENCE:
        raise RunFailed(
            f"the exported graph differs from the network by {difference:.2g}",
            why=f"at most {LARGEST_DIFFERENCE:g} is allowed, at batches of {', '.join(map(str, BATCHES))}; nothing was written",
            mend="export the weights instead (--format torch), and report which network it is",
        )

    def fill(aside: Path) -> None:
        aside.write_bytes(content)

    replace(path, fill)
    operators = Counter(node.op_type for node in model.graph.node)
    return Exported(path, difference, dict(sorted(operators.items())))


def largest_difference(network: nn.Module, content: bytes, form: Form) -> float:
    """Largest difference between what a graph and a network give, over all `BATCHES` of random pictures.

    Not a number anywhere counts as infinite.
    """
    session = open_session(content, threads=torch.get_num_threads())
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for count in BATCHES:
        pictures = form.pictures(count, generator)
        with torch.no_grad():
            wanted = network(pictures).numpy()
        found = session.run([form.output], {INPUT: pictures.numpy()})[0]
        if found.shape != wanted.shape or not np.isfinite(found - wanted).all():
            return float("inf")
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def _check_form(network: nn.Module, form: Form) -> None:
    with torch.no_grad():
        found = network(form.pictures(2, torch.Generator().manual_seed(0)))
    if tuple(found.shape) != (2, form.length):
        raise BadInput(
            f"the network gives {form.output} of shape {tuple(found.shape)} for 2 pictures",
            why=f"its card tells of {form.length} numbers each",
        )


def _graph(network: nn.Module, form: Form) -> Any:
    example = form.pictures(2, torch.Generator().manual_seed(0))
    try:
        with _quiet():
            program = torch.onnx.export(
                network, (example,), dynamo=True, optimize=True, opset_version=OPSET, input_names=[INPUT],
                output_names=[form.output], dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), verbose=False,
            )  # fmt: skip
    except Exception as error:  # The exporter passes on whatever it stumbles on.
        raise BadInput("the network cannot be told as an ONNX graph", why=type(error).__name__) from None
    assert program is not None
    model = program.model_proto
    # Traces of the exporter, paths of its machine among them.
    for node in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        del node.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    del model.metadata_props[:]
    for key, value in form.metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.doc_string = "stillhouse", form.description
    onnx_library("onnx").checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its steps on stdout, where a command's JSON goes, and warns of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
