"""What goes into the ledger and what comes out, and the checks on the way in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput, BudgetExhausted, LedgerDoubt
from ..privacy.budget import LARGEST_AMOUNT, BudgetKind, budget_cap, event_cost, spent_epsilon
from ..privacy.events import Event, event_from_json
from ..privacy.neighbours import EVERY_RELATION, in_full, relation_of
from .books import Account, Terms
from .chain import canonical_json


@dataclass(frozen=True)
class Charge:
    """One thing to be paid for. The key makes a retry the same charge."""

    dataset: str
    key: str
    event: Event
    purpose: str
    run: str = ""


@dataclass(frozen=True)
class Receipt:
    """Proof of a durable charge; `replayed` when the key was already paid for, so nothing was added."""

    seq: int
    key: str
    cost: tuple[int, ...]
    replayed: bool
    spent_after: tuple[int, ...]


@dataclass(frozen=True)
class Budget:
    """The state of one data set. Amounts are billionths: of rho, or of the Renyi bound at each order."""

    dataset: str
    epsilon: float
    delta: float
    kind: BudgetKind
    orders: tuple[float, ...]
    cap: tuple[int, ...]
    spent: tuple[int, ...]
    entries: int
    neighbouring: str

    @property
    def remaining(self) -> tuple[int, ...]:
        """What is left under the cap."""
        return tuple(map(int.__sub__, self.cap, self.spent))

    @property
    def spent_epsilon(self) -> float:
        """The total as an epsilon at `delta`."""
        return spent_epsilon(self.kind, self.spent, delta=self.delta, orders=self.orders)


@dataclass(frozen=True)
class Verification:
    """What a full reading of the ledger found."""

    ok: bool
    entries: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A charge that passed all checks that need no database."""

    charge: Charge
    event: Event
    content: dict[str, Any]
    body: str


def name(**values: object) -> None:
    """Each value is a printable text of at most 500 characters that has one spelling only.

    Two names that look alike but differ in invisible ways would be two budgets for one data set.
    """
    for keyword, value in values.items():
        if not isinstance(value, str) or not value or len(value) > 500:
            raise BadInput(f"{keyword} must be a text of 1 to 500 characters")
        if not value.isprintable() or value != value.strip() or unicodedata.normalize("NFC", value) != value:
            raise BadInput(
                f"{keyword} must be plain printable text",
                why="control characters, outer spaces and unusual encodings make names that only look the same",
            )


def prepare(charge: Charge) -> Prepared:
    """Check a charge and fix the text that will be kept of it."""
    name(dataset=charge.dataset, key=charge.key, purpose=charge.purpose)
    if charge.run:
        name(run=charge.run)
    try:
        data = charge.event.to_json()
        # The price is taken from what the entry will say, never from the object that was handed in.
        event = event_from_json(data)
    except (BadInput, AttributeError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, BadInput) else "it has no JSON form"
        raise LedgerDoubt("the event cannot be kept in the ledger", why=why, mend="use a known kind of event") from None
    if event != charge.event:
        raise LedgerDoubt(
            "the event is not the one that its JSON form describes", mend="use the event types of platform.privacy"
        )
    content = {"event": data, "purpose": charge.purpose, "run": charge.run}
    return Prepared(charge, event, content, canonical_json(content))


def price(terms: Terms, event: Event) -> tuple[int, ...]:
    """The cost under these terms.

    Raises:
        BadInput: the budget's filter or its neighbouring relation is not one that the event's cost is proven for, or the
            cost is larger than any budget.
        LedgerDoubt: the cost is anything but positive whole numbers.
    """
    cost = event_cost(terms.kind, event, orders=terms.orders)
    relation = relation_of(terms.neighbouring)
    # Words of an older ledger that name no known relation: only what holds under all of them is safe to charge.
    if not event.relations >= (EVERY_RELATION if relation is None else {relation}):
        holds = " or ".join(sorted(event.relations))
        raise BadInput(
            f"a {type(event).__name__} does not fit a budget with these neighbours: {terms.neighbouring}",
            why=f"its cost is proven for {holds} only, and an epsilon for one relation says nothing for another",
            mend=f"grant the data set a budget with --neighbouring {holds} (its first grant fixes the relation)",
        )
    if len(cost) != len(terms.cap) or any(type(c) is not int or c < 1 for c in cost):
        raise LedgerDoubt(
            "the event has no sound cost",
            why="a cost is a whole number of at least 1 at every order of the budget",
            mend="check the size of the noise",
        )
    if max(cost) > LARGEST_AMOUNT:
        raise BadInput(
            f"a {type(event).__name__} with so little noise costs more than any budget holds",
            why="an amount is at most 2^63 - 1 billionths",
            mend="raise the noise, or ask for less",
        )
    return cost


def terms_of_grant(
    *,
    epsilon: float,
    delta: float,
    kind: BudgetKind,
    orders: Sequence[float],
    neighbouring: str,
    by: str,
) -> Terms:
    """The terms of a new grant, with its cap in whole numbers and its neighbouring relation in full.

    Raises:
        BadInput: a setting is wrong, or no ledger can hold the cap of this epsilon.
    """
    name(neighbouring=neighbouring, by=by)
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)
    if any(type(c) is not int or not 0 <= c <= LARGEST_AMOUNT for c in cap):
        raise LedgerDoubt("the budget has no sound cap", why="a cap is a whole number of at most 2^63 - 1")
    grid = tuple(float(order) for order in orders)
    return Terms(float(epsilon), float(delta), BudgetKind(kind), grid, cap, in_full(neighbouring), by)


def no_budget(dataset: str) -> BadInput:
    """There is no grant for this data set."""
    return BadInput(
        f"data set {dataset!r} has no budget",
        why="nobody granted one in this ledger",
        mend="ask an officer to grant one (`stillhouse ledger grant`)",
    )


def exhausted(dataset: str, account: Account, asked: tuple[int, ...]) -> BudgetExhausted:
    """The refusal of a charge, with all amounts as epsilons."""
    terms = account.terms
    left = tuple(map(int.__sub__, terms.cap, account.spent))

    def alone(amounts: tuple[int, ...]) -> float:
        return spent_epsilon(terms.kind, amounts, delta=terms.delta, orders=terms.orders)

    return BudgetExhausted(
        f"the charge does not fit the budget of data set {dataset!r}",
        why=f"asked {alone(asked):.6g}, left {alone(left):.6g}, cap {terms.epsilon:.6g} (epsilon at delta "
        f"{terms.delta:g}, {terms.neighbouring}; each amount by itself, since epsilons do not simply add); "
        f"spent so far {alone(account.spent):.6g}. Nothing was drawn and nothing was spent",
        mend="ask for less, or ask an officer to grant a larger budget (`stillhouse ledger grant`)",
    )
