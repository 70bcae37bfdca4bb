"""A private search for people: on a terminal, and as files (JSON, Markdown, HTML in the style of the report).

write_selection(result, folder)     # sweep.json, sweep.md, sweep.html
"""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..training.files import write_json, write_text
from .selection import COLUMNS, SelectionResult
from .sweep_page import page

FILES = ("sweep.json", "sweep.md", "sweep.html")


def write_selection(result: SelectionResult, folder: Path) -> tuple[Path, ...]:
    """Write all three files; gives their paths."""
    json_file, markdown_file, html_file = (folder / name for name in FILES)
    write_json(json_file, result.to_json())
    write_text(markdown_file, result.markdown())
    write_text(html_file, render_selection(result))
    return json_file, markdown_file, html_file


def render_selection(result: SelectionResult) -> str:
    """The whole page; its styles are those of the report."""
    return page("selection_template.html", result=result, columns=COLUMNS)


def print_selection(result: SelectionResult, console: Console) -> None:
    """Print it."""
    console.print(selection_table(result))


def selection_table(result: SelectionResult) -> RenderableType:
    """The prices with their notes, for `console.print`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for number, row in enumerate(result.rows()):
        table.add_row(*(Text(cell, "bold" if number == 1 else "") for cell in row))
    parts: list[RenderableType] = [Text(result.title, style="bold"), Text(result.released), Text(), table, Text()]
    for note in result.notes:
        listed = Table.grid(padding=(0, 1))
        listed.add_row("\u2022", Text(note))
        parts.append(listed)
    return Padding(Group(*parts), (1, 0))
