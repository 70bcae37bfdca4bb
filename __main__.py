"""The command line: `stillhouse COMMAND ...`. Each command lives in a module of its own and is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import NoReturn

from . import __version__
from .platform.errors import BadInput, InternalBug, StillhouseError

COMMANDS = {
    "run": "run a method: stillhouse run method=pate data=digits",
    "federate": "the same with Flower clients as silos, simulated here: stillhouse federate method=pate data=digits",
    "compare": "run the arms of a study with the same seeds: stillhouse compare digits_pate",
    "sweep": "run many trials, or search privately for the best: stillhouse sweep digits_privacy",
    "submit": "run on a Ray cluster: stillhouse submit method=pate data=digits root=/shared/runs --address http://HOST:8265",
    "status": "show how a job on a Ray cluster stands",
    "logs": "show what a job on a Ray cluster printed",
    "stop": "end a job on a Ray cluster",
    "serve": "run the privacy aggregator of one data set",
    "silo": "join an aggregator as a data owner: train on a folder, send votes",
    "ask": "ask an aggregator for labels of public images",
    "token": "make an access token for a silo, an analyst or an officer",
    "ledger": "show, verify or grant privacy budgets",
    "report": "write report.html of a finished run again",
    "export": "export the result of a finished run, with its privacy statement",
    "sample": "draw images from a finished private generator: stillhouse sample runs/NAME --to DIR --images 1000",
    "predict": "faces verified and identified, videos scored, by a trained model: stillhouse predict runs/NAME pictures/",
    "make-bin": "pack pairs of faces for verification: stillhouse make-bin faces/ --pairs pairs.txt --out faces.bin",
    "fetch-teacher": "fetch a pretrained face network once: stillhouse fetch-teacher dlib --to teachers/dlib",
}


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments as this program's own error instead of argparse's exit code."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message, mend=f"see `{self.prog} --help`")


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the module of `command` is imported."""
    parser = _Parser(prog="stillhouse", description="Learn from data that may not leave its owner.")
    parser.add_argument("-V", "--version", action="version", version=f"stillhouse {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, summary in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=summary)
        if name == command:
            module = importlib.import_module(f".cluster.commands.{name.replace('-', '_')}", __package__)
            module.add_arguments(sub)
            sub.set_defaults(execute=module.execute)
            sub.add_argument("--json", action="store_true", help="print one JSON object on stdout; people read stderr")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Child processes are started by exec: gRPC need not prepare for a fork, nor say on stderr each time that it did not.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    as_json = "--json" in arguments
    try:
        command = next((a for a in arguments if a in COMMANDS), None)
        options = build_parser(command).parse_args(arguments)
        result = options.execute(options)
        if as_json:
            print(json.dumps({"status": "ok", "exit_code": 0, "data": result}, default=str))
        return 0
    except StillhouseError as error:
        return _fail(error, as_json)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("STILLHOUSE_DEBUG"):
            raise
        with tempfile.NamedTemporaryFile("w", prefix="stillhouse-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
        bug = InternalBug(
            f"internal error ({type(error).__name__})",
            why=f"this is a bug; its traceback is in {log.name}",
            mend="report it with that file, after reading that it holds nothing private",
        )
        return _fail(bug, as_json)


def _fail(error: StillhouseError, as_json: bool) -> int:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        body = {"what": error.what, "why": error.why, "mend": error.mend, "kind": type(error).__name__}
        print(json.dumps({"status": "error", "exit_code": error.exit_code, "error": body}))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
