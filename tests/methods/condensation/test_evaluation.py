"""A run of one process beside the others: what it takes over from the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.methods.condensation.evaluation import by_itself
from stillhouse.platform.training.event_log import EventLog
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_by_itself_has_the_runs_precision_and_event_log(precision: str, tmp_path: Path) -> None:
    """`cluster.precision` holds in every training, and `log.jsonl` tells of all of them."""
    whole = LocalRun(
        tmp_path,
        seed=4,
        reporter=Silent(),
        precision=precision,
        events=EventLog.begin(tmp_path),  # type: ignore[arg-type]
    )
    alone = by_itself(whole, "judge")
    assert (alone.precision, alone.events, alone.seed) == (precision, whole.events, 4)
    assert alone.folder == tmp_path / "networks" / "judge"
    alone.stage("scores", lambda: 1)
    assert '"stage": "scores"' in (tmp_path / "log.jsonl").read_text()
