"""`stillhouse status`: how a job on a Ray cluster stands."""

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
    """Ask."""
    with jobs.connected(options.address) as client:
        found = jobs.state(client, options.id)
    code = found["driver_exit_code"]
    print(f"job {options.id}: {found['status']}{'' if code is None else f', exit code {code}'}", file=sys.stderr)
    return found
