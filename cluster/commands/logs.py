"""`stillhouse logs`: what a job on a Ray cluster printed, or prints."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", help="the job's id, as `stillhouse submit` printed it")
    parser.add_argument("--follow", action="store_true", help="go on until the job ends")
    jobs.add_address(parser)


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Print the log; with --json it is part of the object on stdout, and --follow shows it on stderr."""
    out = sys.stderr if options.json else sys.stdout
    with jobs.connected(options.address) as client:
        if options.follow:
            jobs.follow(client, options.id, lambda text: print(text, end="", file=out, flush=True))
        log = client.get_job_logs(options.id) if options.json or not options.follow else ""
    if not options.json and not options.follow:
        print(log, end="")
    return {"id": options.id, "log": log}
