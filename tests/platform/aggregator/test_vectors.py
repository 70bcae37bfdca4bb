"""Vectors through a whole aggregator: analysts ask, silos answer, one lies, one is late, the process is killed and comes back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.aggregator.asking_vectors import VectorPart
from stillhouse.platform.aggregator.client import VectorQuery
from stillhouse.platform.aggregator.vector_batches import VectorQuestion
from stillhouse.platform.errors import BadInput, BudgetExhausted, NotAuthorised, TimedOut, Unreachable
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.events import event_from_json
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent
from stillhouse.platform.privacy.vector_mean import VectorMean
from support.aggregator import DATASET, ENSEMBLE, SILOS, ServerProcess, asking, questions, served, set_up, voting
from support.noise import ZeroNoise

MEAN = VectorMean(clip=1.0, noise_multiplier=4.0)
WIDTH = 16
SAYS = {"a": 0.01, "b": 0.02, "c": 0.06}


def question(rows: int = 5, first: float = 0.0, **changes: Any) -> VectorQuestion:
    x = np.full((rows, 1, 4, 4), first, np.float32)
    return VectorQuestion(**{"task": "targets", "inputs": {"x": x}, "width": WIDTH, **changes})


def units(name: str, query: VectorQuery) -> np.ndarray:
    vectors = np.full((query.question.rows, WIDTH), SAYS[name], np.float32)
    return query.mechanism.grid(WIDTH).put(vectors, query.question.centre)


@contextlib.contextmanager
def answering(
    server: Any, names: Sequence[str] = SILOS, answer: Callable[[str, VectorQuery], np.ndarray] = units
) -> Iterator[list[Exception]]:
    """Silos that answer all that asks for vectors, a thread each. What was refused is in the list."""
    stop, refused = threading.Event(), []

    def loop(name: str) -> None:
        with server.silo(name) as client:
            joined = False
            while not stop.is_set():
                try:
                    if not joined:
                        client.join({"silos": [name], "answers": ["vectors"]})
                        joined = True
                    query = client.next_batch(0.2)
                    if isinstance(query, VectorQuery):
                        client.send_vectors(query, name, answer(name, query))
                except BadInput as error:
                    refused.append(error)
                except Unreachable:
                    stop.wait(0.1)

    threads = [threading.Thread(target=loop, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield refused
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def test_a_mean_comes_out_is_charged_and_stored(tmp_path):
    noise = ZeroNoise()
    with served(tmp_path, noise=noise) as server, answering(server), server.analyst() as analyst:
        facts = analyst.ensemble()
        assert (facts.dataset, facts.ensemble, facts.teachers) == (DATASET, ENSEMBLE, 3)
        first = analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE)
        assert first.vectors.shape == (5, WIDTH) and first.vectors.dtype == np.float32
        assert first.vectors == pytest.approx(0.03, abs=MEAN.grid(WIDTH).quantum / 2)
        assert (first.voted, first.teachers, first.from_store) == (3, 3, False)
        event = MEAN.event(rows=5, width=WIDTH, teachers=3)
        assert first.cost_nano_rho == event.nano_rho()
        with server.officer() as officer:
            [charge] = [entry for entry in officer.entries() if entry["what"] == "charge"]
            assert '"kind":"gaussian"' in charge["body"] and officer.verify().ok
        again = analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE)
        with server.analyst("bob") as other:
            others = other.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, key="mine")
        for same in (again, others):
            assert same.from_store and same.cost_nano_rho == 0 and np.array_equal(same.vectors, first.vectors)
            assert same.spent_epsilon == first.spent_epsilon
        drawn = [call for call in noise.calls if call[2] == (5, WIDTH)]
        assert len(drawn) == len(set(drawn)), "noise was drawn for one release only"


def test_about_a_centre_and_for_one_silo(tmp_path):
    one = VectorMean(clip=1.0, noise_multiplier=4.0, draw="one")
    config, _ = set_up(tmp_path, epsilon=0.0)
    with Ledger(config.ledger_url) as ledger:
        ledger.grant(DATASET, epsilon=50.0, delta=1e-5, kind=BudgetKind.RDP, orders=(4.0,), by="olga")
    with served(tmp_path, epsilon=0.0) as server, answering(server), server.analyst() as analyst:
        centre = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32) * 0.05
        found = analyst.ask_vectors(question(centre=centre), MEAN, ensemble=ENSEMBLE)
        assert found.vectors == pytest.approx(0.03, abs=MEAN.grid(WIDTH).quantum)
        drawn = analyst.ask_vectors(question(centre=centre), one, ensemble=ENSEMBLE)
        assert min(abs(drawn.vectors.mean() - says) for says in SAYS.values()) < one.grid(WIDTH).quantum
        assert drawn.voted == 3, "all are asked, so that nobody sees who was drawn"
        with Ledger(config.ledger_url) as ledger:
            last = ledger.entries(DATASET)[-1]
        assert event_from_json(last.content["event"]) == OneTeacherEvent(4.0, 5, 3)


def test_over_budget_nothing_is_asked_and_nothing_drawn(tmp_path):
    noise = ZeroNoise()
    asked = []

    def answer(name, query):
        asked.append(name)
        return units(name, query)

    with served(tmp_path, noise=noise, epsilon=0.1) as server, answering(server, answer=answer):
        with server.analyst() as analyst, pytest.raises(BudgetExhausted, match="Nothing was drawn"):
            analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE)
        with server.officer() as officer:
            assert officer.budget().spent_epsilon == 0.0
    assert not asked and not [call for call in noise.calls if call[2] == (5, WIDTH)]


@pytest.mark.parametrize("lie", ["long", "shape", "floats", "nan"])
def test_a_silo_that_lies_is_refused_and_the_others_are_a_quorum(tmp_path, lie):
    def answer(name, query):
        honest = units(name, query)
        if name != "c":
            return honest
        if lie == "long":
            return honest.astype(np.int32) + 2 * query.mechanism.grid(WIDTH).bound
        if lie == "shape":
            return honest[:, 1:]
        return honest.astype(np.float32) * (np.nan if lie == "nan" else 1.0)

    with served(tmp_path) as server, answering(server, answer=answer) as refused, server.analyst() as analyst:
        found = analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20)
        assert found.voted == 2 and found.teachers == 3
        assert found.vectors == pytest.approx(0.01, abs=MEAN.grid(WIDTH).quantum), "over all three, the liar as zero"
    assert len(refused) == 1, "it is not asked for this batch again"


def test_with_all_silos_as_quorum_a_liar_stops_the_batch_at_no_cost(tmp_path):
    def answer(name, query):
        honest = units(name, query)
        return honest if name != "c" else honest + np.int16(2 * query.mechanism.grid(WIDTH).bound)

    with served(tmp_path, quorum=3) as server, answering(server, answer=answer):
        with server.analyst() as analyst, pytest.raises(TimedOut, match="too few silos"):
            analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20)
        with server.officer() as officer:
            assert officer.budget().spent_epsilon == 0.0


def test_a_quorum_is_enough_at_the_deadline(tmp_path):
    with served(tmp_path, deadline_seconds=8.0) as server, answering(server, ["a", "b"]), server.analyst() as analyst:
        assert analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20).voted == 2
    few = served(tmp_path / "few", deadline_seconds=8.0)
    with few as server, answering(server, ["a"]), server.analyst() as analyst, pytest.raises(TimedOut, match="1 of 3"):
        analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20)


def test_silos_that_vote_are_not_offered_vectors_and_both_kinds_go_side_by_side(tmp_path):
    with (
        served(tmp_path) as server,
        voting(server, SILOS),
        server.analyst() as analyst,
        asking(lambda: analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20)) as answers,
    ):
        with server.analyst() as other:
            labels = other.ask(questions(3), GNMax(1.0), ensemble=ENSEMBLE)
        assert labels.statuses == ("answered",) * 3
        with answering(server):
            assert answers().voted == 3


def test_votes_on_vectors_and_vectors_on_votes_are_refused(tmp_path):
    with served(tmp_path) as server, server.analyst() as analyst, server.silo("a") as silo:
        silo.join({"silos": ["a"], "answers": ["vectors"]})
        with asking(lambda: analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=20)) as answers:
            query = silo.next_batch(10)
            assert isinstance(query, VectorQuery) and query.question.content == question().content
            shown = type("Shown", (), {"id": query.id, "hash": query.hash, "images": np.zeros((5, 1, 4, 4), np.uint8)})
            with pytest.raises(BadInput, match="asks for vectors"):
                silo.send_votes(shown(), ["a"], np.zeros((1, 5), np.int64))
            with pytest.raises(NotAuthorised):
                silo.send_vectors(query, "b", units("b", query))
            with pytest.raises(BadInput, match="other content"):
                silo.send_vectors(VectorQuery(query.id, "x", query.question, query.mechanism), "a", units("a", query))
            with answering(server):
                answers()


def test_killed_while_silos_answer_it_goes_on_after_a_restart(tmp_path):
    config, secrets = set_up(tmp_path)
    process = ServerProcess(config, secrets)
    try:
        server = process.start()
        part = VectorPart.of(question(), MEAN, ensemble=ENSEMBLE, key=None)
        with server.analyst() as analyst, server.silo("a") as silo:
            assert analyst._submit_vectors(part.request()).state == "open"
            silo.join({"silos": ["a"], "answers": ["vectors"]})
            query = silo.next_batch(20)
            assert isinstance(query, VectorQuery)
            silo.send_vectors(query, "a", units("a", query))
        process.end(signal.SIGKILL)
        server = process.start()
        # The silos are asked again, also the one that had answered.
        with answering(server), server.analyst() as analyst:
            assert analyst.ask_vectors(question(), MEAN, ensemble=ENSEMBLE, wait_seconds=60).voted == 3
        with Ledger(config.ledger_url) as ledger:
            assert ledger.budget(DATASET).entries == 2, "a grant and one charge"
    finally:
        process.close()
