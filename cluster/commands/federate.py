"""`stillhouse federate`: a run whose silos are Flower clients, simulated on this machine; all else is as `stillhouse run` does it."""

from __future__ import annotations

import argparse
from typing import Any

from ..carrier import FLOWER
from . import run

add_arguments = run.add_arguments


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Run."""
    options.overrides = [*options.overrides, f"cluster.carrier={FLOWER}"]
    return run.execute(options)
