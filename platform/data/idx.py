"""The idx file format of MNIST and its relatives, gzipped or plain."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import BadInput

UNSIGNED_BYTES = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    The header is two zero bytes, the type, the number of axes, then each axis' length as a big-endian 32-bit number.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"cannot read {path}", why=str(error), mend="fetch the file again") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTES:
        raise BadInput(f"{path} is not an idx file of unsigned bytes", mend="fetch the file again")
    axes = raw[3]
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", raw[4:start]) if len(raw) >= start else ()
    if not shape or len(raw) - start != math.prod(shape):
        raise BadInput(f"{path} is cut off or too long", mend="fetch the file again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()  # torch wants arrays that can be written to
