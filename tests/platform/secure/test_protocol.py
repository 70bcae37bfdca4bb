"""Terms and openings: what goes together, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure.protocol import Opening, Terms, smallest_threshold, survivors_digest

KEYS = [bytes([n]) * 32 for n in range(1, 11)]
SERVER = bytes(32)


@given(members=st.integers(2, 60), colluding=st.integers(0, 30), threshold=st.integers(1, 60))
def test_no_two_lists_of_survivors_can_both_find_enough_words(members: int, colluding: int, threshold: int) -> None:
    """Counted out: honest members are split in every way, those who collude sign both lists."""
    honest = members - colluding
    possible = honest >= 0 and any(min(part, honest - part) + colluding >= threshold for part in range(honest + 1))
    excluded = threshold >= smallest_threshold(members, colluding)
    if excluded and honest >= 0:
        assert not possible
    if not excluded and honest >= 0 and threshold > 0:
        # The bound is exact up to how an odd number is split.
        assert possible or (honest % 2 == 1 and 2 * threshold == members + colluding)


def test_terms_that_do_not_go_together_are_refused() -> None:
    for dropped, colluding in ((0, 0), (4, 0), (3, 2), (0, 8)):
        terms = Terms.of(KEYS, server=SERVER, dropped=dropped, colluding=colluding)
        assert terms.colluding < terms.threshold <= terms.least == 10 - dropped
    for dropped, colluding in ((5, 0), (3, 4), (0, 10), (10, 0), (-1, 0), (0, -1)):
        with pytest.raises(BadInput):
            Terms.of(KEYS, server=SERVER, dropped=dropped, colluding=colluding)
    for wrong in (KEYS[:1], [*KEYS, KEYS[0]], [*KEYS, SERVER], [b"short", *KEYS]):
        with pytest.raises(BadInput):
            Terms.of(wrong, server=SERVER, dropped=0, colluding=0)
    with pytest.raises(BadInput, match="at least 6"):
        Terms(tuple(KEYS), SERVER, threshold=5, least=10)


def test_terms_come_back_from_json() -> None:
    terms = Terms.of(KEYS, server=SERVER, dropped=2, colluding=1)
    data = json.loads(json.dumps(terms.to_json()))
    assert Terms.from_json(data) == terms
    for wrong in (
        {},
        [],
        {**data, "colour": 1},
        {**data, "members": "zz"},
        {**data, "server": 3},
        {**data, "threshold": "6"},
    ):
        with pytest.raises(BadInput):
            Terms.from_json(wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="too low"):
        Terms.from_json({**data, "threshold": 5})


def test_every_field_of_the_terms_is_in_their_digest() -> None:
    terms = Terms(tuple(KEYS), SERVER, threshold=7, least=8, colluding=1)
    others = [
        replace(terms, members=terms.members[::-1]), replace(terms, server=b"s" * 32), replace(terms, threshold=8),
        replace(terms, least=9), replace(terms, colluding=2),
    ]  # fmt: skip
    assert len({t.digest for t in (terms, *others)}) == 6


def test_an_opening_comes_back_and_names_its_round() -> None:
    terms = Terms(tuple(KEYS), SERVER, threshold=7, least=8)
    opening = Opening.new(terms, length=5, request="x")
    assert Opening.from_body(opening.body, terms) == opening
    others = [Opening.new(terms, length=5, request="x"), replace(opening, length=6), replace(opening, request="y")]
    assert len({o.round_id for o in (opening, *others)}) == 4
    with pytest.raises(BadInput, match="other terms"):
        Opening.from_body(opening.body, replace(terms, least=9))


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"terms":"zz","length":1,"request":"","nonce":""}'],
    ids=lambda body: repr(body[:12]),
)
def test_openings_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        Opening.from_body(body, Terms(tuple(KEYS), SERVER, threshold=7, least=8))


def test_openings_of_wrong_content_are_refused() -> None:
    terms = Terms(tuple(KEYS), SERVER, threshold=7, least=8)
    right = Opening.new(terms, length=5, request="x")
    for wrong in (
        replace(right, length=0), replace(right, length=2**40), replace(right, length=True), replace(right, nonce=b"n"),
        replace(right, request="x" * (2**20 + 1)),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            Opening.from_body(wrong.body, terms)
    with pytest.raises(BadInput):
        Opening.from_body(right.body + b" ", terms)
    for length, request in ((0, ""), (2**40, ""), (1, "x" * (2**20 + 1))):
        with pytest.raises(BadInput):
            Opening.new(terms, length=length, request=request)


def test_what_is_consented_to_names_both_lists() -> None:
    digests = {
        survivors_digest({1, 2, 3}, {1, 2}),
        survivors_digest({1, 2}, {1, 2}),
        survivors_digest({1, 2, 3}, {1, 3}),
    }
    assert len(digests) == 3 and survivors_digest({3, 1, 2}, {2, 1}) in digests
