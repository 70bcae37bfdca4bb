"""`stillhouse silo`: a data owner joins. It dials out, trains on its own folder, and sends votes; nothing dials in."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ...platform.aggregator.client import SiloClient
from ...platform.silo.host import SiloHost
from ...platform.silo.loop import VotingLoop
from ..config.choices import build_teacher
from .endpoint import add_endpoint_arguments, endpoint_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="the silo's own folder; its name is the silo's name; it holds shard.npz",
    )
    parser.add_argument(
        "--teacher",
        nargs="*",
        default=["name=scatter_ridge"],
        metavar="KEY=VALUE",
        help="teacher kind and settings, e.g. name=cnn epochs=30",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, help="leave after this many batches (default: stay)")
    add_endpoint_arguments(parser)


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Train, then vote until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    teacher = build_teacher(options.teacher)
    endpoint = endpoint_of(options)
    host = SiloHost([options.folder], teacher, seed=options.seed, device=options.device)
    report = host.train()
    how = "trained" if report.trained else "found in its folder"
    print(f"silo '{options.folder.name}': teacher {how}; dialling {options.address}", file=sys.stderr, flush=True)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    voted = VotingLoop(host, SiloClient(endpoint)).run(stop, max_batches=options.batches)
    print(f"silo '{options.folder.name}': left after {voted} batches", file=sys.stderr)
    return {"silo": options.folder.name, "batches": voted}
