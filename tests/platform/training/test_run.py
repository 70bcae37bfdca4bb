import io
import json
import math
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.progress import ConsoleReporter, FileReporter, Mirror, counting
from stillhouse.platform.training.run import LocalRun, Run
from stillhouse.platform.training.world import World

ROOT = Path(__file__).parents[3]


def test_platform_is_pythons_own_from_the_repository_root():
    code = "import platform; print(platform.__file__, platform.python_version())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [platform.__file__, platform.python_version()]
    assert Path(platform.__file__).name == "platform.py" and not (ROOT / "platform" / "__init__.py").exists()


def test_local_run_is_a_run(run):
    as_run: Run = run
    assert as_run.world == World(0, 1) and as_run.world.first and run.agree(True) and not run.agree(False)


def test_seeds_by_name_differ_and_repeat(run):
    names = [(), ("a",), ("a", 1), ("a", "1"), ("b",)]
    seeds = [run.seed_for(*name) for name in names]
    assert len(set(seeds)) == len(seeds) and seeds == [run.seed_for(*name) for name in names]
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1"])
def test_a_seed_is_a_whole_number(tmp_path, seed):
    with pytest.raises(BadInput, match="seed"):
        LocalRun(tmp_path, seed=seed)


def test_a_rank_must_exist():
    with pytest.raises(BadInput):
        World(2, 2)


def test_metrics_repeat_and_torn_lines_are_dealt_with(start):
    run, _ = start()
    run.log({"loss": 3.0}, 1)
    run.log({"loss": 2.0, "accuracy": 0.5}, 2)
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": 1, "step": 3, "met')
    run, _ = start()
    run.log({"loss": 1.5}, 2)
    run.log({"loss": math.inf}, 3)
    assert read_metrics(path) == {"loss": [(1, 3.0), (2, 1.5), (3, math.inf)], "accuracy": [(2, 0.5)]}
    assert all(json.loads(line) for line in path.read_text().splitlines() if not line.endswith("met"))
    with pytest.raises(BadInput, match="metric name"):
        run.log({"name": "text"})


@pytest.mark.parametrize(
    ("array", "size", "mode"),
    [
        (np.zeros((4, 6), np.uint8), (6, 4), "L"),
        (np.zeros((1, 4, 6), np.float32), (6, 4), "L"),
        (torch.zeros(3, 4, 6), (6, 4), "RGB"),
        (np.zeros((4, 6, 3), np.uint8), (6, 4), "RGB"),
    ],
)
def test_pictures_are_kept(run, array, size, mode):
    with Image.open(run.image("sample", array)) as picture:
        assert picture.size == size and picture.mode == mode


@pytest.mark.parametrize("array", [np.zeros((2, 4, 6)), np.zeros(4), np.zeros((4, 4), int), np.full((2, 2), np.nan)])
def test_what_is_no_picture_is_refused(run, array):
    with pytest.raises(BadInput, match="picture"):
        run.image("sample", array)


def test_checkpoints_by_name(run):
    run.checkpoint({"step": 1})
    run.checkpoint({"step": 2}, "other")
    assert run.restore()["step"] == 1 and run.restore("other")["step"] == 2 and run.restore("none") is None


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def test_without_a_terminal_progress_is_plain_lines_at_intervals():
    out = console(False)
    reporter = ConsoleReporter(out, interval=1000)
    with counting(reporter, "teachers", 50) as bar:
        for _ in bar.over(range(50)):
            pass
    assert out.file.getvalue().startswith("teachers: 50/50 in 0.0 s") and out.file.getvalue().count("\n") == 1
    with counting(ConsoleReporter(out, interval=0), "student", None) as bar:
        bar.advance(3, say="loss 0.5")
    assert "student: 3  loss 0.5" in out.file.getvalue() and "\x1b" not in out.file.getvalue()


def test_on_a_terminal_bars_may_be_nested_and_give_the_terminal_back():
    out = console(True)
    reporter = ConsoleReporter(out)
    with pytest.raises(RuntimeError), counting(reporter, "outer", 2) as outer:
        with counting(reporter, "inner", 5) as inner:
            inner.advance(5)
        outer.advance()
        raise RuntimeError
    reporter.say("after [not markup]")
    text = out.file.getvalue()
    assert "outer" in text and "inner" in text and text.rstrip().endswith("after [not markup]")


def test_progress_crosses_processes_through_a_file(tmp_path):
    path, out = tmp_path / "progress.jsonl", console(False)
    path.write_text("left over from an earlier start\n")
    mirror = Mirror(path, ConsoleReporter(out, interval=1000))
    worker = FileReporter(path, interval=0)
    with counting(worker, "student", 4) as bar:
        bar.advance(2, say="loss 1.0")
        mirror.poll()
        bar.advance(2, say="loss 0.5")
        worker.say("half way")
    mirror.poll()
    with path.open("a") as file:
        file.write('{"event": "say", "te')
    mirror.poll()
    dead = FileReporter(path, interval=0)
    assert out.file.getvalue().splitlines() == ["half way", "student: 4/4 in 0.0 s  loss 0.5"]
    with path.open("a") as file:
        file.write('xt": "whole"}\n')
    dead.open("teachers", 9)
    mirror.poll()
    mirror.close()
    assert out.file.getvalue().splitlines()[-2:] == ["whole", "teachers: 0/9 in 0.0 s"]
