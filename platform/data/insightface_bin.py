"""InsightFace's verification sets (`lfw.bin`, `agedb_30.bin`, ...): a pickle of 2m encoded pictures and m booleans, fold after fold.

A pickle can call anything that Python can. Here nothing comes out of it but lists, tuples, numbers and bytes: arrays are made by
stand-ins, so that nothing in the file reaches numpy or any other code, and a file that names anything else is refused before it runs.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import BadInput
from .faces import FaceImages, FacePairs
from .picture_files import HeldFiles, PictureFiles, Prepare, some_of

AGAIN = "fetch the file again"
FOLDS = 10


@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Pairs of encoded pictures: `encoded` (2m, JPEG or PNG; pair i is 2i and 2i + 1) and `same`, bool (m,)."""

    encoded: tuple[bytes, ...]
    same: np.ndarray

    def __post_init__(self) -> None:
        if len(self.encoded) != 2 * len(self.same) or not self.encoded:
            raise BadInput(f"{len(self.encoded)} pictures for {len(self.same)} pairs", why="a pair has two")

    def __len__(self) -> int:
        return len(self.same)


def read_bin(path: Path) -> PackedPairs:
    """Read a `.bin` file. Nothing in it is executed.

    Raises:
        BadInput: it is not there, wants other code than such a file needs, or does not hold what it should.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give the path of a .bin file") from None
    try:
        # Files of Python 2 hold texts where bytes are meant.
        held = _Restricted(io.BytesIO(raw), encoding="bytes").load()
    except BadInput as error:
        raise BadInput(f"{path} is refused", why=error.what, mend=error.mend) from None
    except Exception as error:  # As its documentation says, a damaged pickle may raise anything.
        raise BadInput(
            f"cannot read {path}", why=f"it is no whole pickle ({type(error).__name__})", mend=AGAIN
        ) from None
    if not isinstance(held, list | tuple) or len(held) != 2 or not isinstance(held[0], list | tuple):
        raise BadInput(f"{path} does not hold a list of pictures and a list of booleans", mend=AGAIN)
    encoded = tuple(_as_bytes(one) for one in held[0])
    same = _as_booleans(held[1])
    if same is None or any(one is None for one in encoded) or len(encoded) != 2 * len(same) or not len(same):
        raise BadInput(f"{path} does not hold two encoded pictures for each of its booleans", mend=AGAIN)
    return PackedPairs(tuple(one for one in encoded if one is not None), same)


def write_bin(path: Path, packed: PackedPairs) -> None:
    """Write a `.bin` file that InsightFace's own scripts read: lists of bytes and of booleans."""
    path.write_bytes(pickle.dumps((list(packed.encoded), [bool(one) for one in packed.same]), protocol=4))


def bin_faces(path: Path, *, prepare: Prepare, decode: bool = True) -> tuple[FaceImages, FacePairs]:
    """Return the pictures and pairs of a `.bin` file, in ten folds one after another, as InsightFace's scripts cut them.

    Who is who is known through genuine pairs and repeated pictures only, so the faces are not `identified`.

    Raises:
        BadInput: as `read_bin`; or a picture cannot be used (the message says which by its number).
    """
    packed = read_bin(path)
    files = HeldFiles(str(path), tuple(f"picture {number}" for number in range(len(packed.encoded))), packed.encoded)
    pictures = PictureFiles(files, prepare)
    unusable = pictures.unusable(decode=decode)
    if unusable:
        told = some_of([f"{files.names[number]} {why}" for number, why in unusable.items()])
        raise BadInput(
            f"{len(unusable)} of {len(pictures)} pictures in {path} cannot be used",
            why=told,
            mend="fetch the file again, or bring pictures of another size to this one by data.fit=resize",
        )
    numbers = np.arange(len(packed))
    first, second = 2 * numbers, 2 * numbers + 1
    fold = np.repeat(np.arange(FOLDS), [len(part) for part in np.array_split(numbers, FOLDS)])
    faces = FaceImages(pictures, _identities(packed), files.names, identified=False)
    return faces, FacePairs(first, second, packed.same, fold)


def _identities(packed: PackedPairs) -> np.ndarray:
    """Components of the graph whose edges are genuine pairs and equal bytes, numbered as they come."""
    parent = list(range(len(packed.encoded)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    seen: dict[bytes, int] = {}
    for number, raw in enumerate(packed.encoded):
        parent[root(number)] = root(seen.setdefault(raw, number))
    for pair in np.flatnonzero(packed.same).tolist():
        parent[root(2 * pair)] = root(2 * pair + 1)
    roots = [root(number) for number in range(len(parent))]
    return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _as_bytes(one: Any) -> bytes | None:
    if isinstance(one, _Array):
        return one.raw if one.kind == "u1" and one.raw is not None else None
    return bytes(one) if isinstance(one, bytes | bytearray) else None


def _as_booleans(held: Any) -> np.ndarray | None:
    if isinstance(held, _Array):
        held = list(held.raw) if held.kind == "b1" and held.raw is not None else None
    if not isinstance(held, list | tuple):
        return None
    values = [one.value if isinstance(one, _Scalar) else one for one in held]
    # Some files hold whole numbers instead.
    if any(type(one) not in (bool, int) or one not in (0, 1) for one in values):
        return None
    return np.array(values, dtype=bool)


def _named(kind: Any) -> str:
    return kind.name if isinstance(kind, _Kind) else ""


class _Kind:
    """Stands for a numpy dtype in a pickle."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else str(name)

    def __setstate__(self, state: Any) -> None: ...


class _Array:
    """Stands for a numpy array in a pickle, from its making to its contents; one row of bytes or booleans only."""

    kind: str = ""
    raw: bytes | None = None

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, raw = state
        self.fill(raw, kind, shape)

    def fill(self, raw: Any, kind: Any, shape: Sequence[int]) -> None:
        """Take the contents, if they are whole."""
        if _named(kind) not in ("u1", "b1") or not isinstance(raw, bytes | bytearray):
            raise BadInput("it holds an array of something else than bytes", mend=AGAIN)
        # OpenCV encodes into a column of one byte a row.
        if sum(length != 1 for length in shape) > 1 or math.prod(shape) != len(raw):
            raise BadInput("it holds an array that is not one whole row", mend=AGAIN)
        self.kind, self.raw = _named(kind), bytes(raw)


class _FromBuffer:
    """Stands for numpy's maker of arrays in pickles of protocol 5."""

    def __new__(cls, raw: Any, kind: Any, shape: Any, *_: Any) -> Any:
        array = _Array()
        array.fill(raw, kind, shape)
        return array

    def __setstate__(self, state: Any) -> None: ...


class _Scalar:
    """Stands for a numpy boolean."""

    def __init__(self, kind: Any, raw: Any) -> None:
        if _named(kind) != "b1" or raw not in (b"\0", b"\1"):
            raise BadInput("it holds a numpy number that is no boolean", mend=AGAIN)
        self.value = raw == b"\1"

    def __setstate__(self, state: Any) -> None: ...


class _Encoded:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes in pickles of protocol 2."""

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise BadInput("it holds a text where bytes belong", mend=AGAIN)
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None: ...


class _Bytes:
    """Stands for `bytes` and `bytearray`, which older protocols call by name."""

    def __new__(cls, held: Any = b"", *more: Any) -> Any:
        if more or not isinstance(held, bytes | bytearray):
            raise BadInput("it makes bytes out of something else", mend=AGAIN)
        return bytes(held)

    def __setstate__(self, state: Any) -> None: ...


class _Restricted(pickle.Unpickler):
    """Makes nothing but what a `.bin` file is made of.

    Every stand-in has a `__setstate__`: without it, the pickle could set attributes of the stand-ins themselves.
    """

    _stand_ins: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _Encoded,
        ("builtins", "bytearray"): _Bytes,
        ("builtins", "bytes"): _Bytes,
        ("__builtin__", "bytearray"): _Bytes,
        ("__builtin__", "bytes"): _Bytes,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
        **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
    }

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._stand_ins:
            raise BadInput(
                "it wants to run other code than a set of pictures needs",
                mend="do not open it with anything else, and fetch the file again from where you trust it",
            )
        return self._stand_ins[module, name]
