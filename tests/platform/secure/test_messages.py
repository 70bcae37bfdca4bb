"""Envelopes and bodies: whatever is not exactly as it was signed is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, NotAuthorised, StillhouseError
from stillhouse.platform.secure.keys import Identity, Verifier
from stillhouse.platform.secure.messages import (
    Kind,
    bundle,
    read,
    read_numbers,
    read_rows,
    unbundle,
    write,
    write_numbers,
    write_rows,
)

ONE, TWO = Identity.new(), Identity.new()
SENDERS = {1: Verifier(ONE.public), 2: Verifier(TWO.public)}
ROUND = b"r" * 32


def envelope(kind: Kind = Kind.KEYS, number: int = 1, round_id: bytes = ROUND, identity: Identity = ONE) -> bytes:
    return write(kind, sender=number, round_id=round_id, body=b"body", identity=identity)


def test_what_was_written_is_read() -> None:
    message = read(envelope(), kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)
    assert (message.kind, message.sender, message.body, message.raw) == (Kind.KEYS, 1, b"body", envelope())


def test_anybody_elses_message_is_refused() -> None:
    with pytest.raises(NotAuthorised):
        read(envelope(number=2), kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)
    for wrong, what in (
        (envelope(number=3), "number 3"),
        (envelope(round_id=bytes(32)), "another round"),
        (envelope(kind=Kind.SHARES), "SHARES"),
    ):
        with pytest.raises(BadInput, match=what):
            read(wrong, kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)


def test_another_version_and_kind_are_named() -> None:
    raw = envelope()
    with pytest.raises(BadInput, match="version 2"):
        read(raw[:4] + b"\2" + raw[5:], kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)
    with pytest.raises(BadInput, match="unknown kind 77"):
        read(raw[:5] + b"\x4d" + raw[6:], kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)


def test_every_flipped_bit_is_seen() -> None:
    raw = envelope()
    for place in range(8 * len(raw)):
        wrong = bytearray(raw)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(StillhouseError):
            read(bytes(wrong), kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)


@settings(max_examples=60)
@given(raw=st.binary(max_size=300), cut=st.integers(0, 120), more=st.binary(min_size=1, max_size=5))
def test_bytes_that_are_no_message_are_refused(raw: bytes, cut: int, more: bytes) -> None:
    whole = envelope()
    for wrong in (raw, whole[:cut] if cut < len(whole) else b"", whole + more, more + whole, whole[:6] + raw):
        with pytest.raises(StillhouseError):
            read(wrong, kind=Kind.KEYS, round_id=ROUND, senders=SENDERS)


ROWS = st.dictionaries(st.integers(0, 2**32 - 1), st.binary(min_size=3, max_size=3), max_size=8)


@settings(max_examples=100)
@given(rows=ROWS, messages=st.lists(st.binary(max_size=20), max_size=5))
def test_lists_come_back(rows: dict[int, bytes], messages: list[bytes]) -> None:
    assert read_rows(write_rows(rows), width=3) == rows
    assert read_numbers(write_numbers(rows.keys())) == rows.keys()
    assert unbundle(bundle(messages)) == messages


@settings(max_examples=100)
@given(raw=st.binary(max_size=60))
def test_a_body_has_one_form(raw: bytes) -> None:
    """What is read at all is what would be written: no second form can be signed for the same content."""
    for read_it, write_it in (
        (lambda body: read_rows(body, width=3), write_rows),
        (read_numbers, write_numbers),
        (unbundle, bundle),
    ):
        try:
            found = read_it(raw)
        except BadInput:
            continue
        assert write_it(found) == raw


def test_lists_out_of_order_or_cut_off_are_refused() -> None:
    rows = write_rows({1: b"abc", 2: b"def"})
    for wrong in (rows[7:] + rows[:7], rows[:7] * 2, rows[:-1], rows + b"\0"):
        with pytest.raises(BadInput):
            read_rows(wrong, width=3)
    for wrong in (b"\0\0\0\5ab", b"\0\0", b"\xff\xff\xff\xff"):
        with pytest.raises(BadInput):
            unbundle(wrong)
