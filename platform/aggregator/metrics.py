"""An aggregator's counts and budget for Prometheus, on a port of its own: `http://127.0.0.1:PORT/metrics`.

Which metrics there are, and why each may be shown, is in docs/observability.md; `METRICS` is that list. What the budget holds is read
from the ledger at each scrape. Nothing else is served: Python's and the process's own metrics are left out, since a processor's time
and memory can depend on what is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from ..errors import BadInput, StillhouseError
from ..ledger.records import Budget
from ..privacy.budget import spent_epsilon
from .config import TlsFiles, split_address
from .tally import SECONDS, Tally

METRICS: Mapping[str, str] = {
    "stillhouse_queries_asked_total": "Queries that analysts handed in, repeats included.",
    "stillhouse_queries_ended_total": "Queries by the status that their analyst was told.",
    "stillhouse_queries_from_store_total": "Queries answered by what had been paid for before.",
    "stillhouse_charges_total": "Charges made, by what for.",
    "stillhouse_ledger_entries": "Entries of the data set in the ledger, grants and charges.",
    "stillhouse_ledger_trusted": "1 while the ledger can be read and is whole, else 0.",
    "stillhouse_epsilon_cap": "Granted epsilon, at the label's delta.",
    "stillhouse_epsilon_spent": "Spent epsilon, by the data-independent costs in the ledger.",
    "stillhouse_epsilon_left": "Epsilon that all that is left would be, released at once and by itself.",
    "stillhouse_budget_used_ratio": "Share of the budget that is spent, in the units that are added up.",
    "stillhouse_votes_total": "Silos' votes by when they came, one a silo and round.",
    "stillhouse_last_round_votes": "The same of the round that closed last.",
    "stillhouse_rounds_total": "Rounds of voting by how they ended.",
    "stillhouse_rounds_open": "Rounds that are voted on now.",
    "stillhouse_round_seconds": "Seconds from the begin of a round until its voting closed.",
    "stillhouse_open_calls": "Calls that are being answered or wait, by the caller's role.",
}


class AggregatorCollector(Collector):
    """Makes the metrics anew at each scrape, from the tally and (in the scraping thread) from the ledger."""

    def __init__(self, tally: Tally, budget: Callable[[], Budget | None], *, dataset: str, ensemble: str) -> None:
        """`budget` reads the ledger; None if nothing was granted, a `StillhouseError` if it cannot be read or trusted."""
        self._tally, self._budget = tally, budget
        self._labels = {"dataset": dataset, "ensemble": ensemble}

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of `METRICS`."""
        tally = self._tally
        yield self._counter("stillhouse_queries_asked_total", tally.asked)
        yield self._counters("stillhouse_queries_ended_total", "status", tally.queries)
        yield self._counter("stillhouse_queries_from_store_total", tally.from_store)
        yield self._counters("stillhouse_charges_total", "what", tally.charges)
        yield from self._from_ledger()
        yield self._counters("stillhouse_votes_total", "when", tally.votes)
        yield self._gauges("stillhouse_last_round_votes", "when", tally.last_round)
        yield self._counters("stillhouse_rounds_total", "end", tally.rounds)
        yield self._gauge("stillhouse_rounds_open", tally.open_rounds)
        yield self._round_seconds()
        yield self._gauges("stillhouse_open_calls", "role", tally.calls)

    def _from_ledger(self) -> Iterator[Metric]:
        try:
            budget, trusted = self._budget(), True
        except StillhouseError:
            budget, trusted = None, False  # No old figures: what cannot be read is not shown.
        yield self._gauge("stillhouse_ledger_trusted", int(trusted))
        if budget is None:
            return
        yield self._gauge("stillhouse_ledger_entries", budget.entries)
        delta = f"{budget.delta:g}"
        left = spent_epsilon(budget.kind, budget.remaining, delta=budget.delta, orders=budget.orders)
        yield self._gauge("stillhouse_epsilon_cap", budget.epsilon, delta=delta)
        yield self._gauge("stillhouse_epsilon_spent", budget.spent_epsilon, delta=delta)
        yield self._gauge("stillhouse_epsilon_left", left, delta=delta)
        used = max(spent / cap if cap else 1.0 for spent, cap in zip(budget.spent, budget.cap, strict=True))
        yield self._gauge("stillhouse_budget_used_ratio", used)

    def _round_seconds(self) -> Metric:
        name = "stillhouse_round_seconds"
        family = HistogramMetricFamily(name, METRICS[name], labels=list(self._labels))
        bounds = [*map(str, SECONDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._tally.round_seconds), strict=True))
        family.add_metric(list(self._labels.values()), buckets, self._tally.round_seconds_sum)
        return family

    def _counter(self, name: str, value: float) -> Metric:
        return self._family(CounterMetricFamily, name, {}, [((), value)])

    def _counters(self, name: str, label: str, values: Mapping[str, float]) -> Metric:
        return self._family(CounterMetricFamily, name, {}, [((key,), value) for key, value in values.items()], label)

    def _gauge(self, name: str, value: float, **more: str) -> Metric:
        return self._family(GaugeMetricFamily, name, more, [((), value)])

    def _gauges(self, name: str, label: str, values: Mapping[str, float]) -> Metric:
        return self._family(GaugeMetricFamily, name, {}, [((key,), value) for key, value in values.items()], label)

    def _family(
        self, kind: Any, name: str, more: Mapping[str, str], samples: list[tuple[tuple[str, ...], float]], *label: str
    ) -> Metric:
        fixed = {**self._labels, **more}
        family: Metric = kind(name, METRICS[name], labels=[*fixed, *label])
        for key, value in samples:
            family.add_metric([*fixed.values(), *key], value)  # type: ignore[attr-defined]
        return family


class MetricsServer:
    """Serves a collector's metrics until `stop`."""

    def __init__(self, address: str, collector: Collector, tls: TlsFiles | None) -> None:
        """Listen. With `tls`, callers must show a certificate that its `client_ca` signed.

        Raises:
            BadInput: the address cannot be used.
        """
        registry = CollectorRegistry()
        registry.register(collector)
        host, port = split_address(address)
        try:
            self._server, self._thread = start_http_server(port, host, registry, **_tls_options(tls))
        except OSError as error:
            raise BadInput(
                f"cannot serve metrics on {address}", why=error.strerror or type(error).__name__,
                mend="choose another --metrics-port, or stop the program that has it",
            ) from None  # fmt: skip

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """End; call it in another thread than an event loop's, it takes up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not threading.current_thread():
            self._thread.join(5)


def _tls_options(tls: TlsFiles | None) -> dict[str, Any]:
    if tls is None:
        return {}
    files: dict[str, Path | None] = {"certfile": tls.cert, "keyfile": tls.key, "client_cafile": tls.client_ca}
    return {**{name: str(path) for name, path in files.items() if path}, "client_auth_required": True}
