"""`stillhouse sweep`: run a sweep's trials, show and write the table; or search privately and release the best trial only."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ...platform.errors import BadInput, RunFailed
from ..sweep.file import find_sweep
from ..sweep.plan import Plan, make_plan
from .compare import seed_numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("sweep", help="a sweep file, or the name of one in configs/sweep")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="for all trials, for example method.epochs=5; sweep.KEY=VALUE changes the file, for example sweep.budget=5",
    )
    parser.add_argument("--seeds", type=seed_numbers, help="these instead of the sweep's, for example 0,1,2")
    parser.add_argument("--only-table", action="store_true", help="run nothing; show what there is")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Sweep.

    Raises:
        RunFailed: trials failed; the table was written all the same. (Refused and stopped trials are no failure.)
    """
    plan = make_plan(find_sweep(options.sweep), options.overrides, seeds=options.seeds)
    return _private(plan, options) if plan.sweep.private else _open(plan, options)


def _open(plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    # Ray and torch take seconds to import; a mistake in the sweep is reported before that.
    from rich.console import Console

    from ...platform.report.sweep_page import print_sweep, write_sweep
    from ..sweep.runner import sweep

    console = Console(stderr=True)
    result = sweep(plan, only_table=options.only_table, say=lambda text: console.print(text, markup=False))
    files = write_sweep(result, plan.folder)
    print_sweep(result, console)
    print(f"sweep folder: {plan.folder}\npage:         {files[-1]}", file=sys.stderr)
    failed = result.count("failed") + result.count("missing")
    if failed and not options.only_table:
        raise RunFailed(
            f"{failed} of {len(result.points) * len(result.seeds)} trials of the sweep failed",
            why="; ".join(result.troubles)[:1000],
            mend="mend what they say and give the same command again: finished trials are kept",
        )
    return {"folder": str(plan.folder), "files": [str(file) for file in files], **result.to_json()}


def _private(plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    if options.only_table:
        raise BadInput(
            "--only-table: a private search has no table", why="only its best trial is released", mend="leave it out"
        )
    from rich.console import Console

    from ...platform.report.selection_page import print_selection, write_selection
    from ..sweep.private import search

    console = Console(stderr=True)
    result = search(plan, say=lambda text: console.print(text, markup=False))
    files = write_selection(result, plan.folder)
    print_selection(result, console)
    print(f"sweep folder: {plan.folder}\npage:         {files[-1]}", file=sys.stderr)
    return {"folder": str(plan.folder), "files": [str(file) for file in files], **result.to_json()}
