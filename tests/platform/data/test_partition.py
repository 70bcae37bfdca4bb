import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.errors import BadInput

KEYS = st.text(max_size=100)


@given(n=st.integers(1, 300), data=st.data(), key=KEYS)
def test_shards_are_disjoint_exhaustive_and_of_equal_size(n: int, data: st.DataObject, key: str) -> None:
    shards = data.draw(st.integers(1, n))
    manifest = Manifest.make(n, shards, key=key)
    parts = [manifest.indices(s) for s in range(shards)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(groups=st.lists(st.integers(0, 8), min_size=1, max_size=60), key=KEYS)
def test_a_group_is_never_split(groups: list[int], key: str) -> None:
    shards = max(1, len(set(groups)) // 2)
    manifest = Manifest.make(len(groups), shards, key=key, groups=groups)
    homes = {g: set(manifest.assignment[np.array(groups) == g].tolist()) for g in set(groups)}
    assert all(len(home) == 1 for home in homes.values())
    assert set(manifest.assignment.tolist()) == set(range(shards))


def test_the_same_key_gives_the_same_shards_and_another_key_others() -> None:
    first, again, other = (Manifest.make(500, 10, key=k) for k in ("a", "a", "b"))
    assert np.array_equal(first.assignment, again.assignment) and first.hash == again.hash
    assert not np.array_equal(first.assignment, other.assignment)


def test_it_survives_json_and_an_altered_one_is_refused() -> None:
    manifest = Manifest.make(20, 4, key="k")
    data = manifest.to_json()
    assert np.array_equal(Manifest.from_json(data).assignment, manifest.assignment)
    data["assignment"][3] = (data["assignment"][3] + 1) % 4
    with pytest.raises(BadInput):
        Manifest.from_json(data)


@pytest.mark.parametrize("shards", [0, 6])
def test_impossible_numbers_of_shards_are_refused(shards: int) -> None:
    with pytest.raises(BadInput, match="shards for 5 records"):
        Manifest.make(5, shards, key="k")
