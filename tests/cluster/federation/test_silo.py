"""One silo as a Flower client: whose folder, which teacher, the same votes as everywhere, nothing of a record in a failure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.federation.client_app import HANDLERS
from stillhouse.cluster.federation.flower import Node, Reply, Values, client_app
from stillhouse.cluster.federation.silo import SIMULATED, silo_folder, teacher_of
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import SHARD, write_shard
from support.flower import LocalGrid, everything_in

RUN = {"teacher": json.dumps(ScatterRidge().to_json()), "seed": 3}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    private = load("digits").private
    found = [tmp_path / f"silo-{i}" for i in range(3)]
    for i, folder in enumerate(found):
        write_shard(folder, private.take(np.arange(40 * i, 40 * (i + 1))))
    return found


def grid_of(folders: list[Path], **run: object) -> LocalGrid:
    settings = {10 + i: {"folder": str(folder)} for i, folder in enumerate(folders)}
    return LocalGrid(client_app(HANDLERS), settings, {**RUN, **run})  # type: ignore[arg-type]


def ask(grid: LocalGrid, name: str, values: Values, node: int = 10) -> Reply:
    [reply] = grid.nodes.ask(name, {node: values}, seconds=5)
    return reply


def test_votes_are_those_of_the_silos_host(folders: list[Path]) -> None:
    images = load("digits").pool.images[:30]
    grid = grid_of(folders)
    host = SiloHost(folders, ScatterRidge(), seed=3)
    host.train()
    found = {
        r.node: r.values for r in grid.nodes.ask("votes", {n: {"images": images} for n in (10, 11, 12)}, seconds=9)
    }
    for i, expected in enumerate(host.vote(images)):
        reply = found[10 + i]
        assert reply is not None and reply["silo"] == f"silo-{i}"
        assert isinstance(reply["votes"], np.ndarray) and reply["votes"].dtype == np.int32
        assert np.array_equal(reply["votes"], expected)


def test_training_is_done_once_and_tells_public_facts_only(folders: list[Path]) -> None:
    grid = grid_of(folders)
    first, second = (ask(grid, "train", {}).values for _ in range(2))
    assert first == {"silo": "silo-0", "trained": True, "classes": 10, "shape": "[1, 8, 8]"}
    assert second == {**first, "trained": False}


def test_a_failure_says_nothing_of_records(folders: list[Path]) -> None:
    canary = "patient-4711"
    (folders[0] / SHARD).write_bytes(canary.encode())
    grid = grid_of(folders)
    reply = ask(grid, "votes", {"images": np.zeros((1, 1, 8, 8), np.uint8)})
    assert reply.values is None and reply.failure == "BadInput"
    raw = everything_in(grid._answer(10, grid.sent[0]))
    assert canary.encode() not in raw and str(folders[0]).encode() not in raw
    assert ask(grid, "votes", {"images": np.zeros((1, 3, 8, 8), np.uint8)}, 11).failure == "BadInput"
    assert ask(grid, "votes", {}, 11).failure == "BadInput"


def node(settings: dict[str, object] | None = None, run: dict[str, object] | None = None) -> Node:
    return Node(1, settings or {}, run or {}, {})  # type: ignore[arg-type]


def test_the_owner_names_the_folder_and_a_server_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIMULATED, raising=False)
    assert silo_folder(node({"folder": str(tmp_path / "a")})) == tmp_path / "a"
    with pytest.raises(BadInput, match="does not know its folder"):
        silo_folder(node({}, {"folder": str(tmp_path / "a")}))
    with pytest.raises(BadInput, match="does not know its folder"):
        silo_folder(node({"partition-id": 0}, {"silos": str(tmp_path)}))
    with pytest.raises(BadInput, match="name"):
        silo_folder(node({"folder": str(tmp_path / "a b")}))


def test_in_a_simulation_the_number_counts(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATED, str(folders[0].parent))
    (folders[0].parent / "manifest.json").write_text("{}")
    assert [silo_folder(node({"partition-id": i})) for i in range(3)] == folders
    with pytest.raises(BadInput, match="3 silos"):
        silo_folder(node({"partition-id": 3}))


def test_the_owners_teacher_comes_before_the_runs() -> None:
    own, run = json.dumps({"name": "scatter_ridge", "penalty": 5.0}), json.dumps({"name": "scatter_ridge"})
    assert teacher_of(node({"teacher": own}, {"teacher": run})) == ScatterRidge(penalty=5.0)
    assert teacher_of(node({}, {"teacher": run})) == ScatterRidge()
    for bad in ("", "scatter_ridge", '{"name": "none"}', '{"name": "scatter_ridge", "penalti": 1}', "[1]"):
        with pytest.raises(BadInput):
            teacher_of(node({}, {"teacher": bad}))
    with pytest.raises(BadInput, match="do not vote"):
        teacher_of(node({}, {"teacher": '{"name": "diffusion"}'}))
