"""What the simulated officer says of a budget: what is spent, never less, and whether its delta promises too little."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.budget import grant, ledger_url, refuse_hopeless
from stillhouse.cluster.config.compose import Resolved, compose
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.events import GaussianEvent


def resolved(root: Path, *changes: str) -> Resolved:
    target = ["privacy.target_epsilon=2", "privacy.target_delta=1e-5"]
    return compose(["method=pate", "data=digits", "privacy=gnmax", f"root={root}", *target, *changes])


def test_what_is_spent_is_rounded_up_and_not_above_the_grant(tmp_path: Path) -> None:
    run, said = resolved(tmp_path), []
    url = ledger_url(run)
    grant(run, url, said.append)
    assert len(said) == 1 and "epsilon 2 at delta 1e-05" in said[0]
    with Ledger(url) as ledger:
        ledger.charge("digits", key="a", event=GaussianEvent(40.0, 2).times(98), purpose="votes")
        spent = ledger.budget("digits").spent_epsilon
    grant(run, url, said.append)
    assert spent == pytest.approx(1.3414, abs=1e-4) and "epsilon 1.35 of 2 at" in said[-1]
    with Ledger(url) as ledger:
        ledger.charge("digits", key="b", event=GaussianEvent(40.0, 2).times(103), purpose="votes")
        spent = ledger.budget("digits").spent_epsilon
    grant(run, url, said.append)
    assert 1.99 < spent < 2 and "epsilon 2 of 2 at" in said[-1]


@pytest.mark.parametrize(
    ("delta", "records", "doubtful"),
    [
        ("1e-5", None, False),
        ("0.01", None, True),
        ("1e-5", 99_999, False),
        ("1e-5", 100_000, True),
        ("1e-3", 1000, True),
    ],
)
def test_a_delta_that_promises_too_little_is_told(
    tmp_path: Path, delta: str, records: int | None, doubtful: bool
) -> None:
    run, said = resolved(tmp_path, f"privacy.target_delta={delta}"), []
    grant(run, ledger_url(run), said.append, records=records)
    assert any("warning: delta" in line for line in said) == doubtful
    assert "granted" in said[-1]


# One answer with sigma 2 costs epsilon 2.943 at delta 1e-5: a Gaussian whose noise is sqrt 2 times its sensitivity, sqrt 2.
@pytest.mark.parametrize(("epsilon", "holds"), [("2.9", False), ("3.1", True)])
def test_a_budget_that_holds_no_answer_is_refused_before_teachers_are_trained(
    tmp_path: Path, epsilon: str, holds: bool
) -> None:
    run = resolved(tmp_path, "privacy.mechanism.sigma=2", f"privacy.target_epsilon={epsilon}")
    url = ledger_url(run)
    grant(run, url, lambda text: None)
    if holds:
        refuse_hopeless(run, url)
        return
    with pytest.raises(BudgetExhausted, match=r"not hold a single answer of gnmax.*No teacher was trained"):
        refuse_hopeless(run, url)
    # Once something was spent, there may be answers that cost nothing.
    with Ledger(url) as ledger:
        ledger.charge("digits", key="a", event=GaussianEvent(40.0, 2), purpose="votes")
    refuse_hopeless(run, url)


def test_checks_are_counted_and_vectors_are_not_votes(tmp_path: Path) -> None:
    confident = "privacy=confident_gnmax"
    run = resolved(tmp_path, confident, "privacy.mechanism.sigma1=0.5", "privacy.mechanism.sigma2=40")
    url = ledger_url(run)
    grant(run, url, lambda text: None)
    with pytest.raises(BudgetExhausted):
        refuse_hopeless(run, url)
    vectors = resolved(tmp_path, confident, "privacy.mechanism.sigma1=0.5", "method=dpsad", "silos=diffusion")
    refuse_hopeless(vectors, url)
