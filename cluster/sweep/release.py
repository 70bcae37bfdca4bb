"""What a private search gives out: the best trial's files under the price of the whole search, or that there is none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...platform.privacy.statement import COVERED, PrivacyStatement, Release
from ...platform.report.html import write_report
from ...platform.report.report import Report
from ...platform.training.files import write_json
from ...platform.training.outcome import Metric, Outcome
from ..config.compose import Resolved, compose
from ..record import add_to_record, write_record
from .plan import Plan
from .price import Price
from .space import Point

BEST, RECORD = "best", "selection.json"


def release(
    plan: Plan,
    price: Price,
    best: tuple[Point, Resolved] | None,
    trouble: str,
    *,
    identity: str,
    position: tuple[int, str],
) -> None:
    """Put the best trial (or why there is none) in its place: whole, or not there. `position`: of the ledger after the charge."""
    home, aside = plan.folder / BEST, plan.folder / f".{BEST}.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    settings = None
    if best is not None:
        point, trial = best
        settings = [list(pair) for pair in point]
        _publish(plan, price, trial, aside, position)
    record: dict[str, Any] = {
        "identity": identity, "event": price.event.to_json(), "settings": settings, "trouble": trouble,
    }  # fmt: skip
    write_json(aside / RECORD, record)
    shutil.rmtree(home, ignore_errors=True)
    aside.rename(home)


def _publish(plan: Plan, price: Price, trial: Resolved, aside: Path, position: tuple[int, str]) -> None:
    """Copy outcome, report and artefacts, under the price of the whole search; nothing that tells of its circumstances."""
    source = trial.folder
    outcome = Outcome.read(source)
    statement = statement_of(outcome.privacy, price)
    figures = {name: metric for name, metric in outcome.metrics.items() if metric.unit != "epsilon"}
    outcome = replace(
        outcome, metrics={**figures, "epsilon": Metric(statement.epsilon, "epsilon", "lower")}, privacy=statement
    )
    outcome.write(aside)
    resolved = compose(trial.overrides).placed(plan.folder, BEST)
    write_record(aside, resolved)
    add_to_record(aside, ledger=position)
    note = "The best trial of a private search. The epsilon is that of the whole search; what this trial alone used up is less."
    report = replace(
        Report.read(source), privacy=statement, spending=None, this_start=(), ledger=position, config=resolved.plain,
    )  # fmt: skip
    for path in dict.fromkeys([*outcome.artefacts.values(), *(picture.path for picture in report.pictures)]):
        (aside / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, aside / path)
    write_report(replace(report, notes=(*report.notes, note)), aside)


def statement_of(trial: PrivacyStatement, price: Price) -> PrivacyStatement:
    """The statement of what a search released; a trial that is not covered stays so."""
    if trial.coverage != COVERED:
        return trial
    release = Release("the best of a secret number of trials", price.event.to_json(), price.search)
    return PrivacyStatement.of_releases(
        price.search, price.delta, releases=[release], neighbouring=price.neighbouring, unit=trial.unit,
        accounting="data-independent, Renyi, private selection (Papernot & Steinke 2022)",
    )  # fmt: skip
