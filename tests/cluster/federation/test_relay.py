"""The relay between an aggregator and Flower's clients: votes as by Ray actors, one charge, quorum, and who is who."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse.cluster.federation.client_app import HANDLERS
from stillhouse.cluster.federation.flower import Node, Values, client_app
from stillhouse.cluster.federation.members import Members
from stillhouse.cluster.federation.relay import Relay, relay
from stillhouse.cluster.federation.server_app import main
from stillhouse.cluster.federation.standing import VOTING, Standing, read_standing
from stillhouse.cluster.federation.terms import RelayTerms
from stillhouse.platform.aggregator.client import Answers
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted, NotAuthorised, TimedOut
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from support.aggregator import ENSEMBLE, Served, questions, served, trivial_votes
from support.flower import LocalGrid

SILOS = ("silo-0", "silo-1", "silo-2")


def terms(**changes: Any) -> RelayTerms:
    settings = {
        "address": "127.0.0.1:1", "token_file": "", "ca_file": "", "roster": "", "silos": 3, "quorum": 2, "start_seconds": 5.0,
        "training_seconds": 1.0, "deadline_seconds": 5.0, "state_file": "",
    }  # fmt: skip
    return RelayTerms(**(settings | changes))


def voter(values: Values, node: Node) -> Values:
    assert isinstance(values["images"], np.ndarray)
    return {"silo": f"silo-{node.id}", "votes": trivial_votes(values["images"])[0].astype(np.int32)}


def trained(values: Values, node: Node) -> Values:
    return {"silo": f"silo-{node.id}", "trained": True}


def grid_of(votes: Any = voter, **options: Any) -> LocalGrid:
    return LocalGrid(client_app({"votes": votes, "train": trained}), {n: {} for n in range(3)}, **options)


@contextmanager
def relaying(server: Served, grid: LocalGrid, members: Members | None = None, **changes: Any) -> Iterator[Relay]:
    """The relay in a thread, without the training; it has joined when the block begins."""
    state = server.config.tokens.with_name("state.json")
    one = Relay(grid.nodes, members or Members(), terms(**changes), Standing(state))
    stop = threading.Event()

    def run() -> None:
        with server.silo("all") as client:
            one.serve(client, stop)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 60
        while read_standing(state).get("state") != VOTING:
            assert thread.is_alive() and time.monotonic() < end, "the relay has not joined"
            time.sleep(0.02)
        yield one
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.cluster.federation.relay.WAIT_SECONDS", 0.2)


def ask(server: Served, images: np.ndarray, mechanism: Any = None) -> Answers:
    with server.analyst() as analyst:
        return analyst.ask(images, mechanism or GNMax(2.0), ensemble=ENSEMBLE, wait_seconds=30)


def test_an_answer_is_charged_once_and_then_found(tmp_path: Path) -> None:
    grid = grid_of()
    with served(tmp_path, silos=SILOS) as server, relaying(server, grid):
        first = ask(server, questions(6))
        assert np.array_equal(first.labels, trivial_votes(questions(6))[0])
        assert first.voted == (3,) * 6 and first.cost_nano_rho == 6 * 250_000_000
        carried = len(grid.sent)
        again = ask(server, questions(6))
        assert again.cost_nano_rho == 0 and again.from_store.all() and np.array_equal(again.labels, first.labels)
        assert len(grid.sent) == carried == 3


def test_with_noise_off_the_labels_are_those_of_the_raw_votes_of_hosts(tmp_path: Path) -> None:
    """The same teachers in one host, as a Ray actor holds them, and as Flower clients: votes and so labels are identical."""
    private, images = load("digits").private, load("digits").pool.images[:60]
    folders = [tmp_path / f"silo-{i}" for i in range(3)]
    for i, folder in enumerate(folders):
        write_shard(folder, private.take(np.arange(60 * i, 60 * (i + 1))))
    host = SiloHost(folders, ScatterRidge(), seed=5)
    host.train()
    seen = np.stack([(host.vote(images) == k).sum(0) for k in range(10)], axis=1)
    for folder in folders:  # The clients train for themselves.
        (folder / "teacher.safetensors").unlink()
    grid = LocalGrid(
        client_app(HANDLERS), {7 + i: {"folder": str(folder)} for i, folder in enumerate(folders)},
        {"teacher": json.dumps(ScatterRidge().to_json()), "seed": 5},
    )  # fmt: skip
    with served(tmp_path / "served", silos=SILOS, classes=10, epsilon=500.0) as server, relaying(server, grid):
        found = ask(server, images)
    assert np.array_equal(found.labels, seen.argmax(1))
    assert found.voted == (3,) * 60


def test_a_client_that_fails_is_given_up_and_the_quorum_decides(tmp_path: Path) -> None:
    def one_fails(values: Values, node: Node) -> Values:
        if node.id == 1:
            raise RuntimeError("a record")
        return voter(values, node)

    members = Members({f"silo-{n}": n for n in range(3)})
    with served(tmp_path, silos=SILOS, quorum=2) as server, relaying(server, grid_of(one_fails), members):
        found = ask(server, questions(4))  # Well before the aggregator's 30 seconds: nobody is left to wait for.
        assert found.voted == (2,) * 4 and found.statuses == ("answered",) * 4


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2), np.int32), np.full(4, 99, np.int32), np.zeros(3, np.int32), np.zeros(4, np.float32), b"no votes"],
    ids=["table", "range", "short", "float", "bytes"],
)
def test_what_is_no_vote_is_not_counted(tmp_path: Path, bad: Any) -> None:
    def one_lies(values: Values, node: Node) -> Values:
        return {**voter(values, node), **({"votes": bad} if node.id == 2 else {})}

    with served(tmp_path, silos=SILOS, quorum=2) as server, relaying(server, grid_of(one_lies)):
        assert ask(server, questions(4)).voted == (2,) * 4


def test_too_few_votes_are_a_refusal_that_costs_nothing(tmp_path: Path) -> None:
    grid = grid_of(silent={0, 1})
    with (
        served(tmp_path, silos=SILOS, quorum=2, deadline_seconds=12.0) as server,
        relaying(server, grid, deadline_seconds=2.0),
    ):
        with pytest.raises(TimedOut, match="1 of 3 silos voted, 2 are needed"):
            ask(server, questions(4))
        with server.officer() as officer:
            assert officer.budget().spent_epsilon == 0
        # They are back: the same question is answered, and the one vote that was known is not asked for again.
        grid.silent.clear()
        assert ask(server, questions(4)).voted == (3,) * 4
    assert sum(message.metadata.dst_node_id == 2 for message in grid.sent) == 1


def test_a_client_that_failed_is_asked_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.cluster.federation.relay.RETRY_SECONDS", 0.5)
    failures = iter([True, True])

    def at_first(values: Values, node: Node) -> Values:
        if node.id == 2 and next(failures, False):
            raise RuntimeError
        return voter(values, node)

    # One that has not yet said who it is cannot be given up: it is waited for, so it can come round.
    with served(tmp_path, silos=SILOS, quorum=3, deadline_seconds=20.0) as server, relaying(server, grid_of(at_first)):
        assert ask(server, questions(4)).voted == (3,) * 4


def test_a_client_that_comes_back_before_the_deadline_is_asked(tmp_path: Path) -> None:
    grid = grid_of(absent={2})
    with served(tmp_path, silos=SILOS, quorum=3, deadline_seconds=20.0) as server, relaying(server, grid):
        threading.Timer(1.5, grid.absent.clear).start()
        assert ask(server, questions(4)).voted == (3,) * 4
    assert len(grid.sent) == 3  # and nobody twice


def test_a_full_budget_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with served(tmp_path, silos=SILOS, epsilon=0.5) as server, relaying(server, grid_of()):
        with pytest.raises(BudgetExhausted):
            ask(server, questions(4))
        with server.officer() as officer:
            assert officer.budget().spent_epsilon == 0


def test_any_mechanism_of_the_aggregator_works(tmp_path: Path) -> None:
    with served(tmp_path, silos=SILOS) as server, relaying(server, grid_of()):
        found = ask(server, questions(4), ConfidentGNMax(threshold=2.0, sigma1=3.0, sigma2=2.0))
        assert set(found.statuses) <= {"answered", "abstained"} and found.cost_nano_rho > 0


@pytest.mark.parametrize("roster", [True, False], ids=["roster", "at-their-word"])
def test_a_client_cannot_vote_for_another_silo(tmp_path: Path, roster: bool) -> None:
    def impostor(values: Values, node: Node) -> Values:
        return {**voter(values, node), "silo": "silo-0"}

    members = Members({f"silo-{n}": n for n in range(3)} if roster else None)
    with (
        served(tmp_path, silos=SILOS, quorum=1, deadline_seconds=12.0) as server,
        relaying(server, grid_of(impostor), members, deadline_seconds=2.0),
    ):
        assert ask(server, questions(2)).voted == (1, 1)


def test_a_node_outside_the_roster_is_not_even_asked(tmp_path: Path) -> None:
    grid, members = grid_of(), Members({"silo-0": 0, "silo-1": 1})
    with served(tmp_path, silos=("silo-0", "silo-1")) as server, relaying(server, grid, members, silos=2):
        assert ask(server, questions(2)).voted == (2, 2)
    assert {m.metadata.dst_node_id for m in grid.sent} == {0, 1}


def test_training_goes_on_with_a_quorum(tmp_path: Path) -> None:
    standing = Standing(tmp_path / "state.json")
    Relay(grid_of(silent={1}).nodes, Members(), terms(), standing).train()
    assert standing.silos == ["silo-0", "silo-2"] and (standing.trained, standing.reused) == (2, 0)
    assert read_standing(tmp_path / "state.json")["ready"] == 2
    with pytest.raises(TimedOut, match="2 of 3 silos have a teacher, the quorum is 3"):
        Relay(grid_of(silent={1}).nodes, Members(), terms(quorum=0), Standing(None)).train()
    with pytest.raises(TimedOut, match="1 of 2 clients"):
        Relay(grid_of(absent={0, 1}).nodes, Members(), terms(start_seconds=0.1), Standing(None)).train()


def test_who_has_not_connected_in_time_is_not_waited_for(tmp_path: Path) -> None:
    standing, began = Standing(None), time.monotonic()
    one = Relay(grid_of(absent={1}).nodes, Members(), terms(start_seconds=0.6, training_seconds=60.0), standing)
    one.train()
    assert standing.silos == ["silo-0", "silo-2"] and 0.6 <= time.monotonic() - began < 20


def test_a_stranger_is_not_asked_for_a_teacher(tmp_path: Path) -> None:
    grid = grid_of()
    Relay(grid.nodes, Members({"silo-0": 0, "silo-2": 2}), terms(silos=2), Standing(None)).train()
    assert {m.metadata.dst_node_id for m in grid.sent} == {0, 2}


def test_why_it_ended_is_in_the_state_file(tmp_path: Path) -> None:
    with served(tmp_path, silos=SILOS) as server:
        (tmp_path / "token").write_text("guess")
        settings = {field.replace("_", "-"): value for field, value in vars(terms(address=server.address)).items()}
        settings |= {"token-file": str(tmp_path / "token"), "state-file": str(tmp_path / "state.json"), "task": "votes"}
        with pytest.raises(NotAuthorised):
            main(grid_of().nodes, settings)
        with pytest.raises(NotAuthorised, match="token is not known"):
            read_standing(tmp_path / "state.json")


def test_mistakes_in_the_runs_configuration_are_named(tmp_path: Path) -> None:
    good = {field.replace("_", "-"): value for field, value in vars(terms()).items()}
    assert RelayTerms.read({**good, "deadline-seconds": 5, "other": "key"}) == terms()
    for key, value, said in [
        ("silos", 0, "silos=0"), ("quorum", 4, "quorum=4"), ("deadline-seconds", -1.0, "deadline_seconds"),
        ("silos", "3", "no silos of type int"), ("silos", True, "no silos of type int"),
    ]:  # fmt: skip
        with pytest.raises(BadInput, match=said):
            RelayTerms.read({**good, key: value})
    with pytest.raises(BadInput, match="no address"):
        RelayTerms.read({key: value for key, value in good.items() if key != "address"})
    with pytest.raises(BadInput, match="unknown task 'vote'"):
        main(grid_of().nodes, {"task": "vote"})
    with pytest.raises(BadInput, match="no token file"):
        relay(grid_of().nodes, {**good, "token-file": str(tmp_path / "none")})
