"""Shamir's secret sharing: any `threshold` of the shares give a secret of 32 bytes back, fewer tell nothing about it.

The secret is the value at 0 of a random polynomial of degree threshold - 1 over the whole numbers modulo the prime 2^256 + 297, and
the share of holder x its value at x (Shamir 1979, "How to share a secret"). Every secret of 256 bits is a residue, and the modulus
exceeds 2^256 by so little that a share of 33 bytes holds any of them.

The one kept library at hand for this is slow where many hold shares: its field is GF(2^128) in Python, a bit at a time. A secret in
250 shares takes Python's own whole numbers some ten thousandths of a second for each of them.

>>> shares = split(bytes(range(32)), threshold=2, holders=[1, 2, 3])
>>> combine({1: shares[1], 3: shares[3]}) == bytes(range(32))
True
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping

from ..errors import BadInput
from ..privacy.validate import positive_int

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(
    secret: bytes, *, threshold: int, holders: Collection[int], below: Callable[[int], int] = secrets.randbelow
) -> dict[int, bytes]:
    """A share of 33 bytes for each holder, by number (from 1). `below` draws a number under its argument; only tests replace it.

    Raises:
        BadInput: the secret is not 32 bytes long, or there are fewer holders than the threshold, or a number is not usable.
    """
    if len(secret) != SECRET_BYTES:
        raise BadInput(f"a secret of {len(secret)} bytes", why=f"secrets of {SECRET_BYTES} bytes are shared")
    positive_int(threshold=threshold)
    points = _points(holders)
    if threshold > len(points):
        raise BadInput(
            f"{len(points)} holders for a threshold of {threshold}", why="the secret could never be put together"
        )
    coefficients = [below(PRIME) for _ in range(threshold - 1)]
    constant = int.from_bytes(secret, "big")
    shares = {}
    for point in points:
        value = 0
        for coefficient in coefficients:
            value = (value + coefficient) * point % PRIME
        shares[point] = ((value + constant) % PRIME).to_bytes(SHARE_BYTES, "big")
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret that these shares stand for; they must be at least as many as its threshold, which they do not tell.

    Raises:
        BadInput: they are no shares, or they do not belong together and this shows. Compare the secret with something public.
    """
    return Recovery(shares.keys()).combine(shares)


class Recovery:
    """Puts secrets together from the shares of one fixed group of holders: the weights are made once."""

    def __init__(self, holders: Collection[int]) -> None:
        points = _points(holders)
        if not points:
            raise BadInput("a secret cannot be put together from no shares")
        self._weights = {}
        for point in points:
            above = below = 1
            for other in points:
                if other != point:
                    above = above * other % PRIME
                    below = below * (other - point) % PRIME
            self._weights[point] = above * pow(below, -1, PRIME) % PRIME

    def combine(self, shares: Mapping[int, bytes]) -> bytes:
        """The secret, from one share of every holder of the group (others are not looked at)."""
        total = 0
        for point, weight in self._weights.items():
            share = shares.get(point, b"")
            value = int.from_bytes(share, "big")
            if len(share) != SHARE_BYTES or value >= PRIME:
                raise BadInput(
                    f"holder {point} has no share, or one that is none", why="a share is a residue of 33 bytes"
                )
            total = (total + weight * value) % PRIME
        if total >= 1 << (8 * SECRET_BYTES):
            raise BadInput("these shares do not belong together", why="what they give is no secret of 32 bytes")
        return total.to_bytes(SECRET_BYTES, "big")


def _points(holders: Collection[int]) -> list[int]:
    points = sorted(set(holders))
    if len(points) != len(holders):
        raise BadInput("a holder of shares is named twice")
    for point in points:
        positive_int(holders=point)
    return points
