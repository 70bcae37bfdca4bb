"""The private search: charge, draw, run, release the best, delete the rest. Ray is replaced by calls in this process."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stillhouse.cluster.config.compose import Resolved
from stillhouse.cluster.record import write_record
from stillhouse.cluster.sweep import private
from stillhouse.cluster.sweep.plan import Plan, make_plan
from stillhouse.cluster.sweep.price import price_of
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap
from stillhouse.platform.privacy.selection import (
    SelectionEvent,
    ZcdpEvent,
    best_order,
    selection_epsilon,
    selection_event,
)
from stillhouse.platform.privacy.statement import PrivacyStatement, uncovered
from stillhouse.platform.privacy.trials import TruncatedNegativeBinomial
from stillhouse.platform.report.html import write_report
from stillhouse.platform.report.report import Accuracy, Report, epsilon_text
from stillhouse.platform.training.outcome import Metric, Outcome

Write = Callable[..., Path]
TEXT = """
title: A private search
common: [data=digits, method=pate, privacy=gnmax, privacy.target_delta=1e-4, privacy.target_epsilon=2, diagnostics=false]
space: {method.epochs: [1, 2, 3]}
private: {mean: 3, shape: 1}
"""
RELEASED = {
    "outcome.json", "report.json", "report.html", "run.json", "config.yaml", "selection.json", "student.safetensors",
}  # fmt: skip
STATEMENT = PrivacyStatement(1.9, 1e-4)


class Trials:
    """Stands for the trials' processes: writes what a run leaves, scores by `score`, remembers what was asked of it."""

    def __init__(self) -> None:
        self.made: list[Resolved] = []
        self.score: Callable[[int, Resolved], float | None] = lambda number, resolved: resolved.method.epochs / 10
        self.privacy = STATEMENT
        self.before: Callable[[], None] = lambda: None

    def __call__(self, resolved: Resolved, metric: str, threads: int, here: Path) -> tuple[float | None, str]:
        self.before()
        number = len(self.made)
        self.made.append(resolved)
        score = self.score(number, resolved)
        if score is None:
            return None, "none of 40 queries was answered"
        folder = resolved.folder
        write_record(folder, resolved)
        (folder / "student.safetensors").write_bytes(f"{number}".encode())
        (folder / "secret-stage").write_text("stays here")
        figures = {
            metric: Metric(score, "fraction", "higher"),
            "epsilon": Metric(1.9, "epsilon"),
            "ledger_epsilon": Metric(1.8, "epsilon"),
        }
        Outcome("pate", figures, self.privacy, {"student": "student.safetensors"}).write(folder)
        report = Report(
            "PATE on digits", "pate", "digits", "split", (Accuracy("student", 0.5, "released"),), self.privacy, 0,
            this_start=("this start moved the data set to 1.8",), ledger=(9, "own ledger"),
        )  # fmt: skip
        write_report(report, folder)
        return score, ""


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Replace Ray in the search. What is started last ends first, so that order of drawing and of ending differ."""
    made = Trials()

    def wait(running: list[Any]) -> tuple[list[Any], list[Any]]:
        return [running[-1]], running[:-1]

    remote = lambda **options: lambda work: SimpleNamespace(remote=lambda *words: (object(), made(*words)))
    stand_in = SimpleNamespace(
        remote=remote, wait=wait, get=lambda reference: reference[1], cluster_resources=lambda: {"CPU": 2},
        exceptions=private.ray.exceptions,
    )  # fmt: skip
    monkeypatch.setattr(private, "ray", stand_in)
    monkeypatch.setattr(private, "ray_session", no_session)
    return made


@contextmanager
def no_session(**options: Any) -> Iterator[None]:
    yield


def planned(path: Path, *words: str) -> Plan:
    return make_plan(path, [f"root={path.parent}", *words])


def search(plan: Plan) -> tuple[Any, list[str]]:
    said: list[str] = []
    return private.search(plan, say=said.append), said


def draw(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(TruncatedNegativeBinomial, "draw", lambda law: number)


def entries(plan: Plan) -> list[Any]:
    with Ledger(f"sqlite:///{plan.folder / 'ledger.db'}") as ledger:
        return [entry for entry in ledger.entries("digits") if entry.key]


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_best_is_released_under_the_price_of_the_search(sweep_file: Write, trials: Trials) -> None:
    plan = planned(sweep_file(TEXT))
    result, _ = search(plan)
    best = max(resolved.method.epochs for resolved in trials.made)
    assert dict(result.settings) == {"method.epochs": best} and result.outcome is not None
    home = plan.folder / "best"
    outcome = Outcome.read(home)
    assert outcome.metrics["student_accuracy"].value == best / 10
    # One epsilon, that of the search; the trial's own figures of it are gone.
    epsilon = outcome.privacy.epsilon
    assert epsilon == outcome.metrics["epsilon"].value == result.epsilon > 2 and "ledger_epsilon" not in outcome.metrics
    report = Report.read(home)
    assert report.privacy == outcome.privacy and not report.this_start and report.ledger != (9, "own ledger")
    assert "own ledger" not in (home / "report.html").read_text() + (home / "run.json").read_text()
    assert {p.name for p in home.iterdir()} == RELEASED


def test_the_price_is_the_theorems_for_a_run_that_uses_up_its_budget(sweep_file: Write, trials: Trials) -> None:
    plan = planned(sweep_file(TEXT))
    price = price_of(plan)
    cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=2.0, delta=1e-4)[0]
    rho = cap / 1e9
    # By hand, shape 1 and mean 3 (gamma 1/3): eps(a) + 2 min_b[(1 - 1/b) rho b + ln 3 / b] + ln 3 / (a - 1), then the conversion.
    best_pair = min((1 - 1 / b) * rho * b + math.log(3) / b for b in (1 + n / 1000 for n in range(1, 60_000)))
    curve = {a: rho * a + 2 * best_pair + math.log(3) / (a - 1) for a in (1 + n / 100 for n in range(1, 20_000))}
    by_hand = min(e + math.log1p(-1 / a) - (math.log(1e-4) + math.log(a)) / (a - 1) for a, e in curve.items())
    assert by_hand <= price.search <= 1.02 * by_hand
    assert isinstance(price.event.base, ZcdpEvent) and price.run == 2.0
    # Two trials cost more than one and plain composition of three is exact: the epsilon of three times the cap.
    assert price.search > 2.0 and price.plain > 2.0


def test_the_search_is_charged_once_before_its_number_is_drawn(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, seen = planned(sweep_file(TEXT)), list[int]()

    def draw_and_look(law: TruncatedNegativeBinomial) -> int:
        seen.append(len(entries(plan)))
        return 4

    monkeypatch.setattr(TruncatedNegativeBinomial, "draw", draw_and_look)
    result, _ = search(plan)
    assert seen == [1] and len(entries(plan)) == 1 and len(trials.made) == 4
    event = json.loads(entries(plan)[0].body)["event"]
    assert event["kind"] == "selection" and event["mean"] == 3.0 and event["shape"] == 1.0
    assert (
        SelectionEvent(price_of(plan).event.base, 3.0, 1.0, orders=price_of(plan).event.orders) == price_of(plan).event
    )
    with Ledger(f"sqlite:///{plan.folder / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").spent_epsilon == pytest.approx(result.epsilon)


def test_every_trial_draws_anew_and_runs_on_a_ledger_of_its_own(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 60)
    plan = planned(sweep_file(TEXT), f"privacy.ledger='sqlite:///{sweep_file(TEXT).parent / 'officers.db'}'")
    search(plan)
    epochs = Counter(resolved.method.epochs for resolved in trials.made)
    # With replacement: each of three candidates about twenty times; nine standard deviations off would be seen once in 10^18.
    assert (
        sum(epochs.values()) == 60 and set(epochs) == {1, 2, 3} and all(2 <= count <= 45 for count in epochs.values())
    )
    assert len({resolved.config.seed for resolved in trials.made}) == 60
    assert len({resolved.config.root for resolved in trials.made}) == 60
    assert all(r.config.privacy.ledger is None and r.plain["privacy"]["ledger"] is None for r in trials.made)
    assert all(r.config.privacy.target_epsilon == 2 for r in trials.made)
    # The order of the draws is no grid's.
    assert [r.method.epochs for r in trials.made] != sorted(r.method.epochs for r in trials.made)


@pytest.mark.parametrize("number", [1, 7])
def test_how_many_trials_there_were_is_nowhere(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    draw(monkeypatch, number)
    trials.score = lambda number, resolved: 0.5
    plan = planned(sweep_file(TEXT))
    result, said = search(plan)
    assert said == ["searching; how many trials there are is a secret, so no progress is shown"]
    assert everything(plan.folder) == {
        "ensembles.key",
        "ledger.db",
        "ledger.db.mark",
        "best",
        *(f"best/{n}" for n in RELEASED),
    }
    told = result.to_json()
    told["selected"] = told["outcome"] = None
    assert told == {**SAME, **told} and set(told) == set(SAME)
    assert result.outcome is not None and len(entries(plan)) == 1


SAME: dict[str, Any] = dict.fromkeys(
    (
        "title", "metric", "mode", "law", "candidates", "mean", "epsilon", "delta", "neighbouring", "common", "selected", "outcome",
        "trouble", "notes",
    )
)  # fmt: skip


def test_ties_go_by_the_order_of_drawing_whatever_ended_first(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 5)
    scores = [0.1, 0.7, 0.3, 0.7, 0.7]
    trials.score = lambda number, resolved: scores[number]
    monkeypatch.setattr(
        private, "room_for", lambda *words, **more: private.Room(3, 1)
    )  # three at once: they end in another order
    plan = planned(sweep_file(TEXT))
    search(plan)
    assert (plan.folder / "best" / "student.safetensors").read_bytes() == b"1"


def test_the_least_is_best_where_the_mode_says_so(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 3)
    trials.score = lambda number, resolved: [0.4, 0.2, 0.3][number]
    plan = planned(sweep_file(TEXT), "sweep.mode=min")
    search(plan)
    assert (plan.folder / "best" / "student.safetensors").read_bytes() == b"1"


def test_a_trial_that_fails_is_the_worst_and_is_not_made_again(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 3)
    trials.score = lambda number, resolved: [None, 0.2, float("nan")][number]
    plan = planned(sweep_file(TEXT))
    result, _ = search(plan)
    assert len(trials.made) == 3 and (plan.folder / "best" / "student.safetensors").read_bytes() == b"1"
    assert result.outcome is not None


def test_a_search_without_any_score_selects_nothing_and_says_why(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 2)
    trials.score = lambda number, resolved: None
    plan = planned(sweep_file(TEXT))
    result, _ = search(plan)
    assert result.outcome is None and "none of 40 queries was answered" in result.released
    assert everything(plan.folder / "best") == {"selection.json"}


def test_no_trial_at_all_is_an_outcome_too_and_is_kept(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.platform.privacy.trials.PoissonTrials.draw", lambda law: 0)
    plan = planned(sweep_file(TEXT.replace("{mean: 3, shape: 1}", "{trials: poisson, mean: 1}")))
    result, _ = search(plan)
    assert result.outcome is None and "no trial was drawn" in result.released and not trials.made
    again, said = search(plan)
    assert again == result and said == ["found from an earlier start, not searched or paid for again"]
    assert len(entries(plan)) == 1


def test_a_finished_search_is_found_and_another_one_is_paid_for(sweep_file: Write, trials: Trials) -> None:
    path = sweep_file(TEXT)
    first, _ = search(planned(path))
    made = len(trials.made)
    again, said = search(planned(path))
    assert again == first and len(trials.made) == made and said[0].startswith("found from an earlier start")
    other = planned(path, "method.hidden=64")
    result, said = search(other)
    assert len(trials.made) > made and len(entries(other)) == 2
    assert said[0].startswith(f"epsilon {epsilon_text(first.epsilon)} was spent before")
    assert result.ledger != first.ledger


def test_a_search_that_is_broken_off_has_released_nothing_and_is_paid_for_anew(
    sweep_file: Write, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, 3)
    plan = planned(sweep_file(TEXT))

    def interrupt() -> None:
        if len(trials.made) == 2:
            raise KeyboardInterrupt

    trials.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        search(plan)
    assert everything(plan.folder) == {"ensembles.key", "ledger.db", "ledger.db.mark"} and len(entries(plan)) == 1
    # A kill leaves the folder; the next start deletes it first.
    (plan.folder / ".search-killed").mkdir()
    trials.before = lambda: None
    _, said = search(plan)
    assert said[0].startswith("an earlier search was broken off") and len(entries(plan)) == 2
    assert not (plan.folder / ".search-killed").exists()


def test_a_search_over_the_sweeps_budget_is_refused_before_anything(sweep_file: Write, trials: Trials) -> None:
    plan = planned(sweep_file(TEXT), "sweep.budget=2")
    with pytest.raises(BudgetExhausted, match="the private search costs epsilon"):
        search(plan)
    assert not trials.made and not (plan.folder / "best").exists()
    roomy = planned(sweep_file(TEXT), "sweep.budget=50")
    search(roomy)
    with Ledger(f"sqlite:///{roomy.folder / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").epsilon == 50


def test_a_budget_on_other_terms_is_left_alone(sweep_file: Write, trials: Trials) -> None:
    plan = planned(sweep_file(TEXT))
    plan.folder.mkdir()
    with Ledger(f"sqlite:///{plan.folder / 'ledger.db'}") as ledger:
        ledger.grant("digits", epsilon=9, delta=1e-4, by="an officer")
    with pytest.raises(BadInput, match="a private search needs kind rdp"):
        search(plan)
    assert not trials.made


def test_a_trial_that_is_not_covered_stays_so(sweep_file: Write, trials: Trials) -> None:
    trials.privacy = uncovered("the generator saw the records")
    plan = planned(sweep_file(TEXT))
    result, _ = search(plan)
    assert result.outcome is not None and math.isinf(result.outcome.privacy.epsilon)
    assert result.outcome.privacy.reasons == ("the generator saw the records",)


def test_the_costliest_candidate_sets_the_price(sweep_file: Write) -> None:
    text = TEXT.replace("{method.epochs: [1, 2, 3]}", "{privacy.target_epsilon: [1, 2]}").replace(
        ", privacy.target_epsilon=2", ""
    )
    both, dear = price_of(planned(sweep_file(text))), price_of(planned(sweep_file(TEXT)))
    # The curve of the mixture lies on a grid of orders, so it may say a hair more.
    assert dear.search <= both.search <= 1.02 * dear.search and both.run == 2.0


def test_many_trials_cost_less_than_looking_at_them_all() -> None:
    cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=1.0, delta=1e-5)[0]
    event = selection_event(ZcdpEvent(cap), mean=10.0, shape=0.0)
    assert selection_epsilon(event, 1e-5) < 2.5
    assert best_order(event, 1e-5) > 1
