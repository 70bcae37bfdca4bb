"""What an analyst, an officer and a silo see: answers, what is free, and errors that say how to mend them."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.aggregator import asking as asking_module
from stillhouse.platform.aggregator.client import Analyst, Endpoint, OfficerClient, SiloClient
from stillhouse.platform.aggregator.tokens import add_token
from stillhouse.platform.aggregator.wire import MOST_QUERIES
from stillhouse.platform.errors import BadInput, BudgetExhausted, NotAuthorised, TimedOut, Unreachable
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax, InteractiveGNMax
from support.aggregator import CLASSES, DATASET, ENSEMBLE, questions, served, trivial_votes, voting

PLAIN = GNMax(10.0)
EACH = PLAIN.answer_event().nano_rho()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TestAsking:
    def test_answers_and_their_cost(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            answers = analyst.ask(questions(7), PLAIN, ensemble=ENSEMBLE)
            assert answers.labels.tolist() == trivial_votes(questions(7))[0].tolist()
            assert answers.statuses == ("answered",) * 7 and not answers.from_store.any()
            assert answers.cost_nano_rho == 7 * EACH
            assert 0 < answers.spent_epsilon < answers.epsilon_cap == 50 and answers.delta == 1e-5
            assert answers.neighbouring
            assert server.config.dataset == DATASET

    def test_asked_again_it_is_free_for_every_analyst_and_needs_no_silo(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as ana, server.analyst("bob") as bob:
            with voting(server):
                first = ana.ask(questions(7), PLAIN, ensemble=ENSEMBLE)
            again, others = (who.ask(questions(7), PLAIN, ensemble=ENSEMBLE) for who in (ana, bob))
            part = bob.ask(questions(3, first=2), PLAIN, ensemble=ENSEMBLE)
            assert again.labels.tolist() == others.labels.tolist() == first.labels.tolist()
            assert part.labels.tolist() == first.labels[2:5].tolist()
            assert others.from_store.all() and part.from_store.all()
            assert others.cost_nano_rho == part.cost_nano_rho == 0
            assert again.spent_epsilon == others.spent_epsilon == first.spent_epsilon

    def test_a_retry_of_the_same_question_is_the_same_batch(self):
        def keys(**changes):
            given = {"ensemble": ENSEMBLE, "student": None, "key": None} | changes
            return [part.key for part in asking_module.split(questions(3), PLAIN, **given)]

        assert keys() == keys()
        assert keys() != keys(ensemble="others")
        assert keys(key="mine") == ["mine"]

    def test_a_large_question_is_split_and_joined_in_order(self, tmp_path: Path):
        many = MOST_QUERIES + 5
        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            answers = analyst.ask(questions(many), PLAIN, ensemble=ENSEMBLE, key="large")
        assert answers.labels.tolist() == trivial_votes(questions(many))[0].tolist()
        assert len(answers.statuses) == len(answers.from_store) == many
        assert answers.cost_nano_rho == many * EACH

    def test_a_batch_stays_below_the_message_limit(self):
        images = np.zeros((40, 3, 640, 640), np.uint8)
        parts = list(asking_module.split(images, PLAIN, ensemble=ENSEMBLE, student=None, key=None))
        assert len(parts) > 1 and sum(len(p.batch.images) for p in parts) == 40
        assert all(p.request().ByteSize() < 33 * 2**20 for p in parts)

    def test_a_batch_larger_than_grpcs_own_limit_crosses_both_ways(self, tmp_path: Path):
        images = np.zeros((100, 3, 128, 128), np.uint8)
        images[:, 0, 0, 0] = np.arange(100)
        assert images.nbytes > 4 * 2**20
        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            assert analyst.ask(images, PLAIN, ensemble=ENSEMBLE).labels.tolist() == [i % CLASSES for i in range(100)]

    def test_predictions_of_a_student_cross(self, tmp_path: Path):
        curious = InteractiveGNMax(threshold=2, sigma1=10.0, sigma2=10.0, confidence=0.9)
        images = questions(2)
        student = np.full((2, CLASSES), 0.02)
        student[0, 0] = student[1, 3] = 0.92  # agrees on the first, differs on the second
        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            answers = analyst.ask(images, curious, ensemble=ENSEMBLE, student=student)
            with pytest.raises(BadInput):
                analyst.ask(images, curious, ensemble=ENSEMBLE, student=student[:, :-1])
            with pytest.raises(BadInput):
                analyst.ask(images, curious, ensemble=ENSEMBLE)
        assert answers.statuses == ("reinforced", "answered") and answers.labels.tolist() == [0, 1]

    def test_two_analysts_with_one_key_have_two_batches(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as ana, server.analyst("bob") as bob, voting(server):
            assert ana.ask(questions(2), PLAIN, ensemble=ENSEMBLE, key="k").labels.tolist() == [0, 1]
            assert bob.ask(questions(2, first=2), PLAIN, ensemble=ENSEMBLE, key="k").labels.tolist() == [2, 3]
            with pytest.raises(BadInput, match="other content"):
                ana.ask(questions(2, first=2), PLAIN, ensemble=ENSEMBLE, key="k")


class TestBudget:
    def test_refused_then_granted_then_answered(self, tmp_path: Path):
        with (
            served(tmp_path, epsilon=0.2) as server,
            server.analyst() as analyst,
            server.officer() as officer,
            voting(server),
        ):
            strict = ConfidentGNMax(threshold=1, sigma1=2.0, sigma2=2.0)
            for _ in range(2):
                with pytest.raises(BudgetExhausted, match=r"epsilon 0 of 0\.2"):
                    analyst.ask(questions(4), strict, ensemble=ENSEMBLE)
            assert officer.budget().spent_epsilon == 0
            assert officer.grant(epsilon=60, delta=1e-5).epsilon == 60
            answers = analyst.ask(questions(4), strict, ensemble=ENSEMBLE)
            assert answers.labels.tolist() == [0, 1, 2, 3] and answers.epsilon_cap == 60

    def test_what_does_not_fit_is_told_and_bought_later_without_paying_twice(self, tmp_path: Path):
        with (
            served(tmp_path, epsilon=1.0) as server,
            server.analyst() as analyst,
            server.officer() as officer,
            voting(server),
        ):
            first = analyst.ask(questions(40), GNMax(20.0), ensemble=ENSEMBLE)
            paid = first.statuses.count("answered")
            assert 0 < paid < 40 and first.statuses == ("answered",) * paid + ("budget",) * (40 - paid)
            assert (first.labels[paid:] == -1).all()
            officer.grant(epsilon=50, delta=1e-5)
            rest = analyst.ask(questions(40), GNMax(20.0), ensemble=ENSEMBLE)
            assert rest.statuses == ("answered",) * 40
            assert rest.labels[:paid].tolist() == first.labels[:paid].tolist()
            assert rest.cost_nano_rho == (40 - paid) * GNMax(20.0).answer_event().nano_rho()

    def test_of_a_split_question_the_parts_that_fit_are_answered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(asking_module, "MOST_QUERIES", 10)
        with served(tmp_path, epsilon=1.0) as server, server.analyst() as analyst, voting(server):
            answers = analyst.ask(questions(40), GNMax(20.0), ensemble=ENSEMBLE)
            paid = answers.statuses.count("answered")
            assert 0 < paid < 30 and answers.statuses == ("answered",) * paid + ("budget",) * (40 - paid)
            assert len(answers.labels) == len(answers.from_store) == 40 and (answers.labels[paid:] == -1).all()


class TestErrors:
    def test_nobody_there(self):
        started = time.monotonic()
        with Analyst(Endpoint(f"127.0.0.1:{closed_port()}", "t")) as analyst, pytest.raises(Unreachable) as nobody:
            analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)
        assert nobody.value.exit_code == 2 and nobody.value.mend and time.monotonic() - started < 10

    @pytest.mark.parametrize("secret", ["guess", "x" * 43])
    def test_an_unknown_token(self, tmp_path: Path, secret: str):
        with (
            served(tmp_path) as server,
            Analyst(Endpoint(server.address, secret)) as analyst,
            pytest.raises(NotAuthorised, match="not known") as refused,
        ):
            analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)
        assert refused.value.exit_code == 2 and refused.value.mend and secret not in str(refused.value)

    def test_every_role_has_its_own_calls_only(self, tmp_path: Path):
        with served(tmp_path) as server:
            calls = {
                "analyst": lambda e: Analyst(e).ask(questions(1), PLAIN, ensemble=ENSEMBLE, wait_seconds=0),
                "silo": lambda e: SiloClient(e).join({}),
                "next": lambda e: SiloClient(e).next_batch(0),
                "officer": lambda e: OfficerClient(e).budget(),
                "grant": lambda e: OfficerClient(e).grant(epsilon=1000, delta=1e-5),
                "entries": lambda e: OfficerClient(e).entries(),
                "verify": lambda e: OfficerClient(e).verify(),
            }
            allowed = {"ana": {"analyst"}, "a": {"silo", "next"}, "olga": {"officer", "grant", "entries", "verify"}}
            for name, own in allowed.items():
                for call in calls.keys() - own:
                    with pytest.raises(NotAuthorised, match="needs the role"):
                        calls[call](server.endpoint(name))

    def test_the_wait_is_bounded_and_asking_again_goes_on(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst:
            with pytest.raises(TimedOut) as late:
                analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE, wait_seconds=0.3)
            assert late.value.exit_code == 3
            with voting(server):
                assert analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE).labels.tolist() == [0, 1]

    def test_wrong_questions(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst:
            with pytest.raises(BadInput, match="serves"):
                analyst.ask(questions(1), PLAIN, ensemble="others")
            with pytest.raises(BadInput):
                analyst.ask(questions(0), PLAIN, ensemble=ENSEMBLE)
            with pytest.raises(BadInput):
                analyst.ask(questions(1).astype(float), PLAIN, ensemble=ENSEMBLE)
            with pytest.raises(BadInput, match="characters"):
                analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE, key="k" * 201)

    def test_no_budget_was_granted(self, tmp_path: Path):
        with served(tmp_path, epsilon=0) as server, server.analyst() as analyst, server.officer() as officer:
            with pytest.raises(BadInput):
                analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)
            with pytest.raises(BadInput):
                officer.budget()
            officer.grant(epsilon=1, delta=1e-6)
            assert (officer.budget().epsilon, officer.budget().kind) == (1, "gaussian")

    def test_an_endpoint_sends_no_token_in_the_clear_and_shows_none(self):
        with pytest.raises(NotAuthorised, match="without TLS"):
            Endpoint("203.0.113.5:50051", "secret-token")
        with pytest.raises(BadInput, match="all three"):
            Endpoint("127.0.0.1:1", "t", cert=Path("c"), key=Path("k"))
        for token in ("", "two\nlines", "naïve"):
            with pytest.raises(BadInput):
                Endpoint("127.0.0.1:1", token)
        assert "secret-token" not in repr(Endpoint("127.0.0.1:1", "secret-token"))


class TestSilosAndOfficers:
    def test_joining_checks_names_roster_and_classes(self, tmp_path: Path):
        with served(tmp_path) as server, server.silo("a") as silo:
            silo.join({"silos": ["a"], "classes": CLASSES})
            with pytest.raises(NotAuthorised, match="does not own"):
                silo.join({"silos": ["b"]})
            with pytest.raises(BadInput, match="classes"):
                silo.join({"silos": ["a"], "classes": CLASSES + 1})
            with pytest.raises(BadInput):
                silo.join({"silos": "a"})

    def test_a_silo_outside_the_roster_takes_no_part(self, tmp_path: Path):
        with served(tmp_path) as server:
            secret = add_token(server.config.tokens, role="silo", name="stranger")
            with SiloClient(Endpoint(server.address, secret)) as stranger:
                for call in (lambda: stranger.join({}), lambda: stranger.next_batch(0)):
                    with pytest.raises(NotAuthorised, match="roster"):
                        call()

    def test_an_officer_reads_and_verifies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("stillhouse.platform.aggregator.service.ENTRIES_AT_ONCE", 2)
        with served(tmp_path) as server, server.officer() as officer, server.analyst() as analyst, voting(server):
            for first in range(4):
                analyst.ask(questions(1, first=first), PLAIN, ensemble=ENSEMBLE)
            entries = officer.entries()
            assert [e["seq"] for e in entries] == [1, 2, 3, 4, 5]
            assert officer.entries("another") == []
            found = officer.verify()
            assert found.ok and found.entries == 5 and found.problems == ()
            with pytest.raises(BadInput):
                officer.grant(epsilon=1, delta=1e-5, kind="imaginary")
