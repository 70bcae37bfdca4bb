"""Step times: what they count, that they cost nothing worth measuring, and that no result depends on them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.training.loop import Trained, train
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.step_time import StepTime


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0.001, 10)), min_size=1, max_size=30), st.integers(1, 16))
def test_means_over_steps_are_sums_over_sums(steps: list[tuple[int, float]], workers: int) -> None:
    clock = Clock()
    timer = StepTime(workers=workers, clock=clock)
    for size, seconds in steps:
        clock.now += seconds
        timer.count((torch.zeros(size, 1), torch.zeros(size)))
    lap = timer.lap()
    total = sum(seconds for _, seconds in steps)
    assert lap["seconds_per_step"] == pytest.approx(total / len(steps))
    assert lap["examples_per_second"] == pytest.approx(workers * sum(size for size, _ in steps) / total)
    assert timer.lap() == {}  # nothing since


def test_what_is_not_a_step_is_left_out() -> None:
    clock = Clock()
    timer = StepTime(clock=clock)
    clock.now += 1
    timer.count({"images": torch.zeros(8, 2)})
    assert timer.lap() == {"seconds_per_step": 1.0, "examples_per_second": 8.0}
    clock.now += 1000  # an evaluation
    timer.restart()
    clock.now += 2
    timer.count([torch.zeros(4, 2)])
    assert timer.lap() == {"seconds_per_step": 2.0, "examples_per_second": 2.0}


@pytest.mark.parametrize("batch", [(), {}, "text", torch.tensor(3.0), ([],), None])
def test_a_batch_without_rows_counts_as_a_step_of_none(batch: object) -> None:
    clock = Clock()
    timer = StepTime(clock=clock)
    clock.now += 1
    timer.count(batch)
    assert timer.lap() == {"seconds_per_step": 1.0, "examples_per_second": 0.0}


def slow_training(run: LocalRun) -> Trained:
    inputs = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(5, 2)

    def loss(net: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        return net(batch[0]).square().mean()

    def evaluate(net: torch.nn.Module) -> dict[str, float]:
        time.sleep(2.0)
        return {"score": 1.0}

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return train(run, model, loss, run.loader((inputs,), 16), optimizer, epochs=2, name="net", evaluate=evaluate)


def test_the_loop_logs_them_beside_the_losses_and_without_its_evaluations(tmp_path: Path) -> None:
    trained = slow_training(LocalRun(tmp_path, reporter=Silent()))
    series = read_metrics(tmp_path / "metrics.jsonl")
    assert set(series) == {"net/loss", "net/score", "net/seconds_per_step", "net/examples_per_second"}
    assert [step for step, _ in series["net/seconds_per_step"]] == [step for step, _ in series["net/loss"]] == [4, 8]
    (_, first), (_, second) = series["net/seconds_per_step"]
    assert first >= 0.01 and 0.01 <= second < 0.5  # 2 s of evaluation would add 0.5 a step
    assert series["net/examples_per_second"][1][1] == pytest.approx(16 / second)
    assert set(trained.means) == {"loss"}  # a result holds no time


def test_counting_a_step_takes_microseconds() -> None:
    timer, batch = StepTime(), (torch.zeros(128, 1, 8, 8), torch.zeros(128))
    best = min(_seconds(timer, batch) for _ in range(5))
    assert best / 1000 < 20e-6  # a step of the smallest network here takes 200 of them or more


def _seconds(timer: StepTime, batch: object) -> float:
    began = time.thread_time()
    for _ in range(1000):
        timer.count(batch)
    return time.thread_time() - began
