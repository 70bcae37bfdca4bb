"""The folders of a simulated federation: cut once, found again, never mixed with those of other data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.simulation import NAMING_KEY, naming_key, partition
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import read_shard

KEY = bytes(32)


def test_shards_are_disjoint_exhaustive_and_found_again(tmp_path: Path) -> None:
    private = load("digits").private.take(np.arange(90))
    roster = partition(private, Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path, key=KEY)
    pieces = [read_shard(folder).images for folder in roster.folders]
    assert sorted(image.tobytes() for image in np.concatenate(pieces)) == sorted(i.tobytes() for i in private.images)
    assert partition(private, Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path, key=KEY) == roster


@pytest.mark.parametrize(("seed", "first", "teachers"), [(0, 1, 7), (1, 0, 7), (0, 0, 8)])
def test_shards_of_other_data_or_cut_otherwise_are_refused(
    tmp_path: Path, seed: int, first: int, teachers: int
) -> None:
    private = load("digits").private
    partition(private.take(np.arange(90)), Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path, key=KEY)
    with pytest.raises(BadInput, match="not those that"):
        partition(
            private.take(np.arange(first, 90 + first)),
            Silos(teachers=teachers),
            ScatterRidge(),
            seed=seed,
            folder=tmp_path,
            key=KEY,
        )


def test_the_ensembles_name_is_the_same_only_under_the_roots_secret(tmp_path: Path) -> None:
    private = load("digits").private.take(np.arange(90))

    def name(folder: str, key: bytes) -> str:
        return partition(private, Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path / folder, key=key).ensemble

    key = naming_key(tmp_path / "root")
    assert naming_key(tmp_path / "root") == key and len(key) == 32
    assert (tmp_path / "root" / NAMING_KEY).stat().st_mode & 0o077 == 0
    assert name("a", key) == name("b", key)
    assert name("c", naming_key(tmp_path / "elsewhere")) != name("a", key)
    (tmp_path / "root" / NAMING_KEY).write_bytes(b"torn")
    with pytest.raises(BadInput, match="damaged"):
        naming_key(tmp_path / "root")
