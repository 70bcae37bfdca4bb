from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.pseudonyms import kept_key, numbered, pseudonyms
from stillhouse.platform.errors import BadInput

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NAMES = st.lists(st.text("aZ9 é\0", max_size=5), min_size=1, max_size=12)


@given(names=NAMES)
def test_one_name_has_one_pseudonym_under_one_key_and_another_under_another(names: list[str]) -> None:
    here, there = pseudonyms(names, KEY), pseudonyms(names, OTHER)
    assert len(set(here)) == len(set(names)) and not set(here) & set(there)
    assert [here[names.index(name)] for name in names] == here
    assert pseudonyms(names[::-1], KEY) == here[::-1]


def test_the_key_is_needed_for_a_guess() -> None:
    unkeyed = hashlib.blake2b(b"worker", digest_size=16).hexdigest()
    assert pseudonyms(["worker"], KEY)[0] != unkeyed[:12]
    with pytest.raises(BadInput, match="15 bytes"):
        pseudonyms(["worker"], bytes(15))


@given(names=NAMES)
def test_numbers_follow_the_pseudonyms_and_not_the_file(names: list[str]) -> None:
    numbers, shown = numbered(names, KEY)
    assert list(shown) == sorted(set(pseudonyms(names, KEY)))
    assert [shown[number] for number in numbers] == pseudonyms(names, KEY)
    again, same = numbered(names[::-1], KEY)
    assert same == shown and np.array_equal(again[::-1], numbers)


def test_without_a_key_people_are_numbered_in_an_order_that_is_forgotten() -> None:
    names = [f"worker {n}" for n in range(50)]
    first, shown = numbered(names, b"")
    second, _ = numbered(names, b"")
    assert shown == tuple(f"annotator {n + 1}" for n in range(50))
    assert sorted(first.tolist()) == list(range(50)) == sorted(second.tolist())
    assert not np.array_equal(first, second)  # equal with probability 1 / 50!
    assert not np.array_equal(first, np.arange(50))


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pseudonym.key"
    key = kept_key(path)
    assert len(key) == 32 and kept_key(path) == key and path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_key(tmp_path / "another") != key
    assert [file.name for file in path.parent.iterdir()] == ["pseudonym.key"]


def test_many_makers_at_once_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: kept_key(tmp_path / "key"), range(64)))
    assert len(keys) == 1


def test_a_key_that_others_may_read_or_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pseudonym.key"
    kept_key(path)
    path.chmod(0o640)
    with pytest.raises(BadInput, match="others may read"):
        kept_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(BadInput, match="no pseudonym key"):
        kept_key(path)
