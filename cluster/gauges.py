"""Step times as Ray metrics, so that a cluster's dashboard and Prometheus show how fast a run trains.

Ray exports them as `ray_stillhouse_seconds_per_step` and `ray_stillhouse_examples_per_second`, with the tags `run` and `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import ray

SHOWN = {
    "seconds_per_step": "Mean seconds of a training step since the last report.",
    "examples_per_second": "Examples that all processes of a training took together, a second.",
}


def show(run: str, metrics: Mapping[str, float]) -> None:
    """Set the gauges of what was logged as `TRAINING/seconds_per_step`; nothing where this process is not connected to Ray."""
    if not ray.is_initialized():
        return
    for name, value in metrics.items():
        training, _, what = name.rpartition("/")
        if training and what in SHOWN:
            _gauge(what).set(value, tags={"run": run, "training": training})


@cache
def _gauge(what: str) -> Any:
    from ray.util.metrics import Gauge

    return Gauge(f"stillhouse_{what}", description=SHOWN[what], tag_keys=("run", "training"))
