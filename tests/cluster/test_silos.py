"""Silo actors: separate processes that come back, and whose public surface lets only votes out."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from stillhouse.cluster.fleet import SiloFleet
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.silos import Placement, SiloActor, packing
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, TimedOut
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import SHARD, write_shard


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2, labels={"home": "silo-0"}):
        yield


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    private = load("digits").private.take(np.arange(160))
    manifest = Manifest.make(len(private), 4, key="test")
    found = [tmp_path / f"silo-{i}" for i in range(4)]
    for i, folder in enumerate(found):
        write_shard(folder, private.take(manifest.indices(i)))
    return found


def fleet(folders: list[Path], **options: object) -> SiloFleet:
    settings = {"seed": 0, "endpoint": None, "per_actor": 2, "placement": Placement(), **options}
    return SiloFleet(folders, ScatterRidge(), **settings)  # type: ignore[arg-type]


def process(silos: SiloFleet) -> int:
    """Return the process id of the first actor."""
    return int(ray.get(silos._actors[0].__ray_call__.remote(lambda actor: os.getpid())))


def test_a_killed_actor_comes_back_with_its_teachers(folders: list[Path]) -> None:
    silos = fleet(folders)
    images = load("digits").pool.images[:30]
    try:
        seen: list[int] = []
        assert silos.train(seen.append) == {"trained": 4, "reused": 0}
        votes = silos.vote(images)
        assert votes.shape == (4, 30)
        first = process(silos)
        os.kill(first, signal.SIGKILL)
        # Not trained again: the new process found the teachers in the silos' folders.
        assert silos.train(seen.append) == {"trained": 0, "reused": 4}
        assert process(silos) != first
        assert np.array_equal(silos.vote(images), votes)
    finally:
        silos.close()


def test_the_public_surface_of_an_actor() -> None:
    methods = {name for name, _ in inspect.getmembers(SiloActor, inspect.isfunction) if not name.startswith("_")}
    assert methods == {"train", "vote", "describe"}


def test_an_error_in_a_silo_comes_back_as_itself_without_records(folders: list[Path]) -> None:
    (folders[1] / SHARD).write_bytes(b"secret 4711")
    silos = fleet(folders)
    try:
        with pytest.raises(BadInput, match="cannot be read") as caught:
            silos.train(lambda ready: None)
        assert "4711" not in str(caught.value)
    finally:
        silos.close()


def test_actors_are_pinned_by_label_and_an_unplaceable_one_is_an_error(folders: list[Path]) -> None:
    pinned = fleet(folders[:2], placement=Placement(label="home"))
    try:
        assert pinned.describe()[0]["silos"] == ["silo-0", "silo-1"]
    finally:
        pinned.close()
    lost = fleet(folders[2:], placement=Placement(label="home"), start_seconds=2.0)
    try:
        with pytest.raises(TimedOut, match="label"):
            lost.describe()
    finally:
        lost.close()


@pytest.mark.parametrize(
    ("silos", "cpus", "each", "kept", "expected"),
    [(250, 2, 1, 0, 125), (5, 2, 1, 0, 3), (40, 1, 2, 0, 40), (4, 0, 1, 0, 4), (250, 4, 1, 2, 125), (40, 2, 1, 1, 40)],
)
def test_silos_are_spread_over_the_cpus_that_training_leaves(
    silos: int, cpus: float, each: float, kept: float, expected: int
) -> None:
    assert packing(silos, Placement(each), None, cluster={"CPU": cpus}, kept={"CPU": kept}) == expected


def test_actors_and_training_that_would_wait_for_each_other_are_refused() -> None:
    with pytest.raises(BadInput, match="2 silo actors and the training want 3 CPUs, the cluster has 2"):
        packing(4, Placement(1), 2, cluster={"CPU": 2}, kept={"CPU": 1})
    with pytest.raises(BadInput, match="GPUs"):
        packing(4, Placement(1, gpus=0.5), 2, cluster={"CPU": 8, "GPU": 1}, kept={"CPU": 1, "GPU": 1})
