import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.privacy import statement
from stillhouse.platform.privacy.neighbours import (
    ADD_OR_REMOVE,
    EVERY_RELATION,
    REPLACE_ONE,
    Relation,
    in_full,
    relation_of,
)


def test_the_words_in_ledgers_and_statements_never_change():
    assert [r.value for r in Relation] == ["replace-one", "add-or-remove-one"]
    assert REPLACE_ONE == "replace one record; a record is in one shard, so one teacher's vote changes"
    assert ADD_OR_REMOVE == (
        "add or remove one record; the number of places is public and fixed, so the others keep their shards and "
        "sampling rate; a record is in one shard, so one teacher's vote changes"
    )
    assert (statement.REPLACE_ONE, statement.ADD_OR_REMOVE) == (REPLACE_ONE, ADD_OR_REMOVE)


@pytest.mark.parametrize("relation", Relation)
def test_a_short_word_and_its_text_are_one_relation(relation):
    assert relation_of(relation.value) is relation_of(relation.text) is relation_of(relation) is relation
    assert in_full(relation.value) == in_full(relation.text) == relation.text
    assert unicodedata.is_normalized("NFC", relation.text) and relation.text.isprintable()


def test_each_relation_has_a_text_of_its_own():
    assert len({r.text for r in Relation}) == len(EVERY_RELATION) == len(Relation)


@given(st.text() | st.sampled_from(["replace one record", "Replace-one", " replace-one", "add-or-remove", ""]))
def test_other_words_are_no_relation_and_stay_as_they_are(words):
    if words not in {told for r in Relation for told in (r.value, r.text)}:
        assert relation_of(words) is None and in_full(words) == words
