"""`stillhouse serve`: the privacy aggregator of one data set, in the foreground until it is interrupted."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ...platform.aggregator.config import ServerConfig, TlsFiles
from ...platform.aggregator.server import serve
from ...platform.errors import BadInput
from ...platform.log_lines import JsonLines, event_fields
from .ledger import DEFAULT_URL, ledger_url

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dataset", required=True, help="the data set's name in the ledger")
    parser.add_argument("--classes", type=int, required=True, help="number of classes")
    parser.add_argument("--silos", default="", help="the roster: names, separated by commas")
    parser.add_argument("--roster", type=Path, help="the roster in a file, a name a line")
    parser.add_argument("--ensemble", default="", help="name of this set of teachers (default: the data set's name)")
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port to listen on (port 0: any)")
    parser.add_argument("--quorum", type=int, help="votes needed when the deadline has passed (default: all)")
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds that silos have for a batch")
    parser.add_argument("--ledger", default=DEFAULT_URL, help="database URL or SQLite file")
    parser.add_argument("--high-water", type=Path, help="the ledger's high-water mark, best on another disk")
    parser.add_argument("--tokens", type=Path, required=True, help="file of token hashes, made by `stillhouse token`")
    parser.add_argument("--tls-cert", type=Path, help="server certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")
    parser.add_argument(
        "--client-ca", type=Path, help="mutual TLS: the authority that signed the clients' certificates"
    )
    parser.add_argument("--metrics-port", type=int, help="serve metrics for Prometheus on this port (0: any)")
    parser.add_argument(
        "--metrics-host", default="127.0.0.1", help="on this address; one that others can reach needs --client-ca"
    )
    parser.add_argument("--log-json", action="store_true", help="log JSON, one object a line")
    parser.add_argument("--ready-file", type=Path, help="write the address here when calls are taken")
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop when standard input closes, so with the process that started this",
    )


def roster(options: argparse.Namespace) -> list[str]:
    """Return the silos' names from the command line or the file."""
    if options.roster:
        if not options.roster.is_file():
            raise BadInput(f"no roster file {options.roster}", mend="write the silos' names into it, one a line")
        try:
            names = options.roster.read_text(encoding="utf-8").split()
        except UnicodeDecodeError:
            raise BadInput(f"{options.roster} is no text", mend="write the silos' names into it, one a line") from None
    else:
        names = [n.strip() for n in options.silos.split(",") if n.strip()]
    if not names:
        raise BadInput(
            "the roster is empty",
            why="votes are counted against a fixed list of silos",
            mend="give --silos or --roster",
        )
    return names


def _stop_with_stdin() -> None:
    # Not by `sys.stdin`: a thread that waits in its buffer makes the interpreter abort when the command ends before it.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _log(*, as_json: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _metrics_address(options: argparse.Namespace) -> str | None:
    if options.metrics_port is None:
        return None
    host = options.metrics_host
    return f"[{host}]:{options.metrics_port}" if ":" in host else f"{host}:{options.metrics_port}"


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Serve until interrupted."""
    if options.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    _log(as_json=options.log_json)
    names = roster(options)
    tls = TlsFiles(options.tls_cert, options.tls_key, options.client_ca) if options.tls_cert else None
    config = ServerConfig(
        address=options.address,
        dataset=options.dataset,
        ensemble=options.ensemble or options.dataset,
        silos=tuple(names),
        classes=options.classes,
        quorum=len(names) if options.quorum is None else options.quorum,
        deadline_seconds=options.deadline,
        ledger_url=ledger_url(options.ledger),
        high_water=options.high_water,
        tokens=options.tokens,
        tls=tls,
        metrics=_metrics_address(options),
    )
    host = options.address.rpartition(":")[0]

    def ready(port: int) -> None:
        address = f"{host}:{port}"
        line = f"aggregator of '{config.dataset}' listens on {address}, {len(names)} silos, quorum {config.quorum}"
        if options.log_json:
            told = event_fields("server.ready", address=address, silos=len(names), quorum=config.quorum)
            log.info(line, extra=told)
        else:
            print(line, file=sys.stderr, flush=True)
        if options.ready_file:
            partial = options.ready_file.with_suffix(".part")
            partial.write_text(json.dumps({"address": address, "pid": os.getpid()}), encoding="utf-8")
            partial.replace(options.ready_file)

    serve(config, ready=ready)
    return {"stopped": True}
