"""A sweep for people: on a terminal, and as files (JSON, Markdown, CSV, one HTML page in the style of the report).

write_sweep(result, folder)     # sweep.json, sweep.md, sweep.csv, sweep.html
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import jinja2
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..training.files import write_json, write_text
from .comparison import epsilon_range
from .sweep import WITHOUT, Attempt, PointResult, SweepResult
from .sweep_plot import pareto_plot

HERE = Path(__file__).parent
FILES = ("sweep.json", "sweep.md", "sweep.csv", "sweep.html")
SHOWN = 20  # rows on a terminal


def write_sweep(result: SweepResult, folder: Path) -> tuple[Path, ...]:
    """Write all files; gives their paths."""
    json_file, markdown_file, csv_file, html_file = (folder / name for name in FILES)
    write_json(json_file, result.to_json())
    write_text(markdown_file, result.markdown())
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(result.table())
    write_text(csv_file, lines.getvalue())
    write_text(html_file, render_sweep(result))
    return json_file, markdown_file, csv_file, html_file


def render_sweep(result: SweepResult) -> str:
    """The whole page; its styles are those of the report."""
    return page("sweep_template.html", result=result, pareto=pareto_plot, attempt_cells=attempt_cells)


def page(template: str, **names: Any) -> str:
    """A template with the report's styles."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report_page = (HERE / "template.html").read_text(encoding="utf-8")
    style = report_page.partition("<style>")[2].partition("</style>")[0]
    return environment.get_template(template).render(style=style, **names)


def attempt_cells(result: SweepResult, point: PointResult, attempt: Attempt) -> list[str]:
    """One trial's texts: settings, seed, score, epsilon at delta, seconds, and how it went."""
    score = attempt.metric(result.metric)
    state = attempt.state if attempt.state == "done" else WITHOUT[attempt.state]
    told = [state, attempt.trouble] if attempt.state == "failed" else [attempt.trouble or state, *attempt.found]
    return [
        str(point),
        str(attempt.seed),
        "" if score is None else result.shown(score),
        epsilon_range([attempt.outcome]) if attempt.outcome else "",
        "" if attempt.seconds is None else f"{attempt.seconds:,.1f}",
        "; ".join(filter(None, told)),
    ]


def print_sweep(result: SweepResult, console: Console) -> None:
    """Print it."""
    console.print(sweep_table(result))


def sweep_table(result: SweepResult) -> RenderableType:
    """The best rows with their notes, for `console.print`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in result.columns:
        table.add_column(column, no_wrap=column in ("Coverage", "Seconds"), overflow="fold")
    rows = list(zip(result.ranked, result.rows(), strict=True))
    for point, row in rows[:SHOWN]:
        table.add_row(*(Text(cell, "bold" if point is result.best else "") for cell in row))
    parts: list[RenderableType] = [Text(result.title, style="bold"), Text(), table, Text()]
    left = [f"{len(rows) - SHOWN} more points are in {FILES[1]}"] if len(rows) > SHOWN else []
    for lines, style in ((result.troubles[:SHOWN], "bold"), ([*left, *result.notes], "")):
        for line in lines:
            listed = Table.grid(padding=(0, 1))
            listed.add_row("\u2022", Text(line, style))
            parts.append(listed)
    return Padding(Group(*parts), (1, 0))
