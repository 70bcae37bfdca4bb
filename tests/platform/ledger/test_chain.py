"""The encoding under the hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.ledger.chain import Entry, canonical_json, decode_amounts, encode_amounts, netstrings, sealed

FIELD = st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6) | st.from_regex("[0-9:,-]+")
ENTRY = Entry(2, "2020-01-01", "scans", "charge", "k", "{}", "5", "7", 1, "a" * 64, "")


@given(st.lists(FIELD, max_size=4), st.lists(FIELD, max_size=4))
def test_two_lists_share_an_encoding_only_if_they_are_equal(a, b):
    assert (netstrings(*a) == netstrings(*b)) == (a == b)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5).map(tuple))
def test_amounts_survive_as_text(amounts):
    assert decode_amounts(encode_amounts(amounts)) == amounts


@pytest.mark.parametrize("text", ["", "-1", "1.0", "01", "1,", ",1", " 1", "1 ", "nan", "1e3", "+1", "1\n", "١"])
def test_other_texts_are_no_amounts(text):
    with pytest.raises(ValueError, match="amounts"):
        decode_amounts(text)


@pytest.mark.parametrize("field", [name for name in Entry._fields if name != "hash"])
def test_every_column_counts_in_the_hash(field):
    value = getattr(ENTRY, field)
    changed = value + 1 if isinstance(value, int) else value + "x"
    assert sealed(ENTRY._replace(**{field: changed})).hash != sealed(ENTRY).hash
    assert sealed(ENTRY._replace(key=None)).hash != sealed(ENTRY._replace(key="")).hash


def test_the_hash_never_changes_between_versions():
    """Ledgers outlive programs: if this fails, old ledgers can no longer be read."""
    assert sealed(ENTRY).hash == "c000efc091a5acc5e5842b2205a8a088ce930469a958f18f5b0a535ca9fcfbf2"


def test_json_is_canonical():
    assert canonical_json({"b": 1.5, "a": ["é"]}) == '{"a":["\\u00e9"],"b":1.5}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
