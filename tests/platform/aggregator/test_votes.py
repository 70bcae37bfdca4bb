"""What counts as a vote, when a round is over, and that only a silo's owner votes for it."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.aggregator import aggregator_pb2 as pb
from stillhouse.platform.aggregator import aggregator_pb2_grpc as pb_grpc
from stillhouse.platform.aggregator.client import QueryBatch, SiloClient
from stillhouse.platform.aggregator.rounds import Round
from stillhouse.platform.errors import BadInput, NotAuthorised, TimedOut
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax
from support.aggregator import CLASSES, ENSEMBLE, SILOS, asking, fetched, questions, served, trivial_votes, voting

PLAIN = GNMax(10.0)
ROW = np.array([[0, 1, 4]])


def new_round(quorum: int = 2) -> Round:
    return Round(SILOS, quorum, queries=3, classes=CLASSES)


class TestRound:
    def test_the_same_vote_again_is_one_vote(self):
        round_ = new_round()
        round_.add(["a"], ROW)
        round_.add(["a"], ROW.copy())
        assert round_.voted == 1 and round_.table().tolist() == ROW.tolist()

    def test_another_vote_is_refused_and_the_first_stands(self):
        round_ = new_round()
        round_.add(["a"], ROW)
        with pytest.raises(BadInput, match="first vote stands"):
            round_.add(["b", "a"], np.array([[0, 0, 0], [0, 1, 3]]))
        assert round_.voted == 1 and round_.table().tolist() == ROW.tolist()

    @pytest.mark.parametrize(
        ("silos", "votes"),
        [
            (["a"], [[0, 1]]),
            (["a"], [[0, 1, 2, 3]]),
            (["a"], [[0, 1, CLASSES]]),
            (["a"], [[0, 1, -1]]),
            (["a"], [[0.0, 1.0, 2.0]]),
            (["a", "b"], [[0, 1, 2]]),
            (["a", "a"], [[0, 1, 2], [0, 1, 2]]),
            (["stranger"], [[0, 1, 2]]),
            ([], np.zeros((0, 3), int)),
        ],
    )
    def test_what_is_no_vote_is_refused_whole(self, silos, votes):
        round_ = new_round()
        with pytest.raises(BadInput):
            round_.add(silos, np.array(votes))
        assert round_.voted == 0

    def test_a_closed_round_takes_nothing_new(self):
        round_ = new_round()
        round_.add(["a"], ROW)
        round_.closed = True
        round_.add(["a"], ROW)
        with pytest.raises(BadInput, match="too late"):
            round_.add(["b"], ROW)
        assert round_.voted == 1 and not round_.awaits(["c"])

    def test_who_gave_up_is_not_waited_for_but_may_vote(self):
        round_ = new_round()
        round_.add(["a"], ROW)
        round_.give_up(["a", "b"])
        assert round_.awaits(["c"]) and not round_.awaits(["a", "b"]) and not round_.complete
        round_.give_up(["c"])
        assert round_.complete and not round_.has_quorum
        round_.add(["b"], ROW)
        assert round_.has_quorum

    @given(st.lists(st.sampled_from("abc"), max_size=8), st.integers(1, 3))
    def test_the_table_has_one_row_a_voter_in_the_rosters_order(self, order, quorum):
        round_ = new_round(quorum)
        for name in order:
            round_.add([name], np.full((1, 3), SILOS.index(name)))
        assert round_.table()[:, 0].tolist() == [i for i, name in enumerate(SILOS) if name in order]
        assert round_.table().dtype == np.int64 and round_.table().shape[1] == 3
        assert round_.has_quorum == (len(set(order)) >= quorum) and round_.complete == (set(order) == set(SILOS))


class TestOverTheWire:
    def test_a_vote_is_taken_once_for_own_silos_and_for_what_was_asked(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst, server.silo("a") as silo:
            silo.join({"silos": ["a"]})
            with asking(lambda: analyst.ask(questions(4), PLAIN, ensemble=ENSEMBLE)) as answers:
                batch = fetched(silo)
                good = trivial_votes(batch.images)
                with pytest.raises(NotAuthorised):
                    silo.send_votes(batch, ["b"], good)
                with pytest.raises(BadInput, match="other content"):
                    silo.send_votes(QueryBatch(batch.id, "0" * 64, batch.images), ["a"], good)
                with pytest.raises(BadInput, match="not voted on"):
                    silo.send_votes(QueryBatch("unknown", batch.hash, batch.images), ["a"], good)
                with pytest.raises(BadInput):
                    silo.send_votes(batch, ["a"], good.astype(float))
                silo.send_votes(batch, ["a"], good)
                silo.send_votes(batch, ["a"], good)
                with pytest.raises(BadInput, match="first vote stands"):
                    silo.send_votes(batch, ["a"], (good + 1) % CLASSES)
                assert silo.next_batch(0.1) is None
                with voting(server, ["b", "c"]):
                    assert answers().labels.tolist() == good[0].tolist()
            with pytest.raises(BadInput, match="not voted on"):
                silo.send_votes(batch, ["a"], good)

    def test_votes_out_of_range_end_that_silos_part_in_the_batch(self, tmp_path: Path):
        with (
            served(tmp_path) as server,
            server.analyst() as analyst,
            server.silo("a") as silo,
            asking(lambda: analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)) as answers,
        ):
            batch = fetched(silo)
            with pytest.raises(BadInput, match="class number"):
                silo.send_votes(batch, ["a"], np.array([[0, CLASSES]]))
            assert silo.next_batch(0.1) is None, "it would be offered for ever"
            with voting(server, ["b", "c"]):
                assert answers().labels.tolist() == [0, 1]

    def test_the_byte_count_of_votes_is_checked(self, tmp_path: Path):
        with (
            served(tmp_path) as server,
            server.analyst() as analyst,
            server.silo("a") as silo,
            asking(lambda: analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)) as answers,
        ):
            batch = fetched(silo)
            stub = pb_grpc.SiloStub(grpc.insecure_channel(server.address))
            request = pb.SendVotesRequest(id=batch.id, hash=batch.hash, silos=["a"], votes=b"\0" * 7)
            with pytest.raises(grpc.RpcError) as refused:
                stub.SendVotes(request, metadata=(("authorization", f"Bearer {server.secrets['a']}"),))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with voting(server, ["b", "c"]):
                answers()

    def test_one_token_may_own_many_silos_and_speak_for_some(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst:
            first, second = SiloClient(server.endpoint("all")), SiloClient(server.endpoint("all"))
            with first, second, asking(lambda: analyst.ask(questions(3), PLAIN, ensemble=ENSEMBLE)) as answers:
                first.join({"silos": ["a", "b"]})
                second.join({"silos": ["c"]})
                batch = fetched(first)
                first.send_votes(batch, ["a", "b"], trivial_votes(batch.images, 2))
                assert first.next_batch(0.1) is None, "its own silos have voted"
                second.send_votes(fetched(second), ["c"], trivial_votes(batch.images))
                assert answers().labels.tolist() == [0, 1, 2]


class TestQuorum:
    def test_the_deadline_with_a_quorum_decides_and_a_missing_vote_is_an_abstention(self, tmp_path: Path):
        # Two of three vote: the count is 2, which passes a threshold of 2 and would pass one of 3 only if scaled up.
        passes, fails = (ConfidentGNMax(threshold=t, sigma1=10.0, sigma2=10.0) for t in (2, 3))
        with served(tmp_path, deadline_seconds=8.0) as server, server.analyst() as analyst, voting(server, ["a", "b"]):
            started = time.monotonic()
            assert analyst.ask(questions(2), passes, ensemble=ENSEMBLE).statuses == ("answered", "answered")
            assert time.monotonic() - started >= 7.9, "it waited for the third until the deadline"
            assert analyst.ask(questions(2), fails, ensemble=ENSEMBLE).statuses == ("abstained", "abstained")

    def test_less_than_a_quorum_fails_and_costs_nothing_and_can_be_asked_again(self, tmp_path: Path):
        with served(tmp_path, deadline_seconds=8.0) as server, server.analyst() as analyst, server.officer() as officer:
            with (
                voting(server, ["a"]),
                pytest.raises(TimedOut, match="1 of 3 silos voted, 2 are needed; nothing was charged"),
            ):
                analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)
            assert officer.budget().spent_epsilon == 0
            with voting(server):
                assert analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE).labels.tolist() == [0, 1]

    def test_all_votes_decide_at_once(self, tmp_path: Path):
        with served(tmp_path, deadline_seconds=60) as server, server.analyst() as analyst, voting(server):
            started = time.monotonic()
            analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)
            assert time.monotonic() - started < 50

    def test_a_silo_that_says_it_cannot_vote_is_not_waited_for(self, tmp_path: Path, caplog: pytest.LogCaptureFixture):
        with (
            served(tmp_path, deadline_seconds=60) as server,
            server.analyst() as analyst,
            server.silo("a") as silo,
            asking(lambda: analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)) as answers,
        ):
            batch = fetched(silo)
            silo.report_failure(batch.id, "ValueError: record 17 is 3.14")
            assert silo.next_batch(0.1) is None
            with voting(server, ["b", "c"]):
                assert answers().statuses == ("answered", "answered")
        assert "record 17" not in caplog.text

    def test_a_late_vote_is_refused(self, tmp_path: Path):
        with served(tmp_path, deadline_seconds=6.0) as server, server.analyst() as analyst, server.silo("a") as silo:
            with asking(lambda: analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)) as answers:
                batch = fetched(silo)
                with pytest.raises(TimedOut):
                    answers()
            with pytest.raises(BadInput):
                silo.send_votes(batch, ["a"], trivial_votes(batch.images))
