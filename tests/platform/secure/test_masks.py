"""Masks against ChaCha20 written out in Python, and their algebra."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure.masks import expand, from_bytes, pairwise, to_bytes

SEEDS = st.binary(min_size=32, max_size=32)


def chacha20_block(key: bytes, counter: int) -> bytes:
    """RFC 8439, section 2.3, with a nonce of nil."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), counter, 0, 0, 0]
    x = list(start)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for target, source, mixed, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[target] = (x[target] + x[source]) % 2**32
            word = x[mixed] ^ x[target]
            x[mixed] = (word << turn | word >> (32 - turn)) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) % 2**32 for a, b in zip(x, start, strict=True)))


@settings(max_examples=25)
@given(seed=SEEDS, length=st.integers(1, 50))
def test_a_mask_is_the_key_stream(seed: bytes, length: int) -> None:
    stream = b"".join(chacha20_block(seed, block) for block in range(4))
    assert to_bytes(expand(seed, length)) == stream[: 4 * length]
    assert np.array_equal(from_bytes(stream[: 4 * length], length), expand(seed, length))


@settings(max_examples=60)
@given(count=st.integers(2, 7), seeds=st.lists(SEEDS, min_size=21, max_size=21, unique=True), length=st.integers(1, 5))
def test_masks_of_pairs_cancel(count: int, seeds: list[bytes], length: int) -> None:
    fresh = iter(seeds)
    of_pair = {(i, j): next(fresh) for i in range(1, count + 1) for j in range(i + 1, count + 1)}
    total = np.zeros(length, dtype=np.uint32)
    for own in range(1, count + 1):
        peers = {p: of_pair[min(own, p), max(own, p)] for p in range(1, count + 1) if p != own}
        mask = pairwise(own, peers, length)
        assert mask.any(), "each alone is a mask"
        total += mask
    assert not total.any()


def test_what_cannot_be_is_refused() -> None:
    for seed, length in ((bytes(31), 1), (bytes(32), 0), (bytes(32), 1 << 29)):
        with pytest.raises(BadInput):
            expand(seed, length)
    with pytest.raises(BadInput):
        pairwise(2, {2: bytes(32)}, 1)
    with pytest.raises(BadInput):
        from_bytes(bytes(7), 2)
