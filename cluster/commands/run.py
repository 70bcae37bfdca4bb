"""`stillhouse run`: compose the configuration, run the method, show the table and where the report lies."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import yaml

from ..config.compose import compose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="for example method=pate data=fashion_mnist seed=1"
    )
    parser.add_argument("--cfg", action="store_true", help="print the composed configuration and stop")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Run."""
    resolved = compose(options.overrides)
    if options.cfg:
        if not options.json:
            print(yaml.safe_dump(resolved.plain, sort_keys=False), end="")
        return resolved.plain
    # Ray and torch take seconds to import; a mistake in the configuration is reported before that.
    from rich.console import Console

    from ...platform.report.tables import print_report
    from ...platform.training.event_log import FILE
    from ..run import run, summary

    print(f"log: {resolved.folder / FILE}", file=sys.stderr)
    finished = run(resolved)
    print_report(finished.report, Console(stderr=True))
    print(f"run folder: {finished.folder}\nreport:     {finished.folder / 'report.html'}", file=sys.stderr)
    return summary(finished)
