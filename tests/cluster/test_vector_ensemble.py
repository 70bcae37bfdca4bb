"""Vectors from a student's side: a remote ensemble, and a simulated federation of diffusion teachers on Ray actors."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.missing_votes import MissingVotes
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.simulation import RemoteEnsemble, partition, simulation
from stillhouse.methods.diffusion.oracle import VectorEnsemble
from stillhouse.platform.aggregator.client import VectorQuery
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.vector_mean import VectorMean
from stillhouse.platform.silo.shard import read_shard
from stillhouse.platform.silo.teachers import teacher_kind_from_json
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from support.aggregator import ENSEMBLE, served

TINY = {"name": "diffusion", "hidden": 16, "steps": 20, "batch_size": 16, "critic_width": 8}


def a_run(folder: Path) -> LocalRun:
    return LocalRun(folder, reporter=Silent())


def asked(rows: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    noisy, student = generator.normal(size=(2, rows, *shape)).astype(np.float32)
    signal = Schedule().signal(torch.full((rows,), 20)).numpy()
    return {"x": noisy, "step": np.full(rows, 20), "signal": signal, "label": np.arange(rows) % 10, "student": student}


def test_a_remote_ensemble_is_one_of_vectors(tmp_path: Path) -> None:
    with served(tmp_path / "served", quorum=1, deadline_seconds=10.0, epsilon=1.0) as server:
        missing = MissingVotes(tmp_path, ENSEMBLE, 3)
        ensemble: VectorEnsemble = RemoteEnsemble(server.endpoint("ana"), ENSEMBLE, 30.0, missing=missing)  # type: ignore[assignment]
        assert ensemble.teachers == 3
        stop, joined = threading.Event(), threading.Event()

        def silo() -> None:
            with server.silo("a") as client:
                client.join({"silos": ["a"], "answers": ["vectors"]})
                joined.set()
                while not stop.is_set():
                    query = client.next_batch(0.2)
                    if isinstance(query, VectorQuery):
                        grid = query.mechanism.grid(query.question.width)
                        vectors = query.question.inputs["x"].reshape(query.question.rows, -1)
                        client.send_vectors(query, "a", grid.put(vectors, query.question.centre))

        thread = threading.Thread(target=silo, daemon=True)
        thread.start()
        try:
            assert joined.wait(60)
            inputs = {"x": np.full((4, 1, 8, 8), 0.01, np.float32)}
            options = {"clip": 1.0, "noise_multiplier": 20.0, "draw": "all", "run": a_run(tmp_path / "run")}
            found = ensemble.ask_vectors("targets", inputs, centre=None, **options)  # type: ignore[arg-type]
            assert found.shape == (4, 64) and found.dtype == np.float32
            assert found == pytest.approx(0.01 / 3, abs=1.0 / 512)
            assert missing.told(VectorMean(1.0, 20.0)), "the report can say that two of three were missing"
            with pytest.raises(BudgetExhausted):
                ensemble.ask_vectors("targets", inputs, centre=None, **options | {"noise_multiplier": 0.5})  # type: ignore[arg-type]
        finally:
            stop.set()
            thread.join(10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_diffusion_teachers_on_ray_actors_answer_and_are_charged(tmp_path: Path) -> None:
    """All of V2 to V4's questions on digits: targets and gradients, all silos and one, against the teachers that lie in the folders."""
    pytest.importorskip("diffusers")
    private = load("digits").private.take(np.arange(240))
    kind = teacher_kind_from_json(TINY)
    silos = Silos(teachers=3, per_actor=2, deadline_seconds=120.0, start_seconds=400.0)
    roster = partition(private, silos, kind, seed=0, folder=tmp_path, key=bytes(32))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant("digits", epsilon=1e8, delta=1e-5, kind=BudgetKind.RDP, orders=(4.0,), by="test")
    clip, multiplier = 4.0, 0.01
    run = a_run(tmp_path / "run")
    with ray_session(num_cpus=2), simulation(
        roster, kind, silos, run, dataset="digits", classes=10, ledger_url=url, high_water=None, kept={},
    ) as running:  # fmt: skip
        ensemble = running.ensemble
        assert ensemble.teachers == 3

        def ask(task: str, draw: str, centre: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
            inputs = asked(6, seed=seed)
            if task == "targets":
                inputs.pop("student")
            return ensemble.ask_vectors(
                task, inputs, clip=clip, noise_multiplier=multiplier, centre=centre, draw=draw, run=run,  # type: ignore[arg-type]
            )  # fmt: skip

        targets = ask("targets", "all")
        assert np.array_equal(ask("targets", "all"), targets), "from the store"
        centred = ask("targets", "all", centre=targets)
        gradients = [ask("gradients", draw, seed=seed) for draw in ("all", "one") for seed in (1, 2)]
    with Ledger(url) as ledger:
        assert ledger.verify().ok
        charges = [entry.content["event"] for entry in ledger.entries("digits") if entry.what == "charge"]
    assert [event["kind"] for event in charges] == ["gaussian"] * 4 + ["one_teacher"] * 2
    assert all(event.get("count" if event["kind"] == "gaussian" else "rows") == 6 for event in charges)

    # What the same teachers, trained here again from the shards, say themselves.
    from stillhouse.platform.silo.host import SiloHost

    host = SiloHost(roster.folders, kind)
    assert host.train().reused == 3, "they were trained by the actors, each on its own shard"
    assert len({read_shard(folder).content_hash() for folder in roster.folders}) == 3
    grid = VectorMean(clip, multiplier).grid(64)

    def mean(task: str, seed: int, centre: np.ndarray | None = None) -> np.ndarray:
        inputs = asked(6, seed=seed)
        if task == "targets":
            inputs.pop("student")
        each = [units for _, units in host.vectors(f"{task} {seed} {centre is None}", task, inputs, grid, centre)]
        return np.sum(each, axis=0) * grid.quantum / 3 + (0.0 if centre is None else centre)

    noise = 2 * clip * multiplier / 3
    assert targets.shape == (6, 64) and np.abs(targets - mean("targets", 0)).max() < 6 * noise
    assert np.abs(centred - mean("targets", 0, targets)).max() < 6 * noise
    for seed, found in zip((1, 2), gradients, strict=False):
        assert np.abs(found - mean("gradients", seed)).max() < 6 * noise, "the critics took the same steps"
    assert all(np.linalg.norm(found, axis=1).max() <= clip + 6 * 8 * 2 * clip * multiplier for found in gradients[2:])
