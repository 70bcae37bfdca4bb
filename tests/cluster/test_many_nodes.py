"""Silos on several raylets: pinned by label, lost in the middle of training or of voting, late. The ledger never counts too little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from raylets import Raylets, raylets
from slow_teacher import SlowTeacher
from sqlalchemy import func, select
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.fleet import SiloFleet
from stillhouse.cluster.silos import Placement
from stillhouse.cluster.simulation import Roster, Simulation, partition, simulation
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import TimedOut
from stillhouse.platform.ledger import schema
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.statement import REPLACE_ONE
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import read_shard
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HOMES = ("silo-0", "silo-1", "silo-2")
# So little noise that the released label is the plurality of the votes that were counted: |noise| < 1/2 but for once in 1e22 draws.
EXACT = GNMax(sigma=0.05)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Raylets]:
    with raylets(*HOMES) as found:
        yield found


@pytest.fixture(autouse=True)
def whole(nodes: Raylets) -> Iterator[None]:
    """After each test the nodes that it took away are there again."""
    yield
    for home in HOMES:
        if home not in nodes.ids:
            nodes.add(home)


def cut(folder: Path, kind: SlowTeacher) -> Roster:
    private = load("digits").private.take(np.arange(240))
    return partition(private, Silos(teachers=len(HOMES)), kind, seed=0, folder=folder, key=bytes(32))  # type: ignore[arg-type]


def images(batch: int) -> np.ndarray:
    return load("digits").pool.images[batch * 20 : (batch + 1) * 20]


def oracle(roster: Roster, queries: np.ndarray, voters: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """The plurality of these silos' votes, from teachers that are trained here."""
    shards = [read_shard(roster.folders[i]) for i in voters]
    votes = ScatterRidge().fit(shards, [0] * len(shards)).vote(queries)
    return np.stack([(votes == k).sum(0) for k in range(10)], axis=1).argmax(1)


def pinned(roster: Roster, kind: SlowTeacher, **options: object) -> SiloFleet:
    return SiloFleet(
        roster.folders, kind, seed=0, endpoint=None, per_actor=1, placement=Placement(label="home"), **options,  # type: ignore[arg-type]
    )  # fmt: skip


class Killer:
    """Told how many teachers are ready: takes a node away at once, and puts another with its label in its place if asked to."""

    def __init__(self, nodes: Raylets, home: str, *, replaced: bool) -> None:
        self.nodes, self.home, self.replaced, self.ready_then = nodes, home, replaced, -1

    def __call__(self, ready: int) -> None:
        if self.ready_then < 0:
            self.ready_then = ready
            self.nodes.kill(self.home)
            if self.replaced:
                self.nodes.add(self.home)


def test_each_silo_is_on_the_node_with_its_label(nodes: Raylets, tmp_path: Path) -> None:
    fleet = pinned(cut(tmp_path, SlowTeacher()), SlowTeacher())
    try:
        assert {each["silos"][0]: each["node"] for each in fleet.describe()} == nodes.ids
    finally:
        fleet.close()


def test_a_node_lost_in_training_and_replaced_gives_the_right_teachers(nodes: Raylets, tmp_path: Path) -> None:
    kind = SlowTeacher(train_seconds=15)
    roster = cut(tmp_path, kind)
    fleet, kill = pinned(roster, kind), Killer(nodes, "silo-2", replaced=True)
    try:
        done = fleet.train(kill, timeout_seconds=240)
        assert kill.ready_then == 0, "it was not taken away in the middle of training"
        assert done["trained"] + done["reused"] == 3 and fleet.missing == []
        votes = fleet.vote(images(0))
        assert fleet.describe()[2]["node"] == nodes.ids["silo-2"]
    finally:
        fleet.close()
    alone = ScatterRidge().fit([read_shard(f) for f in roster.folders], [0] * 3).vote(images(0))
    assert np.array_equal(votes, alone)


@pytest.mark.parametrize("quorum", [2, 3])
def test_a_node_lost_in_training_for_good(nodes: Raylets, tmp_path: Path, quorum: int) -> None:
    """With a quorum left the others go on, without one there is a clear word, long before any time-out of training."""
    kind = SlowTeacher(train_seconds=15)
    roster = cut(tmp_path, kind)
    fleet, kill = pinned(roster, kind, quorum=quorum, lost_seconds=3), Killer(nodes, "silo-2", replaced=False)
    try:
        began = time.monotonic()
        if quorum == 3:
            with pytest.raises(TimedOut, match=r"2 of 3 silos are left, the quorum is 3.*not replaced within 3 s"):
                fleet.train(kill)
        else:
            assert fleet.train(kill) == {"trained": 2, "reused": 0}
            assert fleet.missing == ["silo-2"]
            alone = ScatterRidge().fit([read_shard(f) for f in roster.folders[:2]], [0] * 2).vote(images(0))
            assert np.array_equal(fleet.vote(images(0)), alone)
        assert kill.ready_then == 0 and time.monotonic() - began < 600
    finally:
        fleet.close()


def test_a_silo_that_trains_too_long_is_left_behind(nodes: Raylets, tmp_path: Path) -> None:
    kind = SlowTeacher(train_seconds=30)
    roster = cut(tmp_path, kind)
    first = pinned(roster, kind)
    try:
        first.train(lambda ready: None)
    finally:
        first.close()
    (roster.folders[1] / "teacher.safetensors").unlink()
    fleet = pinned(roster, kind, quorum=2)
    try:
        assert fleet.train(lambda ready: None, timeout_seconds=15) == {"trained": 0, "reused": 2}
        assert fleet.missing == ["silo-1"]
    finally:
        fleet.close()


@contextmanager
def federation(
    roster: Roster, kind: SlowTeacher, folder: Path, *, quorum: int, deadline: float
) -> Iterator[Simulation]:
    url = f"sqlite:///{folder / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant("digits", epsilon=1e6, delta=1e-5, neighbouring=REPLACE_ONE, by="test")
    silos = Silos(teachers=3, per_actor=1, quorum=quorum, deadline_seconds=deadline, label="home", lost_seconds=60)
    with simulation(
        roster, kind, silos, LocalRun(folder / "run", reporter=Silent()), dataset="digits", classes=10,
        ledger_url=url, high_water=None, kept={},
    ) as running:  # fmt: skip
        yield running


def charged_and_stored(folder: Path) -> tuple[float, int]:
    """How many answers the ledger was charged for, and how many are stored; the books are read and checked as a whole."""
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        assert ledger.verify().ok
        (spent,) = ledger.budget("digits").spent
        assert spent == sum(
            cost for entry in ledger.entries("digits") for cost in entry.costs if entry.what == "charge"
        )
        with ledger.engine.connect() as connection:
            stored = connection.execute(select(func.count()).where(schema.answers.c.label >= 0)).scalar_one()
    each = EXACT.answer_event().nano_rho()
    assert each
    return spent / each, stored


def ask_while(running: Simulation, queries: np.ndarray, meanwhile: object) -> tuple[object, float]:
    """Put a question, and do something one second later. Returns the answers, or the error, and the seconds it took."""
    began, found = time.monotonic(), []

    def ask() -> None:
        try:
            found.append(running.ensemble.ask(queries, EXACT))
        except TimedOut as error:
            found.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1)
    meanwhile()  # type: ignore[operator]
    asking.join()
    return found[0], time.monotonic() - began


def test_a_node_lost_in_voting_with_a_quorum_left(nodes: Raylets, tmp_path: Path) -> None:
    kind = SlowTeacher(vote_seconds=8)
    roster = cut(tmp_path, kind)
    with federation(roster, kind, tmp_path, quorum=2, deadline=30) as running:
        whole = running.ensemble.ask(images(0), EXACT)
        assert set(whole.voted) == {3} and np.array_equal(whole.labels, oracle(roster, images(0)))
        assert charged_and_stored(tmp_path) == (20, 20)

        answers, seconds = ask_while(running, images(1), lambda: nodes.kill("silo-2"))
        assert set(answers.voted) == {2} and seconds > 29, "it was not decided at the deadline"
        assert np.array_equal(answers.labels, oracle(roster, images(1), (0, 1)))
        assert charged_and_stored(tmp_path) == (40, 40)

        again = running.ensemble.ask(images(1), EXACT)
        assert again.cost_nano_rho == 0 and np.array_equal(again.labels, answers.labels)
        assert charged_and_stored(tmp_path) == (40, 40)
        (told,) = running.ensemble.missing.told(EXACT)
        assert told.startswith("20 queries were decided by the votes of 2 of 3 silos")


def test_a_node_lost_in_voting_without_a_quorum_left(nodes: Raylets, tmp_path: Path) -> None:
    """Nothing is charged while votes are missing; when the silo is back the same question is answered, and charged once."""
    kind = SlowTeacher(vote_seconds=12)
    roster = cut(tmp_path, kind)
    with federation(roster, kind, tmp_path, quorum=3, deadline=40) as running:
        refused, _ = ask_while(running, images(0), lambda: nodes.kill("silo-2"))
        assert isinstance(refused, TimedOut) and "2 of 3 silos voted, 3 are needed" in str(refused.why)
        assert charged_and_stored(tmp_path) == (0, 0)
        nodes.add("silo-2")
        answers, end = None, time.monotonic() + 200
        while answers is None and time.monotonic() < end:
            try:
                answers = running.ensemble.ask(images(0), EXACT)
            except TimedOut:
                assert charged_and_stored(tmp_path) == (0, 0)
        assert answers is not None and set(answers.voted) == {3}
        assert np.array_equal(answers.labels, oracle(roster, images(0)))
        assert charged_and_stored(tmp_path) == (20, 20)
        assert running.ensemble.missing.told(EXACT) == ()


@pytest.mark.parametrize("quorum", [2, 3])
def test_a_straggler_is_waited_for_until_the_deadline(nodes: Raylets, tmp_path: Path, quorum: int) -> None:
    shards = cut(tmp_path / "look", SlowTeacher())
    kind = SlowTeacher(late=read_shard(shards.folders[1]).content_hash(), late_seconds=40)
    roster = cut(tmp_path, kind)
    with federation(roster, kind, tmp_path, quorum=quorum, deadline=15) as running:
        answers, seconds = ask_while(running, images(0), lambda: None)
        assert 15 <= seconds < 40
        if quorum == 3:
            assert isinstance(answers, TimedOut) and charged_and_stored(tmp_path) == (0, 0)
        else:
            assert set(answers.voted) == {2}
            assert np.array_equal(answers.labels, oracle(roster, images(0), (0, 2)))
            assert charged_and_stored(tmp_path) == (20, 20)
