"""How errors and arrays cross the wire.

An error keeps its kind and its three sentences (what, why, how to mend it). Errors that are not ours cross as the name
of their type: their text could hold what a record holds.

>>> back = read_error(write_error(BadInput("no such thing", mend="ask for another")))
>>> type(back).__name__, back.what, back.mend
('BadInput', 'no such thing', 'ask for another')
"""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np

from ..errors import (
    BadInput,
    BudgetExhausted,
    InternalBug,
    LedgerDoubt,
    NotAuthorised,
    RunFailed,
    StillhouseError,
    TimedOut,
    Unreachable,
)
from . import aggregator_pb2 as pb
from .tokens import UnknownToken

ERROR_KEY = "stillhouse-error-bin"
TOKEN_KEY = "authorization"
TOKEN_PREFIX = "Bearer "

MOST_QUERIES = 2048
MOST_BYTES = 32 * 2**20
MESSAGE_OPTIONS = [
    ("grpc.max_receive_message_length", 2 * MOST_BYTES),
    ("grpc.max_send_message_length", 2 * MOST_BYTES),
]

_LONGEST = 1500  # characters of a sentence; all metadata of a call must stay below 8 KiB

_CODES: dict[type[StillhouseError], grpc.StatusCode] = {
    BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotAuthorised: grpc.StatusCode.PERMISSION_DENIED,
    TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unreachable: grpc.StatusCode.UNAVAILABLE,
    BudgetExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LedgerDoubt: grpc.StatusCode.FAILED_PRECONDITION,
    RunFailed: grpc.StatusCode.ABORTED,
    InternalBug: grpc.StatusCode.INTERNAL,
}
_KINDS = {kind.__name__: kind for kind in _CODES}
# For answers without our own error in them: those of gRPC itself, or of something between us.
_MEANINGS: dict[grpc.StatusCode, type[StillhouseError]] = {
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.CANCELLED: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthorised,
    grpc.StatusCode.PERMISSION_DENIED: NotAuthorised,
    grpc.StatusCode.INVALID_ARGUMENT: BadInput,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BadInput,
    grpc.StatusCode.UNIMPLEMENTED: BadInput,
}


def sanitised(error: Exception) -> StillhouseError:
    """Our own error as it is; any other by the name of its type alone."""
    if isinstance(error, StillhouseError):
        return error
    return InternalBug(f"internal error ({type(error).__name__})", mend="tell the aggregator's operator")


def code_of(error: StillhouseError) -> grpc.StatusCode:
    """The gRPC status that stands for the error."""
    return grpc.StatusCode.UNAUTHENTICATED if isinstance(error, UnknownToken) else _CODES[_kind(error)]


def write_error(error: StillhouseError) -> bytes:
    """The metadata that carries the error."""
    fields = {"kind": _kind(error).__name__}
    fields |= {name: getattr(error, name)[:_LONGEST] for name in ("what", "why", "mend")}
    return json.dumps(fields).encode()


def read_error(data: bytes) -> StillhouseError | None:
    """The error that `write_error` wrote, or None if these bytes hold none."""
    try:
        fields = json.loads(data)
        return _KINDS[fields["kind"]](str(fields["what"]), why=str(fields["why"]), mend=str(fields["mend"]))
    except (ValueError, TypeError, KeyError):
        return None


def meaning(error: grpc.RpcError, address: str) -> StillhouseError:
    """What a failed call means to its caller."""
    sent: Any = error.trailing_metadata() or ()
    for key, value in sent:
        ours = read_error(value) if key == ERROR_KEY else None
        if ours is not None:
            return ours
    code = error.code()
    kind = _MEANINGS.get(code, InternalBug)
    if kind is Unreachable:
        return Unreachable(
            f"the aggregator at {address} does not answer", mend="start it, or check address and TLS files"
        )
    if kind is TimedOut:
        return TimedOut(f"no reply from the aggregator at {address} in time", mend="try again")
    return kind(f"the aggregator at {address} refused the call", why=error.details() or code.name)


def read_json(text: str, what: str) -> Any:
    """What a caller's JSON text says.

    Raises:
        BadInput: it is none, or nests or counts further than Python reads (`what` names it).
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"{what} is not JSON") from None


def _kind(error: StillhouseError) -> type[StillhouseError]:
    return next((kind for kind in type(error).__mro__ if kind in _CODES), RunFailed)


def write_images(images: np.ndarray) -> pb.Images:
    """Uint8 images (Q, c, h, w) as a message."""
    count, channels, height, width = images.shape
    data = np.ascontiguousarray(images).tobytes()
    return pb.Images(count=count, channels=channels, height=height, width=width, data=data)


def read_images(message: pb.Images) -> np.ndarray:
    """The images in a message, checked against their own shape."""
    shape = (message.count, message.channels, message.height, message.width)
    size = shape[0] * shape[1] * shape[2] * shape[3]
    if not size or size != len(message.data):
        raise BadInput(f"images of shape {shape} with {len(message.data)} bytes", why="there is one byte a pixel")
    if message.count > MOST_QUERIES or size > MOST_BYTES:
        raise BadInput(
            f"a batch of {message.count} queries and {size} bytes is too large",
            why=f"at most {MOST_QUERIES} queries and {MOST_BYTES} bytes are taken at once",
            mend="send smaller batches",
        )
    return np.frombuffer(message.data, np.uint8).reshape(shape)


def write_integers(values: np.ndarray) -> bytes:
    """Whole numbers as 32-bit little-endian bytes."""
    return np.ascontiguousarray(values, dtype="<i4").tobytes()


def read_integers(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The whole numbers (int64) of an array of this shape."""
    if len(data) != 4 * int(np.prod(shape)):
        raise BadInput(f"{len(data)} bytes for {' x '.join(map(str, shape))} whole numbers of 32 bits")
    return np.frombuffer(data, "<i4").reshape(shape).astype(np.int64)


def check_counts_fit(queries: int, classes: int) -> None:
    """Refuse a question whose noisy counts would not fit into one message; with up to 2048 classes all fit."""
    if 8 * queries * classes > MOST_BYTES:
        raise BadInput(
            f"the counts of {queries} queries and {classes} classes are too many for one message",
            why=f"at most {MOST_BYTES} bytes are sent at once, 8 a count",
            mend=f"ask at most {MOST_BYTES // (8 * classes)} queries at a time",
        )


def write_counts(counts: np.ndarray | None) -> bytes:
    """Noisy counts as 64-bit little-endian bytes; none are no bytes."""
    return b"" if counts is None else np.ascontiguousarray(counts, dtype="<i8").tobytes()


def read_counts(data: bytes, queries: int) -> np.ndarray:
    """The noisy counts (Q, K) int64 of this many queries, with as many classes as there are bytes for."""
    if not data or len(data) % (8 * queries):
        raise BadInput(f"{len(data)} bytes for the counts of {queries} queries, 64 bits each")
    return np.frombuffer(data, "<i8").reshape(queries, -1).astype(np.int64)


def write_student(student: np.ndarray | None) -> bytes:
    """Probabilities as float64 little-endian bytes; none are no bytes."""
    return b"" if student is None else np.ascontiguousarray(student, dtype="<f8").tobytes()


def read_student(data: bytes, shape: tuple[int, int]) -> np.ndarray | None:
    """The probabilities (float64) of this shape, or None for no bytes."""
    if not data:
        return None
    if len(data) != 8 * shape[0] * shape[1]:
        raise BadInput(f"the student's probabilities must have the shape {shape}, one row a query, one column a class")
    return np.frombuffer(data, "<f8").reshape(shape)
