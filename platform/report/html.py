"""The report as one HTML file: styles and drawings inside, no script, no network, readable in ten years.

write_report(report, run.folder)     # report.json and report.html
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from ..training.files import write_text
from . import plots
from .report import STANDINGS, Report, delta_text, epsilon_text, percent, statement_text

HTML_FILE = "report.html"


def render_report(report: Report, folder: Path | None = None) -> str:
    """The whole page. `folder` is where its pictures lie; without it they are left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, epsilon=epsilon_text, statement=statement_text, delta=delta_text)
    released = next((a for a in report.accuracies if a.standing == "released"), None)
    return environment.get_template("template.html").render(
        report=report,
        released=released,
        diagnostic=STANDINGS["diagnostic"],
        plots=plots,
        config=list(_flat(report.config)),
        pictures=[(_embedded(folder / p.path), p.caption) for p in report.pictures] if folder else [],
    )


def write_report(report: Report, folder: Path) -> Path:
    """Write `report.json` and `report.html` into a run's folder; gives the page's path."""
    report.write(folder)
    write_text(folder / HTML_FILE, render_report(report, folder))
    return folder / HTML_FILE


def _embedded(path: Path) -> str:
    """A picture as a data address, so that the page needs no other file."""
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else str(value)
