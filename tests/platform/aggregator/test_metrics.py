"""What an aggregator shows to Prometheus: the documented list and nothing else, true figures, and none that follows from a vote."""

from __future__ import annotations

import itertools
import re
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from stillhouse.platform.aggregator.metrics import METRICS
from stillhouse.platform.aggregator.rounds import Round
from stillhouse.platform.aggregator.tally import SECONDS, Tally
from stillhouse.platform.errors import BadInput, BudgetExhausted, ConfigError, TimedOut
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, ConfidentHistogram, GNMax, Mechanism
from support.aggregator import CLASSES, DATASET, ENSEMBLE, SILOS, Served, asking, questions, served, set_up, voting
from support.noise import ZeroNoise
from support.static_checks import ROOT

HERE = "127.0.0.1:0"
CHECKED = ConfidentGNMax(threshold=2, sigma1=10.0, sigma2=10.0)
CLOCK = ("stillhouse_round_seconds",)
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(server: Served) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10) as reply:
        return str(reply.read().decode())


def figures(server: Served) -> Figures:
    """(name, labels but for those that all have) -> value."""
    found = {}
    for family in text_string_to_metric_families(scrape(server)):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("dataset"), labels.pop("ensemble")) == (DATASET, ENSEMBLE)
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def of(found: Figures, name: str, **labels: str) -> float:
    return found[f"stillhouse_{name}", tuple(sorted(labels.items()))]


def ask(server: Served, images: np.ndarray, mechanism: Mechanism = CHECKED, **more: Any) -> Any:
    with server.analyst() as analyst:
        return analyst.ask(images, mechanism, ensemble=ENSEMBLE, wait_seconds=20, **more)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def documented() -> set[str]:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(stillhouse_\w+)` \|", page, re.MULTILINE))


def test_what_is_served_is_what_is_documented(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE) as server, voting(server):
        ask(server, questions(3))
        text_ = scrape(server)
    served_names = set(re.findall(r"^# TYPE (\S+) ", text_, re.MULTILINE))
    assert served_names == set(METRICS) == documented()
    samples = {re.match(r"[a-z_]+", line).group() for line in text_.splitlines() if line[0] != "#"}  # type: ignore[union-attr]
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples} == set(METRICS)


def test_queries_are_counted_by_what_their_analyst_was_told_and_agree_with_the_ledger(tmp_path: Path) -> None:
    def votes(images: np.ndarray) -> np.ndarray:
        # Even queries: all say the same. Odd ones: nobody agrees, so they stay below the threshold of 2.
        own = next(calls) % CLASSES
        numbers = images[:, 0, 0, 0].astype(np.int64)
        return np.where(numbers % 2 == 0, 1, own)[None, :]

    calls = itertools.count()
    with served(tmp_path, metrics=HERE) as server:
        with voting(server, votes=votes):
            first = ask(server, questions(10))
            again = ask(server, questions(10))
        found = figures(server)
        with Ledger(server.config.ledger_url) as ledger:
            budget = ledger.budget(DATASET)
    told = {status: first.statuses.count(status) + again.statuses.count(status) for status in set(first.statuses)}
    assert first.statuses.count("answered") == 5 and again.from_store.all()
    assert of(found, "queries_asked_total") == 20
    for status in ("answered", "abstained", "reinforced", "budget", "no_quorum"):
        assert of(found, "queries_ended_total", status=status) == told.get(status, 0)
    assert of(found, "queries_from_store_total") == 10
    assert of(found, "charges_total", what="check") == of(found, "charges_total", what="answers") == 1
    assert of(found, "ledger_entries") == budget.entries == 3 and of(found, "ledger_trusted") == 1
    assert (
        of(found, "epsilon_spent", delta="1e-05")
        == pytest.approx(budget.spent_epsilon)
        == pytest.approx(first.spent_epsilon)
    )
    assert of(found, "epsilon_cap", delta="1e-05") == budget.epsilon == 50
    assert 0 < of(found, "epsilon_left", delta="1e-05") < 50
    assert of(found, "budget_used_ratio") == pytest.approx(budget.spent[0] / budget.cap[0])


def test_what_does_not_fit_the_budget_is_counted_as_budget(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE, epsilon=0.5) as server, voting(server):
        with pytest.raises(BudgetExhausted):
            ask(server, questions(7), GNMax(1.0))
        found = figures(server)
    assert of(found, "queries_ended_total", status="budget") == 7 == of(found, "queries_asked_total")
    assert of(found, "epsilon_spent", delta="1e-05") == 0 == of(found, "charges_total", what="answers")
    assert of(found, "epsilon_left", delta="1e-05") == pytest.approx(0.5)


def test_votes_in_time_missing_given_up_and_late(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE, deadline_seconds=8.0, quorum=1) as server:
        with asking(lambda: ask(server, questions(2))) as answers, server.silo("a") as a, server.silo("b") as b:
            batch = a.next_batch(10)
            assert batch is not None
            assert of(figures(server), "rounds_open") == 1
            a.send_votes(batch, ["a"], np.ones((1, 2), np.int64))
            b.report_failure(batch.id, "ValueError")
            answers()
            with server.silo("c") as c, pytest.raises(BadInput):
                c.send_votes(batch, ["c"], np.ones((1, 2), np.int64))
        found = figures(server)
    for when in ("in_time", "missing", "given_up"):
        assert of(found, "votes_total", when=when) == of(found, "last_round_votes", when=when) == 1
    assert of(found, "votes_total", when="late") == 1
    assert of(found, "rounds_total", end="decided") == of(found, "round_seconds_count") == 1
    assert of(found, "rounds_open") == 0 and 7.9 <= of(found, "round_seconds_sum") < 60


def test_a_round_without_a_quorum(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE, deadline_seconds=0.3) as server:
        with pytest.raises(TimedOut):
            ask(server, questions(4))
        found = figures(server)
    assert of(found, "rounds_total", end="no_quorum") == 1 and of(found, "votes_total", when="missing") == len(SILOS)
    assert of(found, "queries_ended_total", status="no_quorum") == 4


def test_open_calls_are_those_that_wait(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE) as server:
        assert of(figures(server), "open_calls", role="silo") == 0
        with voting(server):
            eventually(lambda: of(figures(server), "open_calls", role="silo") == len(SILOS))
        eventually(lambda: of(figures(server), "open_calls", role="silo") == 0)


@pytest.mark.parametrize("mechanism", [CHECKED, GNMax(10.0), ConfidentHistogram(threshold=2, sigma1=10.0, sigma2=10.0)])
def test_other_votes_with_the_same_statuses_show_the_same(tmp_path: Path, mechanism: Mechanism) -> None:
    """Labels, margins, histograms and who voted what differ; what is shown does not, but for the clock."""

    def shown(name: str, votes: Callable[[np.ndarray], np.ndarray]) -> Figures:
        with served(tmp_path / name, metrics=HERE) as server:
            with voting(server, votes=votes):
                assert set(ask(server, questions(6), mechanism).statuses) == {"answered"}
            eventually(lambda: of(figures(server), "open_calls", role="silo") == 0)
            eventually(lambda: of(figures(server), "open_calls", role="analyst") == 0)
            return {key: value for key, value in figures(server).items() if not key[0].startswith(CLOCK)}

    def close(images: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.full((1, len(images)), 4 if len(calls) == 3 else 2)  # two against one

    calls: list[int] = []
    assert shown("unanimous", lambda images: np.zeros((1, len(images)), np.int64)) == shown("close", close)


class Slow(ZeroNoise):
    """Noise that takes a second once votes are counted."""

    slow = False

    def _zeros(self, *asked: Any) -> np.ndarray:
        if self.slow:
            time.sleep(1.0)
        return super()._zeros(*asked)


def test_the_clock_of_a_round_stops_before_a_vote_is_counted(tmp_path: Path) -> None:
    noise = Slow()
    with served(tmp_path, metrics=HERE, noise=noise) as server, voting(server):
        ask(server, questions(1))  # rehearsed
        before = of(figures(server), "round_seconds_sum")
        noise.slow = True
        began = time.monotonic()
        ask(server, questions(1, first=1))
        whole = time.monotonic() - began
        took = of(figures(server), "round_seconds_sum") - before
    # A check and an answer were drawn, and once more before votes were asked for (see `Engine.submit`).
    assert whole >= 2 and took < whole - 1.9


def test_a_ledger_in_doubt_shows_no_figures_and_is_unwell(tmp_path: Path) -> None:
    with served(tmp_path, metrics=HERE) as server, grpc.insecure_channel(server.address) as channel:
        assert of(figures(server), "ledger_trusted") == 1
        (tmp_path / "ledger.db").rename(tmp_path / "elsewhere.db")
        found = figures(server)
        assert of(found, "ledger_trusted") == 0 and not any("epsilon" in name or "entries" in name for name, _ in found)
        stub = health_pb2_grpc.HealthStub(channel)
        eventually(
            lambda: stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        )


def test_before_the_first_grant_there_is_no_budget_to_show(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"):
        pass
    with served(tmp_path, metrics=HERE, epsilon=0) as server:
        found = figures(server)
    assert of(found, "ledger_trusted") == 1 and not any("epsilon" in name for name, _ in found)


def test_nobody_is_named(tmp_path: Path) -> None:
    names = ("hospital-a", "hospital-b")
    with served(tmp_path, metrics=HERE, silos=names) as server, voting(server, names):
        ask(server, questions(2))
        shown = scrape(server)
    values = set(re.findall(r'="([^"]*)"', shown))
    assert DATASET in values and values.isdisjoint((*names, "ana", "olga"))
    assert not any(secret in shown for secret in server.secrets.values())


def test_metrics_are_off_unless_asked_for(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.metrics_port is None


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with (
        served(tmp_path / "one", metrics=HERE) as first,
        pytest.raises(BadInput, match="metrics-port"),
        served(tmp_path / "two", metrics=f"127.0.0.1:{first.metrics_port}"),
    ):
        pass


@pytest.mark.parametrize("metrics", ["0.0.0.0:9464", "10.0.0.7:9464", "[::]:9464", "example.org:9464"])
def test_others_do_not_reach_them_without_a_certificate(tmp_path: Path, metrics: str) -> None:
    with pytest.raises(ConfigError, match="client-ca"):
        set_up(tmp_path, metrics=metrics)
    with pytest.raises(ConfigError, match="cannot be read"):
        set_up(tmp_path, metrics="9464")


@given(st.lists(st.floats(0, 5000), max_size=40))
def test_buckets_hold_each_duration_once(durations: list[float]) -> None:
    tally = Tally()
    for seconds in durations:
        tally.closed(Round(("a",), 1, 1, 2), seconds)
    bounds = (0.0, *SECONDS, float("inf"))
    wanted = [
        sum((low < s or (low == 0 and s == 0)) and s <= high for s in durations) for low, high in pairwise(bounds)
    ]
    assert tally.round_seconds == wanted and sum(wanted) == len(durations)
    assert tally.votes["missing"] == len(durations)
