"""`stillhouse compare`: run the arms of a study with the same seeds, show and write the table."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ...platform.errors import BadInput, RunFailed
from ..study.file import find_study
from ..study.plan import make_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", help="a study file, or the name of one in configs/compare")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all arms, for example method.epochs=5")
    parser.add_argument("--seeds", type=seed_numbers, help="these instead of the study's, for example 0,1,2")
    parser.add_argument("--arms", type=_words, help="run only these, for example plain,confident; the table shows all")
    parser.add_argument("--only-table", action="store_true", help="run nothing; compare what there is")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Compare.

    Raises:
        RunFailed: some runs failed; the table was written all the same.
    """
    plan = make_plan(find_study(options.study), options.overrides, seeds=options.seeds, arms=options.arms)
    # Ray and torch take seconds to import; a mistake in the study is reported before that.
    from rich.console import Console

    from ...platform.report.comparison_page import print_comparison, write_comparison
    from ..study.runner import compare

    console = Console(stderr=True)
    comparison = compare(plan, only_table=options.only_table, say=lambda text: console.print(text, markup=False))
    files = write_comparison(comparison, plan.folder)
    print_comparison(comparison, console)
    print(f"study folder: {plan.folder}\ncomparison:   {files[-1]}", file=sys.stderr)
    wanted = {p.arm.name for p in plan.runs if p.wanted}
    tried = [trial for arm in comparison.arms if arm.name in wanted for trial in arm.trials]
    failed = sum(trial.state == "failed" for trial in tried)
    if failed and not options.only_table:
        raise RunFailed(
            f"{failed} of {len(tried)} runs of the study failed",
            why="; ".join(line for line in comparison.troubles)[:1000],
            mend="mend what they say and give the same command again: finished runs are kept",
        )
    return {"folder": str(plan.folder), "files": [str(file) for file in files], **comparison.to_json()}


def seed_numbers(text: str) -> list[int]:
    """Return the seeds that a text such as `0,1,2` names.

    Raises:
        BadInput: it is no list of different whole numbers.
    """
    words = _words(text)
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise BadInput(f"--seeds {text}", why="seeds are different whole numbers from 0", mend="give for example 0,1,2")
    return [int(word) for word in words]


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise BadInput(f"'{text}' is not a list", mend="separate by single commas, for example a,b")
    return words
