"""The log of a run: what is in it, in which order, across starts, kills and failures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from stillhouse.platform.errors import RunFailed
from stillhouse.platform.training.event_log import FILE, NOWHERE, EventLog
from stillhouse.platform.training.loop import train
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

SECRET = "patient 4711"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]


def logged(folder: Path, seed: int = 0) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=Silent(), events=EventLog.begin(folder))


def small_training(run: LocalRun, **options: Any) -> None:
    inputs = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(5, 2)
    loss = torch.nn.functional.cross_entropy
    loader = run.loader((inputs, (inputs[:, 0] > 0).long()), 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(run, model, lambda net, b: loss(net(b[0]), b[1]), loader, optimizer, epochs=2, name="student", **options)


def test_a_training_tells_its_begin_its_first_step_and_its_end(tmp_path: Path) -> None:
    small_training(logged(tmp_path))
    told = lines(tmp_path)
    assert [line["event"] for line in told] == ["work.started", "work.first_step", "checkpoint.kept", "work.ended"]
    started, first, kept, ended = told
    assert started["total"] == 8 and ended["done"] == 8
    assert 0 <= first["seconds"] <= ended["seconds"]
    assert kept["of"] == "student" and kept["bytes"] > 0
    assert {line["run"] for line in told} == {tmp_path.name} and len({line["start"] for line in told}) == 1
    assert [line["time"] for line in told] == sorted(line["time"] for line in told)


def test_a_training_that_goes_on_counts_only_its_own_steps_as_first(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_at(step: int) -> None:
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        small_training(logged(tmp_path), after_step=stop_at, checkpoint_seconds=0)
    (tmp_path / FILE).unlink()
    seen: list[int] = []

    def look(step: int) -> None:
        seen.append(sum(line["event"] == "work.first_step" for line in lines(tmp_path)))

    small_training(logged(tmp_path), after_step=look, checkpoint_seconds=0)
    assert seen == [0, 1, 1, 1]  # `after_step` is called before a step is counted; four steps were done before.


def test_stages_are_told_and_found_again_at_another_start(tmp_path: Path) -> None:
    for _ in range(2):
        logged(tmp_path).stage("labels", lambda: {"n": 3}, {"queries": 3})
    told = lines(tmp_path)
    assert [line["event"] for line in told] == ["stage.started", "stage.finished", "stage.found"]
    assert all(line["stage"] == "labels" for line in told) and told[1]["seconds"] >= 0
    assert told[0]["start"] == told[1]["start"] != told[2]["start"]


@pytest.mark.parametrize("kind", [ValueError, RunFailed])
def test_a_failure_is_told_without_its_text(tmp_path: Path, kind: type[Exception]) -> None:
    record = {"name": SECRET, "pixels": [7, 11]}

    def fail() -> None:
        raise kind(f"cannot read {record}")

    run = logged(tmp_path)
    with pytest.raises(kind), run.events.around("run", method="m"):
        run.stage("teachers", fail)
    told = lines(tmp_path)
    assert [line["event"] for line in told] == ["run.started", "stage.started", "stage.failed", "run.failed"]
    assert told[-1]["error"] == kind.__name__ and told[-1]["method"] == "m" and told[-1]["level"] == "error"
    assert told[-1]["exit_code"] == (1 if kind is RunFailed else 5)
    assert SECRET not in (tmp_path / FILE).read_text(encoding="utf-8")


def test_a_line_that_a_kill_tore_stays_alone(tmp_path: Path) -> None:
    events = EventLog.begin(tmp_path)
    events.write("one")
    with (tmp_path / FILE).open("a") as file:
        file.write('{"time": "20')
    events.write("two")
    texts = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(text)["event"] for text in (texts[0], texts[2])] == ["one", "two"] and len(texts) == 3


def test_it_travels_to_another_process_and_writes_the_same_file(tmp_path: Path) -> None:
    events = EventLog.begin(tmp_path)
    events.write("here")
    pickle.loads(pickle.dumps(events)).write("there")
    assert [(line["event"], line["start"]) for line in lines(tmp_path)] == [
        ("here", events.start),
        ("there", events.start),
    ]


def test_a_run_without_one_writes_none(tmp_path: Path) -> None:
    small_training(LocalRun(tmp_path / "run", reporter=Silent()))
    NOWHERE.write("nothing", number=1)
    assert not list(tmp_path.rglob(FILE))
