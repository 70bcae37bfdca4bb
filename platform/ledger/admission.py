"""Who may spend: the decision about charges and grants, made on the books alone, before anything is written.

The functions take a copy of the books and return what to say and what to write. What they write is added to that
copy, so every new entry passes the same checks that a later reader will make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import BadInput, InternalBug
from ..privacy.neighbours import Relation, relation_of
from .books import Account, Books, Terms
from .chain import CHARGE, GRANT, Entry, canonical_json, encode_amounts, sealed
from .records import Prepared, Receipt, exhausted, no_budget, price


def admit_grant(books: Books, dataset: str, terms: Terms, time: str) -> Entry:
    """The entry of a grant; refused if it changes fixed terms or would fall below what was spent.

    A first grant names a known neighbouring relation; a later one repeats the first, in an old ledger whatever it says.
    """
    before = books.accounts.get(dataset)
    if before is None and relation_of(terms.neighbouring) is None:
        raise BadInput(
            f"unknown neighbouring relation {terms.neighbouring!r}",
            why=f"known ones are {', '.join(Relation)}",
            mend="grant with one of these, so that the ledger can tell which events the budget may hold",
        )
    spent = before.spent if before else (0,) * len(terms.cap)
    if before and terms.fixed() != before.terms.fixed():
        raise BadInput(
            f"data set {dataset!r} already has a budget on other terms",
            why="delta, kind, orders and neighbouring relation stay as first granted",
            mend="grant again with the same terms and another epsilon",
        )
    if any(map(int.__gt__, spent, terms.cap)):
        raise BadInput(
            f"epsilon {terms.epsilon} is below what was already spent on data set {dataset!r}",
            mend="grant at least what was spent",
        )
    nothing = (0,) * len(spent)
    return _append(books, time, dataset, GRANT, None, canonical_json(terms.to_json()), nothing, spent)


def admit_charges(
    books: Books, charges: Sequence[Prepared], earlier: Mapping[str, Entry], time: str
) -> tuple[list[Receipt], list[Entry]]:
    """Receipts for all charges and the entries to write; `earlier` holds the entries of keys already paid for.

    All or nothing: if the new charges of one data set together do not fit, none is admitted.
    """
    costs: dict[str, tuple[int, ...]] = {}
    asked: dict[str, tuple[int, ...]] = {}
    for prepared in charges:
        dataset, key = prepared.charge.dataset, prepared.charge.key
        account = account_of(books, dataset)
        if key not in earlier and key not in costs:
            costs[key] = price(account.terms, prepared.event)
            asked[dataset] = tuple(map(int.__add__, asked.get(dataset, (0,) * len(costs[key])), costs[key]))
    for dataset, amounts in asked.items():
        account = account_of(books, dataset)
        if not fits(account, [amounts]):
            raise exhausted(dataset, account, amounts)

    paid, receipts, fresh = dict(earlier), [], []
    for prepared in charges:
        dataset, key = prepared.charge.dataset, prepared.charge.key
        if key in paid:
            receipts.append(_replay(prepared, paid[key]))
            continue
        spent = tuple(map(int.__add__, account_of(books, dataset).spent, costs[key]))
        entry = _append(books, time, dataset, CHARGE, key, prepared.body, costs[key], spent)
        paid[key] = entry
        fresh.append(entry)
        receipts.append(Receipt(entry.seq, key, costs[key], False, spent))
    return receipts, fresh


def fits(account: Account, costs: Iterable[tuple[int, ...]]) -> bool:
    """Whether all these costs together stay under the cap."""
    total = map(sum, zip(account.spent, *costs, strict=True))
    return not any(map(int.__gt__, total, account.terms.cap))


def account_of(books: Books, dataset: str) -> Account:
    """The data set's account, which a grant must have opened."""
    account = books.accounts.get(dataset)
    if account is None:
        raise no_budget(dataset)
    return account


def _append(
    books: Books,
    time: str,
    dataset: str,
    what: str,
    key: str | None,
    body: str,
    cost: tuple[int, ...],
    spent: tuple[int, ...],
) -> Entry:
    seq = books.seq + 1
    grant_seq = seq if what == GRANT else account_of(books, dataset).grant_seq
    entry = sealed(
        Entry(
            seq, time, dataset, what, key, body, encode_amounts(cost), encode_amounts(spent), grant_seq, books.head, ""
        )
    )
    problem = books.add(entry)
    if problem is not None:
        raise InternalBug("the ledger would not accept its own entry", why=problem)
    return entry


def _replay(prepared: Prepared, entry: Entry) -> Receipt:
    """The receipt of the earlier charge. Who runs the retry (`run`) may differ; what is paid for may not."""
    then, now = entry.content, prepared.content
    same = entry.dataset == prepared.charge.dataset and all(then[part] == now[part] for part in ("event", "purpose"))
    if not same:
        raise BadInput(
            f"the key of entry {entry.seq} was used for another charge",
            why="a key stands for one event, purpose and data set",
            mend="use a new key for a new charge",
        )
    return Receipt(entry.seq, prepared.charge.key, entry.costs, True, entry.spent_after)
