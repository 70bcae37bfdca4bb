"""Arrays and vector questions on the wire: little-endian bytes with type and shape, checked before a number is looked at."""

from __future__ import annotations

import json
import math

import numpy as np

from ..errors import BadInput
from ..privacy.vector_mean import VectorMean, vector_mean_from_json
from . import aggregator_pb2 as pb
from .vector_batches import DTYPES, MOST_DIMENSIONS, MOST_INPUTS, VectorQuestion
from .wire import MOST_BYTES, read_json


def write_tensor(values: np.ndarray, name: str = "") -> pb.Tensor:
    """An array as a message."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return pb.Tensor(name=name, dtype=values.dtype.name, shape=values.shape, data=little.tobytes())


def read_tensor(message: pb.Tensor, what: str = "a tensor") -> np.ndarray:
    """The array in a message, read-only.

    Raises:
        BadInput: type, shape and bytes do not belong together, or it is too large.
    """
    if message.dtype not in DTYPES or not 1 <= len(message.shape) <= MOST_DIMENSIONS:
        raise BadInput(
            f"{what} is of an unknown type or has no shape",
            why=f"types are {', '.join(DTYPES)}, and there are 1 to {MOST_DIMENSIONS} dimensions",
        )
    dtype, shape = np.dtype(message.dtype).newbyteorder("<"), tuple(message.shape)
    size = math.prod(shape) * dtype.itemsize
    if size != len(message.data):
        raise BadInput(f"{what} has {len(message.data)} bytes", why=f"shape {shape} of {dtype.name} has {size}")
    if size > MOST_BYTES:
        raise _too_large(size)
    found: np.ndarray = np.frombuffer(message.data, dtype).reshape(shape)
    return found


def write_question(question: VectorQuestion, mechanism: VectorMean) -> pb.VectorQuestion:
    """A question and how it is to be answered.

    Raises:
        BadInput: it does not fit into a message. It is not cut: a batch is charged and answered whole.
    """
    check_size(question)
    return pb.VectorQuestion(
        task=question.task,
        mechanism_json=json.dumps(mechanism.to_json()),
        width=question.width,
        inputs=[write_tensor(values, name) for name, values in question.inputs.items()],
        centre=None if question.centre is None else write_tensor(question.centre),
    )


def read_question(message: pb.VectorQuestion) -> tuple[VectorQuestion, VectorMean]:
    """The question in a message.

    Raises:
        BadInput: it is none.
    """
    mechanism = vector_mean_from_json(read_json(message.mechanism_json, "the mechanism"))
    if len(message.inputs) > MOST_INPUTS:
        raise BadInput(f"a question has 1 to {MOST_INPUTS} inputs, not {len(message.inputs)}")
    inputs = {tensor.name: read_tensor(tensor, "an input") for tensor in message.inputs}
    if len(inputs) != len(message.inputs):
        raise BadInput("two inputs of a question have one name")
    centre = read_tensor(message.centre, "the centre") if message.HasField("centre") else None
    question = VectorQuestion(message.task, inputs, int(message.width), centre)
    check_size(question)
    return question, mechanism


def check_size(question: VectorQuestion) -> None:
    """See that the question and its answer, 8 bytes a number, each fit into one message."""
    asked = sum(values.nbytes for values in question.arrays.values())
    size = max(asked, 8 * question.rows * question.width)
    if size > MOST_BYTES:
        raise _too_large(size, max(1, question.rows * MOST_BYTES // size))


def _too_large(size: int, rows: int | None = None) -> BadInput:
    return BadInput(
        f"{size} bytes are too many for one message",
        why=f"at most {MOST_BYTES} bytes are sent at once, and a batch of vectors is never cut",
        mend="ask for fewer rows at a time" + ("" if rows is None else f", at most {rows}"),
    )
