"""`stillhouse report`: write report.html of a finished run again, from its report.json, and show the table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ...platform.report.html import write_report
from ...platform.report.report import Report
from ...platform.report.tables import print_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="the run folder")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Render."""
    report = Report.read(options.folder)
    page = write_report(report, options.folder)
    console = Console(stderr=True)
    print_report(report, console)
    console.print(f"report: {page}")
    return {"report": str(page)}
