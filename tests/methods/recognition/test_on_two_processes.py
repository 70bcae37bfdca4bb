"""The whole method on two processes: they step together, judge together, and agree on every figure."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stillhouse.platform.training.metrics import read_metrics

TESTS = Path(__file__).parents[1]  # so that the package of these tests is `recognition`
START = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
    "from recognition.two_processes import main; main(int(sys.argv[1]), Path(sys.argv[2]))"
)


@pytest.mark.slow
def test_two_processes_agree_on_every_figure(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", START, str(rank), str(tmp_path), str(TESTS)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for one in started:
        _, complaint = one.communicate(timeout=280)
        assert one.returncode == 0, complaint.decode()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == second
    assert first["maps are those of one process"] is True
    for name in ("crrcd", "at", "aird"):
        assert all(math.isfinite(value) for value in first[name].values())
        logged = read_metrics(tmp_path / name / "metrics.jsonl")
        steps = [step for step, _ in logged["student/loss"]]  # by the first process alone, once an epoch
        assert steps == ([3, 6] if name == "aird" else [2, 4])
        assert ("teacher/loss" in logged) == (name == "crrcd")
    shared = tmp_path / "shared" / "recognition"
    assert len(list((shared / "teacher").glob("*.safetensors"))) == 1  # one for all three
    assert len(list((shared / "teacher-test").glob("*.safetensors"))) == 2  # in high resolution, and brought up
