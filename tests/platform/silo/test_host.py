"""A silo's process: comes back without training again, votes the same, and lets nothing out but votes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.silo.host import TEACHER, SiloHost
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import SHARD, read_shard, write_shard

SILOS = 4


def settle(home: Path, private: ImageData) -> list[Path]:
    manifest = Manifest.make(len(private), SILOS, key="test")
    folders = [home / f"silo-{i}" for i in range(SILOS)]
    for i, folder in enumerate(folders):
        write_shard(folder, private.take(manifest.indices(i)))
    return folders


@pytest.fixture(scope="module")
def private() -> ImageData:
    return load("digits").private.take(np.arange(160))


@pytest.fixture
def folders(tmp_path: Path, private: ImageData) -> list[Path]:
    return settle(tmp_path, private)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return load("digits").pool.images[:20]


def teachers_of(folders: list[Path]) -> list[bytes]:
    return [(f / TEACHER).read_bytes() for f in folders]


def test_a_second_start_trains_nothing_and_votes_the_same(folders: list[Path], queries: np.ndarray) -> None:
    first = SiloHost(folders, ScatterRidge())
    assert (first.train().trained, first.train().reused) == (SILOS, SILOS)
    second = SiloHost(folders, ScatterRidge())
    report = second.train()
    assert (report.trained, report.reused) == (0, SILOS)
    assert np.array_equal(first.vote(queries), second.vote(queries))


def test_silos_together_are_the_silos_alone(
    folders: list[Path], queries: np.ndarray, tmp_path: Path, private: ImageData
) -> None:
    together = SiloHost(folders, ScatterRidge())
    together.train()
    alone = settle(tmp_path / "alone", private)
    votes = []
    for folder in alone:
        host = SiloHost([folder], ScatterRidge())
        host.train()
        votes.append(host.vote(queries)[0])
    assert np.array_equal(together.vote(queries), np.stack(votes))


def test_changing_one_record_changes_one_teacher(folders: list[Path], tmp_path: Path, private: ImageData) -> None:
    SiloHost(folders, ScatterRidge()).train()
    images = private.images.copy()
    images[37] = 255 - images[37]
    others = settle(tmp_path / "neighbour", ImageData(images, private.labels, private.classes, private.name))
    SiloHost(others, ScatterRidge()).train()
    home = int(Manifest.make(len(private), SILOS, key="test").assignment[37])
    changed = [i for i, (a, b) in enumerate(zip(teachers_of(folders), teachers_of(others), strict=True)) if a != b]
    assert changed == [home]


def test_a_changed_shard_or_setting_is_trained_again(folders: list[Path]) -> None:
    SiloHost(folders, ScatterRidge()).train()
    write_shard(folders[2], read_shard(folders[2]).take(np.arange(30)))
    assert SiloHost(folders, ScatterRidge()).train().trained == 1
    assert SiloHost(folders, ScatterRidge(), seed=1).train().trained == SILOS


def test_a_damaged_teacher_is_an_error_that_says_what_to_do(folders: list[Path]) -> None:
    SiloHost(folders, ScatterRidge()).train()
    path = folders[1] / TEACHER
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFailed, match="remove the file"):
        SiloHost(folders, ScatterRidge()).train()


def test_bad_folders_and_bad_queries(folders: list[Path], tmp_path: Path, queries: np.ndarray) -> None:
    with pytest.raises(BadInput, match="no shard in"):
        SiloHost([tmp_path / "nobody"], ScatterRidge()).train()
    (folders[0] / SHARD).write_bytes(b"no archive")
    with pytest.raises(BadInput, match="cannot be read"):
        SiloHost(folders, ScatterRidge()).train()
    host = SiloHost(folders[1:], ScatterRidge())
    with pytest.raises(BadInput, match="train first"):
        host.vote(queries)
    host.train()
    with pytest.raises(BadInput, match="shape"):
        host.vote(np.zeros((2, 1, 9, 9), np.uint8))
    with pytest.raises(BadInput, match="uint8"):
        host.vote(queries.astype(float))


def test_the_public_surface_lets_nothing_out_but_votes(folders: list[Path], queries: np.ndarray) -> None:
    host = SiloHost(folders, ScatterRidge())
    surface = {name for name in dir(host) if not name.startswith("_")}
    assert surface == {"silos", "train", "vote", "vectors", "describe"}
    report, votes = host.train(), host.vote(queries)
    assert votes.shape == (SILOS, len(queries)) and votes.dtype == np.int64
    assert set(np.unique(votes)) <= set(range(10))
    said = json.dumps([host.silos, host.describe(), report.silos, report.trained, report.reused])
    # Texts, small whole numbers, public settings. No list is as long as a shard, an image or a row of weights.
    assert len(said) < 1000
    assert set(host.describe()) == {"silos", "teacher", "shape", "classes", "teachers_ready", "answers"}


KILLED = """
import os, signal, sys
from pathlib import Path
from stillhouse.platform.silo import host as module
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
saved = module._save_state
def save_and_die_at_the_third(path, state, key):
    saved(path, state, key)
    if path.parent.name == "silo-2":
        os.kill(os.getpid(), signal.SIGKILL)
module._save_state = save_and_die_at_the_third
module.SiloHost([Path(p) for p in sys.argv[1:]], ScatterRidge()).train()
"""


def test_a_killed_host_goes_on_where_it_was(folders: list[Path]) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, *map(str, folders)], timeout=120)
    assert died.returncode == -signal.SIGKILL
    started = time.monotonic()
    report = SiloHost(folders, ScatterRidge()).train()
    assert (report.trained, report.reused) == (1, 3), time.monotonic() - started
