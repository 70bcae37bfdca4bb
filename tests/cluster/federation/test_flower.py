"""The adapter: what goes over it arrives as it was, who is late is not heard, and no exception's text leaves a client."""

from __future__ import annotations

import pathlib
import time

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from stillhouse.cluster.federation.flower import DELIVERY, Node, Nodes, Reply, Values, client_app, failure_of
from stillhouse.platform.errors import BadInput, TimedOut
from stillhouse.platform.silo.host import VotingFailed
from support.flower import LocalGrid, everything_in
from support.static_checks import ROOT

CANARY = "patient-4711-has-gout"


def echo(values: Values, node: Node) -> Values:
    return values


def grid_of(handlers: dict[str, object], **options: object) -> LocalGrid:
    settings = options.pop("settings", {1: {}, 2: {}, 3: {}})
    return LocalGrid(client_app(handlers), settings, **options)  # type: ignore[arg-type]


def answers(nodes: Nodes, name: str, requests: dict[int, Values], seconds: float = 5.0) -> dict[int, Reply]:
    return {reply.node: reply for reply in nodes.ask(name, requests, seconds=seconds)}


ARRAYS = {
    "uint8": np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "float32": np.array([[np.nan, -0.0, np.inf]], np.float32),
    "bool": np.array([True, False]),
    "scalar": np.array(7, np.int32),
    "empty": np.empty((0, 4), np.float64),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided": np.arange(10)[::3],
}


@pytest.mark.parametrize("kind", list(ARRAYS))
def test_arrays_arrive_as_they_were(kind: str) -> None:
    array = ARRAYS[kind]
    found = answers(grid_of({"echo": echo}).nodes, "echo", {1: {"x": array}})[1].values
    assert found is not None
    back = found["x"]
    assert isinstance(back, np.ndarray) and back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_plain_values_arrive_as_they_were() -> None:
    given: Values = {"b": b"\0\xff", "s": "Zoë\n", "i": -(2**62), "f": 0.1, "yes": True, "no": False, "none": b""}
    found = answers(grid_of({"echo": echo}).nodes, "echo", {1: given, 2: {}})
    assert found[1].values == given and type(found[1].values["yes"]) is bool  # type: ignore[index]
    assert found[2].values == {}


@pytest.mark.parametrize("bad", [np.array([{}], object), {"a": 1}, None], ids=["objects", "dict", "none"])
def test_what_cannot_be_sent_is_refused_before_it_is(bad: object) -> None:
    grid = grid_of({"echo": echo})
    with pytest.raises(BadInput, match="send"):
        list(grid.nodes.ask("echo", {1: {"x": bad}}, seconds=1))  # type: ignore[dict-item]
    assert not grid.sent
    assert answers(grid_of({"bad": lambda values, node: {"x": bad}}).nodes, "bad", {1: {}})[1].failure == "BadInput"


def fails(kind: str) -> Values:
    class LeakyError(Exception):
        pass

    if kind == "type":
        raise type(CANARY, (Exception,), {})()
    try:
        raise KeyError(CANARY)
    except KeyError as cause:
        kinds = {"bad": BadInput(CANARY, why=CANARY), "value": ValueError(CANARY), "own": LeakyError(CANARY)}
        kinds |= {"base": SystemExit(CANARY), "voting": VotingFailed(CANARY, why=CANARY)}  # type: ignore[dict-item]
        error = kinds[kind]
        error.add_note(CANARY)
        raise error from cause


@pytest.mark.parametrize(
    ("kind", "word"),
    [("bad", "BadInput"), ("value", "ValueError"), ("own", "Exception"), ("type", "Exception"), ("base", "SystemExit"),
     ("voting", "Exception")],
)  # fmt: skip
def test_of_an_exception_one_word_leaves_a_client(kind: str, word: str) -> None:
    grid = grid_of({"fail": lambda values, node: fails(kind)})
    reply = answers(grid.nodes, "fail", {1: {}})[1]
    assert reply.values is None and reply.failure == word
    # As Flower would send it, byte by byte; and the check can find what is there.
    raw = grid._answer(1, grid.sent[0])
    assert word.encode() in everything_in(raw)
    for text in (CANARY, "Traceback", "fails", __file__):
        assert text.encode() not in everything_in(raw)


def test_what_flower_says_of_an_error_is_not_passed_on() -> None:
    class Failing(LocalGrid):
        def _answer(self, node: int, message: Message) -> Message:
            return Message(Error(code=3, reason=CANARY), reply_to=message)

    reply = answers(Failing(client_app({}), {1: {}}).nodes, "any", {1: {}})[1]
    assert reply == Reply(1, None, DELIVERY) or (reply.values is None and reply.failure == DELIVERY)
    assert CANARY not in repr(reply)


def test_a_client_that_writes_a_failure_of_its_own_gets_no_text_through() -> None:
    from flwr.app import ConfigRecord

    class Lying(LocalGrid):
        def _answer(self, node: int, message: Message) -> Message:
            return Message(RecordDict({"failure": ConfigRecord({"kind": CANARY})}), reply_to=message)

    assert answers(Lying(client_app({}), {1: {}}).nodes, "any", {1: {}})[1].failure == "Exception"


def test_a_reply_that_is_none_of_ours_is_a_failure() -> None:
    class Strange(LocalGrid):
        def _answer(self, node: int, message: Message) -> Message:
            return Message(RecordDict(), reply_to=message)

    assert answers(Strange(client_app({}), {1: {}}).nodes, "any", {1: {}})[1].failure == "BadInput"


def test_who_is_late_is_not_heard_and_who_cannot_be_sent_is_told() -> None:
    grid = grid_of({"echo": echo}, silent={2}, refused={3})
    started = time.monotonic()
    found = answers(grid.nodes, "echo", {1: {"n": 1}, 2: {"n": 2}, 3: {"n": 3}}, seconds=0.5)
    assert 0.5 <= time.monotonic() - started < 30
    assert set(found) == {1, 3} and found[1].values == {"n": 1} and found[3].failure == DELIVERY
    assert all(message.metadata.ttl >= 0.5 for message in grid.sent)


def test_each_node_gets_its_own_request() -> None:
    grid = grid_of({"tell": lambda values, node: {"node": node.id, **values}})
    found = answers(grid.nodes, "tell", {n: {"x": 10 * n} for n in (3, 1, 2)})
    assert {n: reply.values for n, reply in found.items()} == {n: {"node": n, "x": 10 * n} for n in (1, 2, 3)}


def test_waiting_for_nodes_has_an_end() -> None:
    grid = grid_of({}, absent={3})
    assert grid.nodes.wait(2, seconds=1) == [1, 2]
    with pytest.raises(TimedOut, match="2 of 3 clients"):
        grid.nodes.wait(3, seconds=0.1)


def test_what_a_client_remembers_is_there_the_next_time() -> None:
    def count(values: Values, node: Node) -> Values:
        before = node.memory.get("seen", {"times": 0, "all": np.zeros(2)})
        node.memory["seen"] = {"times": int(before["times"]) + 1, "all": before["all"] + values["x"]}  # type: ignore[arg-type, operator]
        return {"times": node.memory["seen"]["times"]}

    grid = grid_of({"count": count})
    for time_ in (1, 2):
        found = answers(grid.nodes, "count", {1: {"x": np.array([1.0, 2.0])}})
        assert found[1].values == {"times": time_}
    assert answers(grid.nodes, "count", {2: {"x": np.ones(2)}})[2].values == {"times": 1}


def test_a_name_that_nobody_handles_is_refused_by_flower() -> None:
    grid = grid_of({"echo": echo})
    with pytest.raises(ValueError, match="No query function"):  # Flower sends this text; nothing of a record is in it.
        list(grid.nodes.ask("other", {1: {}}, seconds=1))


def test_failures_are_words_of_a_fixed_list() -> None:
    assert failure_of(TimedOut(CANARY)) == "TimedOut" and failure_of(MemoryError()) == "MemoryError"
    assert failure_of(type("BadInput2", (BadInput,), {})(CANARY)) == "Exception"


def test_nothing_else_in_the_program_imports_flower() -> None:
    adapter = ROOT / "cluster" / "federation" / "flower.py"
    for top in ("platform", "methods", "cluster"):
        for file in sorted(pathlib.Path(ROOT / top).rglob("*.py")):
            lines = file.read_text(encoding="utf-8").splitlines()
            imports = [line for line in lines if line.lstrip().startswith(("import flwr", "from flwr"))]
            assert bool(imports) == (file == adapter), file
