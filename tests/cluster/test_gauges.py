"""Step times reach Ray's metrics where there is a Ray, under their run and training."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import ray
from stillhouse.cluster import gauges
from stillhouse.cluster.session import ray_session

SET: list[tuple[str, float, dict[str, str]]] = []


class Gauge:
    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.keys = name, set(tag_keys)
        assert description

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == self.keys
        SET.append((self.name, value, tags))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    SET.clear()
    gauges._gauge.cache_clear()
    monkeypatch.setattr("ray.util.metrics.Gauge", Gauge)
    yield
    gauges._gauge.cache_clear()


METRICS: dict[str, Any] = {
    "student/loss": 0.5, "student/seconds_per_step": 0.01, "a/b/examples_per_second": 900.0, "seconds_per_step": 1.0,
}  # fmt: skip


def test_only_step_times_are_shown_with_their_run_and_training(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    gauges.show("pate-digits", METRICS)
    assert SET == [
        ("stillhouse_seconds_per_step", 0.01, {"run": "pate-digits", "training": "student"}),
        ("stillhouse_examples_per_second", 900.0, {"run": "pate-digits", "training": "a/b"}),
    ]


def test_without_ray_nothing_is_made(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    gauges.show("pate-digits", METRICS)
    assert SET == []


@pytest.mark.slow
def test_a_node_of_a_cluster_serves_them() -> None:
    with ray_session(num_cpus=1):
        gauges.show("my-run", METRICS)
        address = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
        found: list[str] = []
        end = time.monotonic() + 200
        while len(found) < 2:
            assert time.monotonic() < end
            time.sleep(1)
            with suppress(OSError), urllib.request.urlopen(address, timeout=10) as reply:
                found = [line for line in reply.read().decode().splitlines() if line.startswith("ray_stillhouse_")]
    assert {line.partition("{")[0]: float(line.split()[-1]) for line in found} == {
        "ray_stillhouse_seconds_per_step": 0.01, "ray_stillhouse_examples_per_second": 900.0,
    }  # fmt: skip
    assert all('run="my-run"' in line for line in found)
