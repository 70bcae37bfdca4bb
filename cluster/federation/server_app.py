"""The Flower ServerApp: `task` of the run's configuration says what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...platform.errors import BadInput
from .flower import Nodes, Setting, server_app
from .relay import relay
from .secure import secure

TASKS: dict[str, Callable[[Nodes, Mapping[str, Setting]], None]] = {"votes": relay, "secure": secure}


def main(nodes: Nodes, settings: Mapping[str, Setting]) -> None:
    """Do the run's task.

    Raises:
        BadInput: there is none of this name.
    """
    task = TASKS.get(str(settings.get("task")))
    if task is None:
        raise BadInput(f"unknown task '{settings.get('task')}'", mend=f"use one of {', '.join(TASKS)}")
    task(nodes, settings)


app = server_app(main)
