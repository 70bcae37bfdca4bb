"""The server itself: health, reflection, ports, errors that tell nothing, logs that tell nothing, an end that is clean."""

from __future__ import annotations

import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stillhouse.platform.aggregator import aggregator_pb2 as pb
from stillhouse.platform.aggregator import aggregator_pb2_grpc as pb_grpc
from stillhouse.platform.aggregator import wire
from stillhouse.platform.aggregator.asking import split
from stillhouse.platform.aggregator.engine import Engine
from stillhouse.platform.aggregator.vector_batches import VectorQuestion
from stillhouse.platform.errors import (
    BadInput,
    InternalBug,
    LedgerDoubt,
    NotAuthorised,
    StillhouseError,
    TimedOut,
    Unreachable,
)
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax
from stillhouse.platform.privacy.vector_mean import VectorMean
from support.aggregator import (
    ENSEMBLE,
    ServerProcess,
    asking,
    fetched,
    questions,
    served,
    set_up,
    trivial_votes,
    voting,
)

PLAIN = GNMax(10.0)


class TestWhatToolsSee:
    def test_health_of_all_services(self, tmp_path: Path):
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "stillhouse.aggregator.v1.Silo", "stillhouse.aggregator.v1.Analyst"):
                reply = stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert reply.status == health_pb2.HealthCheckResponse.SERVING

    def test_reflection_lists_and_describes(self, tmp_path: Path):
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="stillhouse.aggregator.v1.Officer"),
            ]
            names, file = stub.ServerReflectionInfo(iter(asked))
            listed = {s.name for s in names.list_services_response.service}
            assert {f"stillhouse.aggregator.v1.{s}" for s in ("Silo", "Analyst", "Officer")} <= listed
            proto = descriptor_pb2.FileDescriptorProto.FromString(
                file.file_descriptor_response.file_descriptor_proto[0]
            )
            assert {s.name for s in proto.service} == {"Silo", "Analyst", "Officer"}


class TestRefusals:
    def test_no_token_is_unauthenticated_and_a_wrong_role_is_denied(self, tmp_path: Path):
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.OfficerStub(channel)
            bearer = f"Bearer {server.secrets['ana']}"
            for metadata, code in [
                ((), grpc.StatusCode.UNAUTHENTICATED),
                ((("authorization", "Bearer "),), grpc.StatusCode.UNAUTHENTICATED),
                ((("authorization", bearer), ("authorization", bearer)), grpc.StatusCode.UNAUTHENTICATED),
                ((("authorization", bearer),), grpc.StatusCode.PERMISSION_DENIED),
            ]:
                with pytest.raises(grpc.RpcError) as refused:
                    stub.Budget(pb.BudgetRequest(), metadata=metadata)
                assert refused.value.code() is code
                assert isinstance(wire.meaning(refused.value, "here"), NotAuthorised)

    def test_messages_that_lie_about_themselves(self, tmp_path: Path):
        good = pb.Images(count=1, channels=1, height=2, width=2, data=b"0123")
        wrong = [
            pb.SubmitRequest(key="k", ensemble=ENSEMBLE, mechanism_json="{", images=good),
            pb.SubmitRequest(key="k", ensemble=ENSEMBLE, mechanism_json="[" * 100_000, images=good),
            pb.SubmitRequest(key="k", ensemble=ENSEMBLE, mechanism_json="1" * 5000, images=good),
            pb.SubmitRequest(key="k", ensemble=ENSEMBLE, mechanism_json='{"name": "nothing"}', images=good),
            pb.SubmitRequest(key="k", ensemble=ENSEMBLE, mechanism_json='{"name": "gnmax", "sigma": 9}'),
            pb.SubmitRequest(key="", ensemble=ENSEMBLE, mechanism_json='{"name": "gnmax", "sigma": 9}', images=good),
            pb.SubmitRequest(
                key="k", ensemble=ENSEMBLE, mechanism_json='{"name": "gnmax", "sigma": 9}',
                images=pb.Images(count=2**31, channels=2**31, height=2, width=2, data=b"0123"),
            ),
            pb.SubmitRequest(
                key="k", ensemble=ENSEMBLE, mechanism_json='{"name": "gnmax", "sigma": 9}',
                images=pb.Images(count=4096, channels=1, height=1, width=1, data=bytes(4096)),
            ),
            pb.SubmitRequest(
                key="k", ensemble=ENSEMBLE, mechanism_json='{"name": "gnmax", "sigma": 9}', images=good, student=b"123"
            ),
        ]  # fmt: skip
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.AnalystStub(channel)
            metadata = (("authorization", f"Bearer {server.secrets['ana']}"),)
            for request in wrong:
                with pytest.raises(grpc.RpcError) as refused:
                    stub.Submit(request, metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
                assert isinstance(wire.meaning(refused.value, "here"), BadInput)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Answers(pb.AnswersRequest(key="never asked"), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.RpcError) as refused:
                stub.Answers(pb.AnswersRequest(key="k", wait_seconds=float("nan")), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_description_that_is_none(self, tmp_path: Path):
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            metadata = (("authorization", f"Bearer {server.secrets['a']}"),)
            for text in ("{", "[]", "[" * 100_000, "1" * 5000, '{"silos": ' + "1" * 5000 + "}", '{"silos": 1}'):
                with pytest.raises(grpc.RpcError) as refused:
                    pb_grpc.SiloStub(channel).Join(pb.JoinRequest(description_json=text), metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()

    def test_a_wrong_number_of_a_caller_is_no_doubt_about_the_ledger(self, tmp_path: Path):
        """Costs and caps too large for any ledger: the caller hears of it, and the aggregator goes on serving."""
        with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
            with server.officer() as officer, pytest.raises(BadInput, match="smaller epsilon"):
                officer.grant("other", epsilon=1e11, delta=1e-5)
            question = VectorQuestion("targets", {"x": np.zeros((1, 1, 4, 4), np.float32)}, 16)
            with server.analyst() as analyst, pytest.raises(BadInput, match="raise the noise"):
                analyst.ask_vectors(question, VectorMean(1.0, 1e-8), ensemble=ENSEMBLE)
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert reply.status == health_pb2.HealthCheckResponse.SERVING

    def test_a_port_that_is_taken(self, tmp_path: Path):
        with (
            served(tmp_path / "one") as first,
            pytest.raises(BadInput, match="cannot listen"),
            served(tmp_path / "two", address=first.address),
        ):
            raise AssertionError("two servers on one port")


class TestErrors:
    def test_an_error_of_ours_keeps_its_kind_and_sentences(self):
        for kind in wire._CODES:
            back = wire.read_error(wire.write_error(kind("what", why="why", mend="mend")))
            assert type(back) is kind and (back.what, back.why, back.mend) == ("what", "why", "mend")
        assert wire.read_error(b"junk") is None and wire.read_error(b'{"kind": "SystemExit"}') is None

    def test_any_other_error_crosses_as_its_type(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
        def broken(*_: object) -> None:
            raise RuntimeError("record 17 is 3.14")

        monkeypatch.setattr(Engine, "submit", broken)
        with served(tmp_path) as server, server.analyst() as analyst, pytest.raises(InternalBug) as seen:
            analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)
        assert "RuntimeError" in str(seen.value) and seen.value.exit_code == 5
        assert "record 17" not in str(seen.value) + caplog.text

    @pytest.mark.parametrize("trouble", [LedgerDoubt("the chain is broken"), RuntimeError("record 17 is 3.14")])
    def test_trouble_while_deciding_is_told_and_the_batch_goes_on_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, trouble: Exception
    ):
        whole = Engine.evaluate

        def broken(*_: object) -> None:
            raise trouble

        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            monkeypatch.setattr(Engine, "evaluate", broken)
            with pytest.raises(StillhouseError) as seen:
                analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE)
            assert isinstance(seen.value, LedgerDoubt if isinstance(trouble, LedgerDoubt) else InternalBug)
            assert "record 17" not in str(seen.value) + caplog.text
            monkeypatch.setattr(Engine, "evaluate", whole)
            assert analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE).labels.tolist() == [0, 1]

    @pytest.mark.parametrize("trouble", [TimedOut("another process is at the ledger"), Unreachable("no database")])
    def test_a_ledger_that_is_busy_or_away_is_tried_again_with_the_same_votes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: StillhouseError
    ):
        whole, tables = Engine.evaluate, []

        def busy_at_first(self: Engine, batch_id: str, table: np.ndarray) -> object:
            tables.append(table.tolist())
            if len(tables) < 3:
                raise trouble
            return whole(self, batch_id, table)

        monkeypatch.setattr(Engine, "evaluate", busy_at_first)
        monkeypatch.setattr("stillhouse.platform.aggregator.service_desk.PAUSES", (0.01, 0.01, 0.01))
        with served(tmp_path) as server, server.analyst() as analyst, voting(server):
            assert analyst.ask(questions(2), PLAIN, ensemble=ENSEMBLE).labels.tolist() == [0, 1]
        assert len(tables) == 3 and tables[0] == tables[1] == tables[2]

    def test_a_ledger_in_doubt_shows_in_the_health(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def broken(*_: object) -> None:
            raise LedgerDoubt("another aggregator took over")

        monkeypatch.setattr(Engine, "submit", broken)
        with served(tmp_path) as server, server.analyst() as analyst, grpc.insecure_channel(server.address) as channel:
            with pytest.raises(LedgerDoubt, match="took over"):
                analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING


class TestTheLoop:
    def test_slow_work_on_the_ledger_does_not_hold_up_other_calls(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        whole, threads = Engine.evaluate, set()

        def slow(self: Engine, *arguments: object) -> object:
            threads.add(threading.current_thread().name)
            time.sleep(4.0)
            return whole(self, *arguments)

        monkeypatch.setattr(Engine, "evaluate", slow)
        with (
            served(tmp_path) as server,
            server.analyst() as analyst,
            voting(server),
            server.silo("a") as silo,
            asking(lambda: analyst.ask(questions(1), PLAIN, ensemble=ENSEMBLE)) as answers,
        ):
            time.sleep(0.3)
            started = time.monotonic()
            silo.join({"silos": ["a"]})
            assert time.monotonic() - started < 3
            answers()
        assert len(threads) == 1 and threads.pop().startswith("ledger")

    def test_a_caller_that_hangs_up_loses_nothing(self, tmp_path: Path):
        with served(tmp_path) as server, server.analyst() as analyst, grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.AnalystStub(channel)
            part = next(split(questions(3), PLAIN, ensemble=ENSEMBLE, student=None, key=None))
            call = stub.Submit.future(part.request(), metadata=(("authorization", f"Bearer {server.secrets['ana']}"),))
            time.sleep(0.02)
            call.cancel()
            with voting(server):
                assert analyst.ask(questions(3), PLAIN, ensemble=ENSEMBLE).labels.tolist() == [0, 1, 2]

    def test_many_ask_at_once(self, tmp_path: Path):
        def ask(first: int) -> list[int]:
            with server.analyst() as analyst:
                return analyst.ask(questions(5, first=first), PLAIN, ensemble=ENSEMBLE).labels.tolist()

        with served(tmp_path) as server, voting(server), ThreadPoolExecutor(8) as pool:
            for first, labels in zip(range(0, 80, 4), pool.map(ask, range(0, 80, 4)), strict=True):
                assert labels == trivial_votes(questions(5, first=first))[0].tolist()


def test_logs_tell_neither_votes_nor_costs_nor_names_of_questions(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, logger="stillhouse")
    careful = ConfidentGNMax(threshold=3, sigma1=31.0, sigma2=37.0)

    def texts(folder: str, votes: object) -> list[str]:
        caplog.clear()
        with served(tmp_path / folder) as server, server.analyst() as analyst, voting(server, votes=votes):
            analyst.ask(questions(6), careful, ensemble=ENSEMBLE, key="a question's name")
        return sorted(r.getMessage() for r in caplog.records if r.name.startswith("stillhouse"))

    unanimous = texts("one", trivial_votes)
    split = texts("two", lambda images: np.random.default_rng().integers(0, 5, (1, len(images))))
    assert unanimous == split, "what is logged depends on the votes"
    assert unanimous and "a question's name" not in " ".join(unanimous)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_lets_waiting_calls_go(tmp_path: Path, number: signal.Signals):
    process = ServerProcess(*set_up(tmp_path))
    try:
        server = process.start()
        with server.silo("a") as silo, asking(lambda: silo.next_batch(200)) as waiting:
            time.sleep(0.3)
            started = time.monotonic()
            assert process.end(number) == 0
            assert time.monotonic() - started < 150
            assert waiting() is None
        assert "Traceback" not in process.log.read_text()
    finally:
        process.close()


def test_a_broken_ledger_does_not_open(tmp_path: Path):
    config, _ = set_up(tmp_path)
    file = tmp_path / "ledger.db"
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(StillhouseError), served(tmp_path, epsilon=0):
        raise AssertionError("it opened")
    assert config.tokens.exists()


def test_a_vote_fetched_before_is_good_after_another_batch_came(tmp_path: Path):
    with (
        served(tmp_path) as server,
        server.analyst() as ana,
        server.analyst("bob") as bob,
        server.silo("a") as silo,
        asking(lambda: ana.ask(questions(2), PLAIN, ensemble=ENSEMBLE)) as one,
    ):
        first = fetched(silo)
        with (
            asking(lambda: bob.ask(questions(2, first=9), PLAIN, ensemble=ENSEMBLE)) as two,
            voting(server, ["b", "c"]),
        ):
            silo.send_votes(first, ["a"], trivial_votes(first.images))
            second = fetched(silo)
            silo.send_votes(second, ["a"], trivial_votes(second.images))
            assert one().labels.tolist() == [0, 1] and two().labels.tolist() == [4, 0]
