"""A comparison for people: on a terminal, and as files (JSON, Markdown, one HTML page in the style of the report).

write_comparison(comparison, folder)     # comparison.json, comparison.md, comparison.csv, comparison.html
"""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

import jinja2
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..training.files import write_json, write_text
from .budget_plot import budget_lines, budget_plot, terms_of
from .chart import COLOURS
from .comparison import Comparison, Trial, epsilon_range
from .comparison_plot import accuracy_dots

HERE = Path(__file__).parent
FILES = ("comparison.json", "comparison.md", "comparison.csv", "comparison.html")


def write_comparison(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write all files; gives their paths."""
    json_file, markdown_file, csv_file, html_file = (folder / name for name in FILES)
    write_json(json_file, comparison.to_json())
    write_text(markdown_file, comparison.markdown())
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(comparison.table())
    write_text(csv_file, lines.getvalue())
    write_text(html_file, render_comparison(comparison))
    return json_file, markdown_file, csv_file, html_file


def render_comparison(comparison: Comparison) -> str:
    """The whole page; its styles are those of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report_page = (HERE / "template.html").read_text(encoding="utf-8")
    return environment.get_template("comparison_template.html").render(
        comparison=comparison,
        style=report_page.partition("<style>")[2].partition("</style>")[0],
        columns=comparison.columns,
        dots=accuracy_dots,
        budgets=budget_lines(comparison),
        over_budget=budget_plot,
        terms_of=terms_of,
        most=len(COLOURS),
        trial_cells=partial(trial_cells, comparison),
    )


def trial_cells(comparison: Comparison, trial: Trial) -> list[str]:
    """One run's texts: its score, epsilon at delta, seconds, and how it went."""
    score = trial.metric(comparison.score)
    state = {"done": "done", "failed": f"failed: {trial.trouble}", "missing": "not run yet"}[trial.state]
    return [
        "" if score is None else comparison.shown(comparison.score, score),
        epsilon_range([trial.outcome]) if trial.outcome else "",
        "" if trial.seconds is None else f"{trial.seconds:,.1f}",
        "; ".join([state, *trial.found]),
    ]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print it."""
    console.print(comparison_table(comparison))


def comparison_table(comparison: Comparison) -> RenderableType:
    """The table with its notes, for `console.print`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in comparison.columns:
        # On narrow terminals lines break, but no figure is cut off.
        table.add_column(column, no_wrap=column in ("Runs", "Difference", "Coverage", "Seconds"), overflow="fold")
    for arm, row in zip(comparison.arms, comparison.rows(), strict=True):
        style = "bold" if arm.name == comparison.reference else ""
        table.add_row(*(Text(cell, style) for cell in row))
    parts: list[RenderableType] = [Text(comparison.title, style="bold"), Text(), table, Text()]
    for lines, style in ((comparison.troubles, "bold"), (comparison.notes, "")):
        for line in lines:
            grid = Table.grid(padding=(0, 1))
            grid.add_row("\u2022", Text(line, style))
            parts.append(grid)
    return Padding(Group(*parts), (1, 0))
