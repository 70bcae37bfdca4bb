"""`stillhouse stop`: end a job on a Ray cluster. What it finished is kept in its run folder."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", help="the job's id, as `stillhouse submit` printed it")
    jobs.add_address(parser)


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Stop."""
    with jobs.connected(options.address) as client:
        stopped = client.stop_job(options.id)
    print(f"job {options.id} {'is being stopped' if stopped else 'had ended already'}", file=sys.stderr)
    return {"id": options.id, "stopped": stopped}
