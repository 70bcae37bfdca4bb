"""A vote without a trusted aggregator: each silo adds its noise to its votes, the server charges, adds up, and learns noisy sums.

The order is that of every release: *charge, then ask for what is released*. A charge is keyed by its round. If a round ends before
anybody was asked to reveal shares, nothing can be known of its sum, and the next try goes on with the same charge. After that a charge
is gone, whatever became of the round: a server that stops half-way has paid for the whole.

A check is asked for only where at least one answer would fit too. What it has shown is handed out before answers are asked for, so that
whoever keeps it (`stored`) pays for it once, though the answers fail or do not fit.

Silos see to it themselves that they add the noise that was agreed on, for a mechanism they know. They may keep ledgers of their own:
`VoteContribution` charges it before it adds anything. Then not even a server that opens round after round gets more than that budget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput, BudgetExhausted, RunFailed
from ..ledger import Ledger
from ..privacy.discrete_noise import ShareNoise
from ..privacy.distributed_mechanisms import ANSWER, CHECK, Shared, SharedConfidentGNMax
from ..privacy.events import Event
from ..privacy.mechanisms import ABSTAINED
from ..privacy.statement import epsilon_up
from ..privacy.validate import positive, positive_int
from .carrying import Carrier, conduct
from .checks import Checked, Keep, about_check, known
from .histogram import check_room, decode, encode
from .keys import Identity
from .protocol import Opening, Terms
from .server import Server


@dataclass(frozen=True)
class Request:
    """What a round asks: the noisy histograms of these rows of a batch of queries that is known by its content's hash."""

    content: str
    queries: int
    rows: tuple[int, ...]
    classes: int
    step: str
    mechanism: str  # canonical JSON

    def __post_init__(self) -> None:
        positive_int(queries=self.queries, classes=self.classes)
        if not all(isinstance(text, str) for text in (self.content, self.step, self.mechanism)):
            raise BadInput("a request names content, step and mechanism in words")
        in_order = all(type(row) is int for row in self.rows) and list(self.rows) == sorted(set(self.rows))
        if not in_order or not self.rows or self.rows[0] < 0 or self.rows[-1] >= self.queries or self.classes < 2:
            raise BadInput(
                "a request's rows must be rows of its batch, each once and in order, and its classes two or more"
            )

    @property
    def length(self) -> int:
        """Numbers in a vector."""
        return len(self.rows) * self.classes

    def to_text(self) -> str:
        """As an opening carries it."""
        return canonical({**self.__dict__, "rows": list(self.rows)})

    @classmethod
    def from_text(cls, text: str) -> Request:
        """What `to_text` wrote."""
        try:
            data = json.loads(text)
            return cls(**{**data, "rows": tuple(data["rows"])})
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadInput("a request is malformed") from None


def canonical(data: object) -> str:
    """JSON, the same for equal contents."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


class VoteContribution:
    """A silo's part of a round: its votes for the rows that are asked for, and its share of noise. Give it to a `Member`.

    Args:
        votes: the labels (Q,) int64 of a batch, -1 where the silo abstains, by the hash of its content; it raises if it has none.
        charge: told key and event before anything is added, for a ledger of the silo's own.
    """

    def __init__(
        self,
        votes: Callable[[str], np.ndarray],
        mechanism: Shared,
        *,
        classes: int,
        terms: Terms,
        charge: Callable[[str, Event], object] = lambda key, event: None,
        noise: ShareNoise | None = None,
    ) -> None:
        _agree(mechanism, terms)
        self._votes, self._mechanism, self._classes = votes, mechanism, classes
        self._charge = charge
        self._noise = ShareNoise() if noise is None else noise

    def __call__(self, opening: Opening) -> np.ndarray:
        """The vector to be masked.

        Raises:
            BadInput: the round asks for anything but this mechanism on these classes.
        """
        request = Request.from_text(opening.request)
        share = self._mechanism.shares().get(request.step)
        agreed = request.mechanism == canonical(self._mechanism.to_json()) and request.classes == self._classes
        if share is None or not agreed or request.length != opening.length:
            raise BadInput(
                "a round asks for another mechanism than was agreed on", mend="give server and silos the same settings"
            )
        votes = self._votes(request.content)
        if votes.shape != (request.queries,):
            raise BadInput("a batch has another number of queries than the round says")
        self._charge(opening.round_id.hex(), share.event().times(len(request.rows)))
        noise = share.draw((len(request.rows), request.classes), self._noise)
        return encode(votes[list(request.rows)], classes=request.classes, noise=noise)


@dataclass(frozen=True)
class Elected:
    """What a batch came to: labels (Q,) int64, -1 where the check did not pass; the noisy histograms; who voted; what it cost."""

    labels: np.ndarray
    passed: np.ndarray
    voted: dict[str, int]
    cost_nano_rho: int
    noisy: dict[str, np.ndarray] = field(repr=False)  # by step; a row for each query that was asked in it


class SecureBallot:
    """The server's side: asks the silos of some terms, and charges the data set's ledger first.

    Args:
        seconds: deadline of each step of a round.
        attempts: rounds that may fail before a batch is given up.
    """

    def __init__(
        self,
        ledger: Ledger,
        carrier: Carrier,
        identity: Identity,
        terms: Terms,
        mechanism: Shared,
        *,
        dataset: str,
        ensemble: str,
        classes: int,
        seconds: float = 60.0,
        attempts: int = 2,
    ) -> None:
        positive(seconds=seconds)
        positive_int(classes=classes, attempts=attempts)
        _agree(mechanism, terms)
        self._ledger, self._carrier, self._identity = ledger, carrier, identity
        self._terms, self._mechanism = terms, mechanism
        self.dataset, self.ensemble, self.classes = dataset, ensemble, classes
        self._seconds, self._attempts = seconds, attempts

    @property
    def mechanism(self) -> Shared:
        """What answers are released by."""
        return self._mechanism

    @property
    def ledger(self) -> Ledger:
        """What is charged."""
        return self._ledger

    def ask(
        self,
        content: str,
        queries: int,
        rows: Sequence[int] | None = None,
        *,
        kept: Mapping[int, Checked] | None = None,
        keep: Keep | None = None,
    ) -> Elected:
        """Answer a batch of queries, or these rows of it (ascending); of the others nothing is asked, and they count as not passed.

        Args:
            kept: rows that have passed a check before; they are not checked, nor charged for it, again.
            keep: told about a check before anything more is asked.

        Raises:
            BudgetExhausted: it does not fit into what is left; nothing was asked for in that step. It says what a check has cost.
            RunFailed: too few silos took part. What was charged by then stays charged.
            BadInput: what was kept is of another number of classes.
        """
        positive_int(queries=queries)
        everything = tuple(range(queries)) if rows is None else tuple(rows)
        mechanism, labels = self._mechanism, np.full(queries, ABSTAINED, dtype=np.int64)
        passed = np.zeros(queries, dtype=bool)
        noisy: dict[str, np.ndarray] = {}
        voted: dict[str, int] = {}
        cost, clear, checks, about = 0, everything, dict[int, Checked](), ""
        if isinstance(mechanism, SharedConfidentGNMax):
            checks = known(kept or {}, everything, classes=self.classes)
            fresh = tuple(row for row in everything if row not in checks)
            if fresh:
                self._check_room(mechanism, len(fresh))
                noisy[CHECK], voted[CHECK], cost = self._round(content, queries, fresh, CHECK)
                through = mechanism.passes(noisy[CHECK])
                shown = zip(fresh, noisy[CHECK], through, strict=True)
                new = {row: Checked(counts, voted[CHECK]) for row, counts, passes in shown if passes}
                if keep is not None:
                    keep(new, [row for row in fresh if row not in new])
                checks |= new
            clear = tuple(sorted(checks))
            about = about_check(charged=bool(fresh), cost=cost, kept=keep is not None)
        if clear:
            passed[list(clear)] = True
            noisy[ANSWER], voted[ANSWER], paid = self._answers(content, queries, clear, about)
            cost += paid
            if isinstance(mechanism, SharedConfidentGNMax):
                for row, answer in zip(clear, noisy[ANSWER], strict=True):
                    silos = {"checked_by": checks[row].voted, "answered_by": voted[ANSWER]}
                    labels[row] = mechanism.labels(checks[row].noisy[None], answer[None], **silos)[0]
            else:
                labels[passed] = mechanism.labels(noisy[ANSWER])
        return Elected(labels, passed, voted, cost, noisy)

    def _check_room(self, mechanism: SharedConfidentGNMax, queries: int) -> None:
        """Refuse checks after which not one answer would fit: they would be paid for in vain."""
        if self._ledger.fits(self.dataset, [mechanism.check_event().times(queries), mechanism.answer_event()]):
            return
        budget = self._ledger.budget(self.dataset)
        raise BudgetExhausted(
            f"the budget of data set '{self.dataset}' does not hold the check of {queries} queries and one answer",
            why=f"spent epsilon {epsilon_up(budget.spent_epsilon, digits=6, cap=budget.epsilon)} of {budget.epsilon:g} at "
            f"delta {budget.delta:g} ({budget.neighbouring}). Nothing was asked and nothing was spent",
            mend="ask fewer queries, or ask an officer to grant more (`stillhouse ledger grant`)",
        )

    def _answers(self, content: str, queries: int, rows: tuple[int, ...], about: str) -> tuple[np.ndarray, int, int]:
        """The last round; where there was a check, an error says what became of it."""
        try:
            return self._round(content, queries, rows, ANSWER)
        except BudgetExhausted:
            if not about:
                raise
            fitting = self._ledger.would_fit(self.dataset, self._mechanism.answer_event())
            raise BudgetExhausted(
                f"the budget of data set '{self.dataset}' does not hold the answers of the {len(rows)} queries that passed "
                "the check",
                why=f"it holds {fitting} of them. {about}",
                mend="ask fewer of these queries, or ask an officer to grant more (`stillhouse ledger grant`)",
            ) from None
        except RunFailed as error:
            if not about:
                raise
            raise RunFailed(error.what, why=f"{error.why}. {about}", mend=error.mend) from None

    def _round(self, content: str, queries: int, rows: tuple[int, ...], step: str) -> tuple[np.ndarray, int, int]:
        """Noisy histograms of these rows, over how many silos, and what was charged for them."""
        request = Request(content, queries, rows, self.classes, step, canonical(self._mechanism.to_json()))
        event = self._mechanism.shares()[step].event().times(len(rows))
        paid, charged = 0, False
        for attempt in range(1, self._attempts + 1):
            opening = Opening.new(self._terms, length=request.length, request=request.to_text())
            if not charged:
                self._ledger.charge(
                    self.dataset,
                    key=f"round:{opening.round_id.hex()}",
                    event=event,
                    purpose=f"{self._mechanism.name}: {step} queries",
                    run=f"ensemble {self.ensemble}",
                )
                paid += event.nano_rho() or 0
                charged = True
            server = Server(self._identity, self._terms, opening)
            try:
                total = conduct(server, self._carrier, seconds=self._seconds)
            except RunFailed:
                if attempt == self._attempts:
                    raise
                charged = not server.asked_to_reveal
                continue
            histograms = decode(total.vector, queries=len(rows), classes=self.classes)
            return histograms, len(total.members), paid
        raise AssertionError("unreachable: the last attempt returns or raises")


def _agree(mechanism: Shared, terms: Terms) -> None:
    """See that a round that ends holds the noise that is charged for."""
    for step, share in mechanism.shares().items():
        if share.silos != len(terms.members) or share.least > terms.least or share.colluding < terms.colluding:
            raise BadInput(
                f"the noise of the {step} is made for other terms",
                why=f"it counts on {share.least} of {share.silos} silos and {share.colluding} colluding; rounds end with "
                f"{terms.least} of {len(terms.members)}, and allow for {terms.colluding}",
                mend="give noise and terms the same numbers of silos, lost and colluding ones",
            )
        check_room(silos=share.silos, deviation=share.deviation(share.silos))
