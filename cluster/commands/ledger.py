"""`stillhouse ledger show|verify|grant`: what was spent on which data set, is the record intact, what may be spent."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ...platform.errors import BadInput, LedgerDoubt
from ...platform.ledger.ledger import Ledger
from ...platform.ledger.records import Budget
from ...platform.privacy.budget import BudgetKind, budget_cap
from ...platform.privacy.neighbours import Relation
from ...platform.privacy.statement import doubtful_delta, epsilon_up

DEFAULT_URL = "sqlite:///runs/ledger.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=["show", "verify", "grant"])
    parser.add_argument("dataset", nargs="?", help="the data set (needed for grant; show: only this one)")
    parser.add_argument("--ledger", default=DEFAULT_URL, help=f"database URL or SQLite file (default {DEFAULT_URL})")
    parser.add_argument("--high-water", type=Path, help="the ledger's high-water mark, if not beside the database")
    parser.add_argument("--epsilon", type=float, help="grant: the cap")
    parser.add_argument("--delta", type=float, help="grant: the delta the cap is for")
    parser.add_argument(
        "--kind", choices=[k.value for k in BudgetKind], default="gaussian", help="grant: how spending is summed"
    )
    parser.add_argument(
        "--orders", type=float, nargs="*", default=[], help="grant --kind rdp: the Renyi orders, fixed for good"
    )
    parser.add_argument(
        "--neighbouring",
        choices=[r.value for r in Relation],
        default=Relation.REPLACE_ONE.value,
        help="grant: which two data sets epsilon tells apart, fixed for good; DP-SGD needs add-or-remove-one",
    )
    parser.add_argument("--by", help="grant: who grants")


def ledger_url(text: str) -> str:
    """Return a database URL; a plain path means SQLite.

    >>> ledger_url("budget.db")
    'sqlite:///budget.db'
    """
    return text if "://" in text else f"sqlite:///{text}"


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Show, verify or grant."""
    url = ledger_url(options.ledger)
    file = Path(url.removeprefix("sqlite:///"))
    if options.action != "grant" and url.startswith("sqlite:///") and not file.exists():
        raise BadInput(f"there is no ledger {file}", mend="give its place with --ledger; the first grant makes one")
    if options.action == "grant":
        _check_grant(options)
    ledger = Ledger(url, high_water=options.high_water)
    try:
        return {"show": _show, "verify": _verify, "grant": _grant}[options.action](ledger, options)
    finally:
        ledger.close()


def _show(ledger: Ledger, options: argparse.Namespace) -> dict[str, Any]:
    names = [options.dataset] if options.dataset else ledger.datasets()
    budgets = [ledger.budget(name) for name in names]
    if not options.json:
        console = Console()
        table = Table(title="Privacy budgets")
        for column in ("data set", "spent epsilon", "cap epsilon", "delta", "summed as", "entries"):
            table.add_column(column)
        for b in budgets:
            table.add_row(
                b.dataset,
                epsilon_up(b.spent_epsilon, cap=b.epsilon),
                epsilon_up(b.epsilon, digits=6),
                f"{b.delta:g}",
                b.kind.value,
                str(b.entries),
            )
        console.print(table)
        for b in budgets:
            console.print(f"neighbours of {b.dataset}: {b.neighbouring}")
        entries = Table(title="Entries")
        for column in ("no.", "data set", "entry", "what", "run", "cost", "hash"):
            entries.add_column(column, no_wrap=column in ("no.", "cost", "hash"))
        for e in ledger.entries(options.dataset):
            said = e.content
            what = said.get("purpose") or f"epsilon {said['epsilon']:g} at delta {said['delta']:g}, by {said['by']}"
            entries.add_row(str(e.seq), e.dataset, e.what, what, said.get("run", ""), _cost(e.costs), e.hash[:8])
        console.print(entries)
    return {
        "budgets": [_budget_json(b) for b in budgets],
        "entries": [{**e._asdict(), "body": e.content} for e in ledger.entries(options.dataset)],
    }


def _cost(amounts: tuple[int, ...]) -> str:
    """Return billionths as people read them: one rho, or the ends of a Renyi curve.

    >>> _cost((1_500_000_000,)), _cost((2_000_000_000, 3_000_000_000, 8_000_000_000)), _cost((0,))
    ('rho 1.5', 'RDP 2 to 8', '')
    """
    if not any(amounts):
        return ""
    ends = [f"{amount / 1e9:.4g}" for amount in (amounts[0], amounts[-1])]
    return f"rho {ends[0]}" if len(amounts) == 1 else f"RDP {' to '.join(ends)}"


def _verify(ledger: Ledger, options: argparse.Namespace) -> dict[str, Any]:
    found = ledger.verify()
    if not found.ok:
        raise LedgerDoubt(
            "the ledger was altered or damaged",
            why="; ".join(found.problems),
            mend="compare it with a backup and its high-water mark; charge nothing until it is understood",
        )
    sequence, head = ledger.position()
    print(f"intact: {found.entries} entries, head {head}", file=sys.stderr)
    return {"ok": True, "entries": found.entries, "position": sequence, "head": head}


def _check_grant(options: argparse.Namespace) -> None:
    """Refuse what cannot be granted before there is a ledger: a mistake must not leave an empty one behind."""
    missing = [f"--{name}" for name in ("epsilon", "delta", "by") if getattr(options, name) is None]
    if options.dataset is None:
        missing.insert(0, "the data set's name")
    if missing:
        raise BadInput(
            f"grant needs {', '.join(missing)}",
            mend="stillhouse ledger grant NAME --epsilon 2 --delta 1e-5 --by OFFICER",
        )
    budget_cap(BudgetKind(options.kind), epsilon=options.epsilon, delta=options.delta, orders=options.orders)


def _grant(ledger: Ledger, options: argparse.Namespace) -> dict[str, Any]:
    doubt = doubtful_delta(options.delta)
    if doubt:
        print(f"warning: {doubt}", file=sys.stderr)
    budget = ledger.grant(
        options.dataset,
        epsilon=options.epsilon,
        delta=options.delta,
        kind=BudgetKind(options.kind),
        orders=tuple(options.orders),
        neighbouring=options.neighbouring,
        by=options.by,
    )
    print(
        f"'{budget.dataset}' may spend epsilon {budget.epsilon:g} at delta {budget.delta:g} ({budget.neighbouring})",
        file=sys.stderr,
    )
    return _budget_json(budget)


def _budget_json(budget: Budget) -> dict[str, Any]:
    return {**asdict(budget), "kind": budget.kind.value, "spent_epsilon": budget.spent_epsilon}
