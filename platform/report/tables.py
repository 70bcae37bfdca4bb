"""The report on a terminal: what each model got right, and what it cost in privacy.

print_report(report, Console(stderr=True))
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .plots import agreement_sentence
from .report import STANDINGS, Report, Sheet, delta_text, epsilon_text, percent, statement_text

SHOWN_ROWS = 4  # of a table that is cut anyway
SHOWN_COLUMNS = 7


def report_table(report: Report) -> RenderableType:
    """Everything that the page says in figures, for `console.print`."""
    parts: list[RenderableType] = [
        Text(report.title, style="bold"),
        Text(f"{report.method} on {report.data}, seed {report.seed}. {report.protocol}", style="dim"),
        Text(),
        *([_accuracies(report)] if report.accuracies else []),
        *(part for sheet in report.sheets for part in _sheet(sheet)),
        _privacy(report),
    ]
    for line in (*report.this_start, *report.notes):
        grid = Table.grid(padding=(0, 1))
        grid.add_row("\u2022", Text(line))
        parts.append(grid)
    return Padding(Group(*parts), (1, 1))


def print_report(report: Report, console: Console) -> None:
    """Print it."""
    console.print(report_table(report))


def _accuracies(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Model", no_wrap=True)
    table.add_column("Accuracy", no_wrap=True)
    table.add_column("Standing")
    for accuracy in report.accuracies:
        style = "bold" if accuracy.standing == "released" else ""
        value = percent(accuracy.value, accuracy.deviation)
        table.add_row(Text(accuracy.label, style), Text(value, style), Text(report.standing(accuracy), "dim"))
    return table


def _sheet(sheet: Sheet) -> Iterator[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for column in sheet.columns[:SHOWN_COLUMNS]:
        table.add_column(column)
    shown = sheet.rows[:SHOWN_ROWS] if sheet.left_out else sheet.rows
    for row in shown:
        table.add_row(*map(Text, row[:SHOWN_COLUMNS]))
    yield Text(f"\n{sheet.title}", style="bold")
    yield table
    rows, columns = sheet.left_out + len(sheet.rows) - len(shown), len(sheet.columns) - SHOWN_COLUMNS
    more = [f"{rows:,} more rows"] if rows else []
    more += [f"{columns} more columns: {', '.join(sheet.columns[SHOWN_COLUMNS:])}"] if columns > 0 else []
    if more:
        yield Text(f"in the file, and on the page: {'; '.join(more)}", style="dim")


def _privacy(report: Report) -> Table:
    privacy = report.privacy
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    uncovered = privacy.coverage == "uncovered"
    table.add_row("", "")
    table.add_row("Epsilon", Text(f"{statement_text(privacy)} at delta {delta_text(privacy.delta)}", "bold"))
    table.add_row("Neighbours", Text(privacy.neighbouring))
    table.add_row("Unit", Text(privacy.unit))
    table.add_row("Coverage", Text(privacy.coverage, "bold" if uncovered else ""))
    for reason in privacy.reasons:
        table.add_row("", Text(reason))
    if privacy.accounting:
        table.add_row("Accounting", Text(privacy.accounting))
    for release in privacy.releases:
        table.add_row("Released", Text(f"{release.name}, epsilon {epsilon_text(release.epsilon_conversion)} alone"))
    if report.spending is not None:
        spending = report.spending
        table.add_row("Queries", f"{spending.asked:,} asked, {spending.answered:,} answered")
        table.add_row("Spent", _spent(spending.epsilon[-1], spending.cap))
    if report.agreement is not None:
        table.add_row(
            "Agreement", Text.assemble(agreement_sentence(report.agreement), (f" ({STANDINGS['diagnostic']})", "dim"))
        )
    if report.ledger is not None:
        table.add_row("Ledger", Text(f"entry {report.ledger[0]}, head {report.ledger[1][:16]}"))
    table.add_row("", "")
    return table


def _spent(epsilon: float, cap: float | None) -> str:
    spent = f"epsilon {epsilon_text(epsilon)}"
    return spent if cap is None else f"{spent} of a budget of {epsilon_text(cap)}"
