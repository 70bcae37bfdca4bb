"""All of Flower that this project uses: requests by name to chosen nodes, handlers by name, errors that say nothing of records.

Flower changes fast; nothing else here imports it. What goes over it is a plain dictionary of arrays, bytes, text and numbers:

    replies = nodes.ask("double", {node: {"x": np.arange(3)} for node in nodes.wait(2, seconds=60)}, seconds=30)    # a server
    app = client_app({"double": lambda values, node: {"x": 2 * values["x"]}})                                       # a client

A client's exception would reach the server with its text, which may hold what a record holds. Here it becomes one word of a fixed
list, the name of its type; see `failure_of`.
"""

from __future__ import annotations

import builtins
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from ...platform import errors
from ...platform.errors import BadInput, TimedOut

log = logging.getLogger(__name__)

Value = np.ndarray | bytes | str | int | float | bool
Values = dict[str, Value]
Setting = bool | float | int | str

POLL_SECONDS = 0.3
UNNAMED = "Exception"
DELIVERY = "delivery"  # Flower itself says that a message did not arrive or was not answered.
_ARRAYS, _VALUES, _FAILURE = "arrays", "values", "failure"
_KNOWN = frozenset(
    name
    for module in (errors, builtins)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)


@dataclass(frozen=True, eq=False)
class Reply:
    """What one node answered: values, or the word for why it could not."""

    node: int
    values: Values | None
    failure: str = ""


@dataclass(frozen=True)
class Node:
    """What a client knows beside a request.

    Args:
        id: the node's number.
        settings: its owner's (`--node-config`); in a simulation `partition-id` and `num-partitions`.
        run: those of the run, which the server's side chooses.
        memory: values that Flower keeps from one message of a run to the next. The process may be another one each time.
    """

    id: int
    settings: Mapping[str, Setting]
    run: Mapping[str, Setting]
    memory: dict[str, Values]


Handler = Callable[[Values, Node], Values]


class Nodes:
    """The clients of a run, seen from the server."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def present(self) -> list[int]:
        """The nodes that are connected now. At a run's start that is nobody."""
        return sorted(self._grid.get_node_ids())

    def wait(self, least: int, *, seconds: float) -> list[int]:
        """Wait until so many nodes are there.

        Raises:
            TimedOut: they are not in time.
        """
        end = time.monotonic() + seconds
        while len(found := self.present()) < least:
            if time.monotonic() > end:
                raise TimedOut(
                    f"{len(found)} of {least} clients are connected after {seconds:.0f} s",
                    mend="look whether their SuperNodes run and reach the SuperLink",
                )
            time.sleep(POLL_SECONDS)
        return found

    def ask(self, name: str, requests: Mapping[int, Values], *, seconds: float) -> Iterator[Reply]:
        """Send each node its request and yield the replies as they come, until all are in or the time is over.

        Who is late is not heard: Flower drops a reply that comes after its message's time.
        """
        end = time.monotonic() + seconds
        waiting: dict[str, int] = {}
        for node, values in requests.items():
            message = Message(_pack(values), node, f"{MessageType.QUERY}.{name}", ttl=max(seconds, 1.0))
            # One by one: of several, Flower would not say which it could not take.
            sent = next((taken for taken in self._grid.push_messages([message]) if taken), None)
            if sent is None:
                yield Reply(node, None, DELIVERY)
            else:
                waiting[sent] = node
        while waiting:
            for message in self._grid.pull_messages(list(waiting)):
                found = waiting.pop(message.metadata.reply_to_message_id, None)
                if found is not None:
                    yield _reply(found, message)
            if waiting and time.monotonic() >= end:
                return
            if waiting:
                time.sleep(POLL_SECONDS)


def server_app(main: Callable[[Nodes, Mapping[str, Setting]], None]) -> ServerApp:
    """Return an app whose server runs `main(nodes, settings of the run)`."""
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        main(Nodes(grid), dict(context.run_config))

    return app


def client_app(handlers: Mapping[str, Handler]) -> ClientApp:
    """Return an app that answers each named request with its handler.

    Whatever a handler raises becomes a reply with one word in it; nothing of the exception goes to Flower, which would send its text.
    """
    app = ClientApp()
    for name, handler in handlers.items():
        app.query(name)(_guarded(handler))
    return app


def failure_of(error: BaseException) -> str:
    """Return the word for an error: its type's name if it is one of ours or Python's own, else `Exception`.

    >>> failure_of(BadInput("the record of Ann Smith")), failure_of(type("AnnSmith", (Exception,), {})())
    ('BadInput', 'Exception')
    """
    name = type(error).__name__
    return name if name in _KNOWN else UNNAMED


def _guarded(handler: Handler) -> Callable[[Message, Context], Message]:
    def answer(message: Message, context: Context) -> Message:
        failure = ""
        try:
            memory = {name: _unpack(context.state, f"{name}.") for name in _names(context.state)}
            node = Node(context.node_id, dict(context.node_config), dict(context.run_config), memory)
            content = _pack(handler(_unpack(message.content), node))
            context.state = _remembered(memory)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failure = failure_of(error)
            log.warning("a request failed: %s", failure)
        if failure:
            # Made out here, where the error is no longer at hand.
            content = RecordDict({_FAILURE: ConfigRecord({"kind": failure})})
        return Message(content, reply_to=message)

    return answer


def _reply(node: int, message: Message) -> Reply:
    """Read a reply. What Flower says of an error is not passed on: where our own client did not write it, it may hold anything."""
    if message.has_error():
        return Reply(node, None, DELIVERY)
    content = message.content
    try:
        if _FAILURE in content:
            kind = content.config_records[_FAILURE]["kind"]
            return Reply(node, None, kind if isinstance(kind, str) and kind in _KNOWN else UNNAMED)
        return Reply(node, _unpack(content))
    except (BadInput, KeyError, TypeError, ValueError):
        return Reply(node, None, "BadInput")


def _pack(values: Mapping[str, Value], prefix: str = "") -> RecordDict:
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise BadInput(f"'{name}' is an array of objects", mend="send numbers")
            arrays[name] = Array(np.ascontiguousarray(value).reshape(value.shape))
        elif isinstance(value, (bytes, str, bool, int, float)):
            plain[name] = value
        else:
            raise BadInput(f"'{name}' is a {type(value).__name__}", mend="send arrays, bytes, text or numbers")
    return RecordDict({prefix + _ARRAYS: ArrayRecord(arrays), prefix + _VALUES: ConfigRecord(plain)})


def _unpack(content: RecordDict, prefix: str = "") -> Values:
    arrays, plain = content.array_records[prefix + _ARRAYS], content.config_records[prefix + _VALUES]
    found: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    return found | dict(plain)


def _names(state: RecordDict) -> list[str]:
    return [key.removesuffix(f".{_VALUES}") for key in state.config_records if key.endswith(f".{_VALUES}")]


def _remembered(memory: Mapping[str, Values]) -> RecordDict:
    state = RecordDict()
    for name, values in memory.items():
        state.update(_pack(values, f"{name}."))
    return state
