"""The budget that a simulated privacy officer grants a data set, on the terms that the method's accounting needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..methods.transfer import BudgetTerms
from ..platform.errors import BadInput, BudgetExhausted
from ..platform.ledger.ledger import Ledger
from ..platform.ledger.records import Budget
from ..platform.privacy.budget import BudgetKind
from ..platform.privacy.statement import REPLACE_ONE, doubtful_delta, epsilon_up
from ..platform.silo.teachers import VOTES
from .config.compose import Resolved


def ledger_url(resolved: Resolved) -> str:
    """Where the ledger lies: as configured, else in the run root."""
    return resolved.config.privacy.ledger or f"sqlite:///{Path(resolved.config.root).resolve() / 'ledger.db'}"


def charges(resolved: Resolved) -> bool:
    """Whether the method charges a ledger at all; one that promises no epsilon does not."""
    return bool(getattr(resolved.method, "charges", True))


def budget_terms(resolved: Resolved) -> BudgetTerms:
    """Return kind, orders and neighbouring relation: as configured, else as the method says, else those of plain votes."""
    privacy = resolved.config.privacy
    of_method = getattr(resolved.method, "budget_terms", None)
    needed: BudgetTerms | None = (
        of_method(epsilon=privacy.target_epsilon, delta=privacy.target_delta) if of_method is not None else None
    )
    if needed is not None:
        return needed
    # Noise in shares has no exact Gaussian conversion.
    usual = BudgetKind.ZCDP if resolved.config.silos.secure else BudgetKind.GAUSSIAN
    kind = BudgetKind(privacy.kind) if privacy.kind else usual
    return BudgetTerms(kind, tuple(privacy.orders), REPLACE_ONE)


def grant(
    resolved: Resolved,
    url: str,
    say: Callable[[str], None],
    *,
    epsilon: float | None = None,
    terms: BudgetTerms | None = None,
    records: int | None = None,
) -> None:
    """Grant the configured budget (or `epsilon`, on `terms`) if the data set has none; a delta too large for so many records is told.

    Raises:
        BadInput: it has one, on terms that this method's accounting cannot use.
    """
    privacy, dataset = resolved.config.privacy, resolved.config.data.name
    terms = terms or budget_terms(resolved)
    doubt = doubtful_delta(privacy.target_delta, records=records)
    if doubt:
        say(f"warning: {doubt}")
    Path(resolved.config.root).mkdir(parents=True, exist_ok=True)
    with Ledger(url, high_water=Path(privacy.high_water) if privacy.high_water else None) as ledger:
        if dataset in ledger.datasets():
            budget = ledger.budget(dataset)
            spent = epsilon_up(budget.spent_epsilon, digits=3, cap=budget.epsilon)
            say(f"budget of '{dataset}': epsilon {spent} of {in_words(budget)} spent")
            if terms.neighbouring != REPLACE_ONE and budget.neighbouring != terms.neighbouring:
                raise BadInput(
                    f"the budget of '{dataset}' is about: {budget.neighbouring}",
                    why=f"this method's accounting is about: {terms.neighbouring}; an epsilon for one says nothing of the other",
                    mend="give the run another root= or privacy.ledger= (in a simulation), or another method.coverage",
                )
            if (budget.epsilon, budget.delta) != (privacy.target_epsilon, privacy.target_delta) and epsilon is None:
                say("that grant stands, whatever privacy.target_epsilon says: `stillhouse ledger grant` changes it")
            return
        granted = ledger.grant(
            dataset,
            epsilon=privacy.target_epsilon if epsilon is None else epsilon,
            delta=privacy.target_delta,
            kind=terms.kind,
            orders=terms.orders,
            neighbouring=terms.neighbouring,
            by="simulation",
        )
        say(f"budget of '{dataset}': epsilon {in_words(granted)} granted (simulated officer)")


def refuse_hopeless(resolved: Resolved, url: str) -> None:
    """Refuse votes of which not one fits into a budget of which nothing is spent, before teachers are trained for them.

    Where something is spent there may be answers in the store, which cost nothing: there the aggregator decides, as it always does.

    Raises:
        BudgetExhausted: no answer fits.
    """
    privacy, dataset, mechanism = resolved.config.privacy, resolved.config.data.name, resolved.mechanism
    if getattr(resolved.method, "wants", VOTES) != VOTES:
        return
    with Ledger(url, high_water=Path(privacy.high_water) if privacy.high_water else None) as ledger:
        budget = ledger.budget(dataset)
        one = [event for event in (mechanism.check_event(), mechanism.answer_event()) if event is not None]
        if any(budget.spent) or ledger.fits(dataset, one):
            return
    raise BudgetExhausted(
        f"the budget of data set '{dataset}' does not hold a single answer of {mechanism.name}",
        why=f"it is epsilon {in_words(budget)}. No teacher was trained, nothing was drawn and nothing was spent",
        mend="ask with more noise (privacy.mechanism), or grant more (`stillhouse ledger grant`)",
    )


def in_words(budget: Budget) -> str:
    """Its terms for people."""
    return f"{epsilon_up(budget.epsilon, digits=6)} at delta {budget.delta:g} ({budget.neighbouring})"
