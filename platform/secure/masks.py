"""Masks: long vectors of uniform 32-bit numbers out of short seeds, and sums modulo 2^32.

A seed is the key of ChaCha20, whose key stream is the mask. Seeds are used once, so the nonce is nil. Numbers wrap at 2^32, which a
uint32 array does by itself: a sum of masked vectors is exact however large its parts are.

>>> seed = bytes(32)
>>> expand(seed, 2).tolist()      # the first 8 bytes of the key stream of RFC 8439, appendix A.1, vector 1
[2917185654, 2419978656]
>>> int((np.uint32(5) + expand(seed, 1) - expand(seed, 1))[0])
5
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from ..errors import BadInput
from ..privacy.validate import positive_int

SEED_BYTES = 32
BITS = 32
# The stream's block counter has 32 bits and a block holds 16 numbers; this is far below, and more than any round needs.
LONGEST = 1 << 28
_NONCE = bytes(16)


def expand(seed: bytes, length: int) -> np.ndarray:
    """`length` uniform numbers (uint32) out of a seed of 32 bytes that is used for nothing else."""
    positive_int(length=length)
    if len(seed) != SEED_BYTES or length > LONGEST:
        raise BadInput(f"a mask needs a seed of {SEED_BYTES} bytes and at most {LONGEST} numbers")
    stream = Cipher(ChaCha20(seed, _NONCE), mode=None).encryptor().update(bytes(4 * length))
    return np.frombuffer(stream, dtype="<u4").astype(np.uint32)


def pairwise(own: int, seeds: dict[int, bytes], length: int) -> np.ndarray:
    """What member `own` adds for its pairs (uint32): for each peer's seed a mask, added if the peer's number is higher, else taken off.

    Over all members of a pair the two cancel.
    """
    total = np.zeros(length, dtype=np.uint32)
    for peer, seed in seeds.items():
        if peer == own:
            raise BadInput(f"member {own} cannot be its own peer")
        mask = expand(seed, length)
        total = total + mask if own < peer else total - mask
    return total


def to_bytes(vector: np.ndarray) -> bytes:
    """Four bytes a number, least significant first."""
    return vector.astype("<u4").tobytes()


def from_bytes(raw: bytes, length: int) -> np.ndarray:
    """The vector (length,) uint32 that `to_bytes` wrote; refused if it is of another length."""
    if len(raw) != 4 * length:
        raise BadInput(f"a vector of {length} numbers has {4 * length} bytes, not {len(raw)}")
    return np.frombuffer(raw, dtype="<u4").astype(np.uint32)
