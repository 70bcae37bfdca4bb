"""What a PATE student's labels cost, from what was asked and answered; never from the votes."""

from __future__ import annotations

from ...platform.privacy.accounting import plan_epsilon
from ...platform.privacy.events import Event
from ...platform.privacy.mechanisms import Mechanism
from ...platform.privacy.statement import PrivacyStatement, Release


def label_events(mechanism: Mechanism, *, asked: int, answered: int) -> list[tuple[str, Event]]:
    """Return the charged events of a run: the check for every query asked, the answer for every query answered."""
    check = mechanism.check_event()
    events = [] if check is None or not asked else [("threshold check of every query asked", check.times(asked))]
    return (
        [*events, ("noisy label of every query answered", mechanism.answer_event().times(answered))]
        if answered
        else events
    )


def label_statement(mechanism: Mechanism, *, asked: int, answered: int, delta: float) -> PrivacyStatement:
    """Return the statement for everything computed from these labels and public data.

    Answers that came from the store count as if they had been bought now: the student learnt from them all the same.
    """
    named = label_events(mechanism, asked=asked, answered=answered)
    events = [event for _, event in named]
    exact = all(event.gaussian for event in events)
    releases = [Release(name, event.to_json(), plan_epsilon([event], delta)) for name, event in named]
    return PrivacyStatement.of_releases(
        plan_epsilon(events, delta), delta, releases=releases,
        accounting="data-independent, " + ("exact conversion of a Gaussian plan" if exact else "Renyi, tight conversion"),
    )  # fmt: skip
