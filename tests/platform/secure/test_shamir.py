"""Shares against plain algebra: polynomials written out, linear systems, and every secret being possible below the threshold."""

from __future__ import annotations

import random
import secrets
from contextlib import suppress

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure.shamir import PRIME, Recovery, combine, split

SECRETS = st.binary(min_size=32, max_size=32)


def solve(points: list[int], values: list[int]) -> list[int]:
    """Coefficients of the polynomial through these points, by elimination in the Vandermonde system modulo the prime."""
    size = len(points)
    rows = [[pow(x, j, PRIME) for j in range(size)] + [y] for x, y in zip(points, values, strict=True)]
    for column in range(size):
        pivot = next(r for r in range(column, size) if rows[r][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = pow(rows[column][column], PRIME - 2, PRIME)
        rows[column] = [entry * inverse % PRIME for entry in rows[column]]
        for r in range(size):
            if r != column:
                factor = rows[r][column]
                rows[r] = [(a - factor * b) % PRIME for a, b in zip(rows[r], rows[column], strict=True)]
    return [row[-1] for row in rows]


def test_the_modulus_is_the_first_prime_above_2_to_256() -> None:
    assert sympy.isprime(PRIME) and sympy.nextprime(2**256) == PRIME


@settings(max_examples=40)
@given(secret=SECRETS, data=st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, data: st.DataObject) -> None:
    holders = data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=12, unique=True))
    threshold = data.draw(st.integers(1, len(holders)))
    shares = split(secret, threshold=threshold, holders=holders)
    some = data.draw(st.permutations(holders))[: data.draw(st.integers(threshold, len(holders)))]
    assert combine({holder: shares[holder] for holder in some}) == secret


@settings(max_examples=30)
@given(secret=SECRETS, seed=st.integers(0, 2**32), threshold=st.integers(1, 6))
def test_shares_are_values_of_the_polynomial_and_elimination_finds_it(secret: bytes, seed: int, threshold: int) -> None:
    drawn: list[int] = []

    def below(limit: int) -> int:
        assert limit == PRIME
        drawn.append(random.Random(f"{seed} {len(drawn)}").randrange(limit))
        return drawn[-1]

    holders = list(range(1, threshold + 3))
    shares = split(secret, threshold=threshold, holders=holders, below=below)
    # The first number drawn belongs to the highest power.
    coefficients = [int.from_bytes(secret, "big"), *reversed(drawn)]
    assert len(drawn) == threshold - 1
    values = {x: int.from_bytes(share, "big") for x, share in shares.items()}
    assert values == {x: sum(c * x**power for power, c in enumerate(coefficients)) % PRIME for x in holders}
    some = holders[2 : 2 + threshold]
    assert solve(some, [values[x] for x in some]) == coefficients


@settings(max_examples=20)
@given(secret=SECRETS, other=SECRETS, threshold=st.integers(2, 6))
def test_one_share_too_few_fits_every_secret(secret: bytes, other: bytes, threshold: int) -> None:
    """For any other secret there is exactly one polynomial through it and the shares: they tell nothing."""
    shares = split(secret, threshold=threshold, holders=range(1, 9))
    few = {x: int.from_bytes(shares[x], "big") for x in range(2, threshold + 1)}
    assert len(few) == threshold - 1
    fitted = solve([0, *few], [int.from_bytes(other, "big"), *few.values()])
    assert sum(c * 9**power for power, c in enumerate(fitted)) % PRIME < PRIME
    assert all(sum(c * x**power for power, c in enumerate(fitted)) % PRIME == y for x, y in few.items())
    if threshold > 2 or secret != bytes(32):
        with_few = {x: shares[x] for x in few}
        with suppress(BadInput):
            assert combine(with_few) != secret


def test_a_wrong_share_gives_another_secret_or_is_seen() -> None:
    secret = secrets.token_bytes(32)
    shares = split(secret, threshold=3, holders=[1, 2, 3, 4])
    wrong = {**shares, 2: ((int.from_bytes(shares[2], "big") + 1) % PRIME).to_bytes(33, "big")}
    with suppress(BadInput):
        assert combine({x: wrong[x] for x in (1, 2, 3)}) != secret
    assert combine({x: wrong[x] for x in (1, 3, 4)}) == secret


def test_secrets_at_both_ends_are_kept() -> None:
    for secret in (bytes(32), b"\xff" * 32):
        assert combine(split(secret, threshold=2, holders=[5, 9])) == secret


def test_what_cannot_be_is_refused() -> None:
    fine = bytes(32)
    for secret, threshold, holders in (
        (bytes(31), 1, [1]), (fine, 0, [1]), (fine, 2, [1]), (fine, 1, [0]), (fine, 1, [1, 1]), (fine, 1, [-2]),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            split(secret, threshold=threshold, holders=holders)
    shares = split(fine, threshold=2, holders=[1, 2])
    for given_shares in (
        {},
        {1: shares[1], 2: b""},
        {1: shares[1], 2: b"\xff" * 33},
        {1: shares[1], 2: shares[2] + b"\0"},
    ):
        with pytest.raises(BadInput):
            combine(given_shares)
    with pytest.raises(BadInput):
        Recovery([1, 2]).combine({1: shares[1]})
