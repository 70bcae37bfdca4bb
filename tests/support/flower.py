"""Flower without Flower's processes: a grid whose nodes answer in this one, as an app's clients do."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity
from stillhouse.cluster.federation.flower import Nodes

Settings = dict[str, bool | float | int | str]


@dataclass
class LocalGrid:
    """Nodes by number, each with its owner's settings. The `silent` take a message and never answer, the `refused` are sent none."""

    app: ClientApp
    settings: Mapping[int, Settings]
    run: Settings = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    sent: list[Message] = field(default_factory=list)
    replies: dict[str, Message] = field(default_factory=dict)
    states: dict[int, RecordDict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Flower's own processes set who they are when they take up a task.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    @property
    def nodes(self) -> Nodes:
        return Nodes(self)  # type: ignore[arg-type]

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self.settings if node not in self.absent]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[Any]:
        return [self._take(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self.replies.pop(wanted) for wanted in message_ids if wanted in self.replies]

    def _take(self, message: Message) -> str | None:
        node = message.metadata.dst_node_id
        if node in self.refused:
            return None
        message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        self.sent.append(message)
        if node not in self.silent:
            self.replies[message.metadata.message_id] = self._answer(node, message)
        return message.metadata.message_id

    def _answer(self, node: int, message: Message) -> Message:
        """A context of its own each time, as in a fresh process; what was remembered is handed on."""
        state = self.states.get(node, RecordDict())
        context = Context(1, node, dict(self.settings[node]), state, dict(self.run))
        reply = self.app(message, context)
        self.states[node] = context.state
        return reply


def everything_in(message: Message) -> bytes:
    """All bytes of a message as Flower would send them."""
    return b"".join(part.deflate() for part in get_all_nested_objects(message).values())


def working_below(root: Path) -> list[int]:
    """Processes of Flower whose home lies below this folder: told by their environment."""
    mark = f"FLWR_HOME={root}{os.sep}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(word.startswith(mark) for word in (entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
