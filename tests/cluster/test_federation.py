"""The folders of a simulated federation: cut once, found again, never mixed with those of other data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.federation import partition
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import read_shard


def test_shards_are_disjoint_exhaustive_and_found_again(tmp_path: Path) -> None:
    private = load("digits").private.take(np.arange(90))
    roster = partition(private, Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path)
    pieces = [read_shard(folder).images for folder in roster.folders]
    assert sorted(image.tobytes() for image in np.concatenate(pieces)) == sorted(i.tobytes() for i in private.images)
    assert partition(private, Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path) == roster


@pytest.mark.parametrize(("seed", "first", "teachers"), [(0, 1, 7), (1, 0, 7), (0, 0, 8)])
def test_shards_of_other_data_or_cut_otherwise_are_refused(
    tmp_path: Path, seed: int, first: int, teachers: int
) -> None:
    private = load("digits").private
    partition(private.take(np.arange(90)), Silos(teachers=7), ScatterRidge(), seed=0, folder=tmp_path)
    with pytest.raises(BadInput, match="not those that"):
        partition(
            private.take(np.arange(first, 90 + first)),
            Silos(teachers=teachers),
            ScatterRidge(),
            seed=seed,
            folder=tmp_path,
        )
