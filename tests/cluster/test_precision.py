"""Precision, device and memory of trainings, as far as a CPU shows them; the same on a GPU by `make gpu-check`."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
from small_method import Small, public_data
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.fleet import SiloFleet
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.silos import Placement
from stillhouse.cluster.train import fit
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import RunFailed
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def start(folder: Path, **options: object) -> Outcome:
    return fit(Small(), public_data(), folder=folder, seed=5, reporter=Silent(), **options)  # type: ignore[arg-type]


def value(outcome: Outcome, name: str) -> float:
    return outcome.metrics[name].value


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_reaches_the_loop_and_learns_as_much(tmp_path: Path, precision: str) -> None:
    whole = start(tmp_path / "whole")
    half = start(tmp_path / "half", precision=precision)
    assert value(half, "weight") != value(whole, "weight"), "the precision did not reach the training"
    assert value(half, "loss") == pytest.approx(value(whole, "loss"), rel=0.05)


def test_single_precision_is_the_default_to_the_last_bit(tmp_path: Path) -> None:
    alone = execute(Small(), public_data(), LocalRun(tmp_path / "alone", seed=5, reporter=Silent()))
    assert start(tmp_path / "default") == alone == start(tmp_path / "named", precision="float32")


def test_what_was_kept_under_another_precision_is_not_taken_for_this_one(tmp_path: Path) -> None:
    whole = start(tmp_path)
    fresh = start(tmp_path / "fresh", precision="bfloat16")
    assert start(tmp_path, precision="bfloat16") == fresh != whole
    assert start(tmp_path) == whole


def test_the_configuration_names_them() -> None:
    plain, half = compose([]), compose(["cluster.precision=bfloat16"])
    assert plain.config.cluster.precision == "float32" and half.config.cluster.precision == "bfloat16"
    # Another precision is another result, so it has a folder of its own; how many restarts are allowed is not.
    assert half.folder != plain.folder
    more = compose(["cluster.max_failures=3", "cluster.autoscaling=true", "cluster.precision=float32"])
    assert more.config.cluster.max_failures == 3 and more.config.cluster.autoscaling and more.folder == plain.folder


@pytest.fixture(scope="module")
def session() -> object:
    """Ray believes what it is told of GPUs: without any it still gives them out, hides them and counts them."""
    with ray_session(
        num_cpus=3, num_gpus=max(2, torch.cuda.device_count()), python_path=[Path(__file__).parent]
    ) as found:
        yield found


@pytest.mark.slow
def test_an_actor_with_a_gpu_uses_its_own_and_one_without_sees_none(session: object, tmp_path: Path) -> None:
    folders = [tmp_path / f"silo-{i}" for i in range(2)]
    for i, folder in enumerate(folders):
        write_shard(folder, load("digits").private.take(range(i * 40, (i + 1) * 40)))

    def seen(placement: Placement) -> list[tuple[str, str | None]]:
        fleet = SiloFleet(folders, ScatterRidge(), seed=0, endpoint=None, per_actor=1, placement=placement)

        def look(actor: object) -> tuple[str, str | None]:
            import os

            return actor._host._device, os.environ.get("CUDA_VISIBLE_DEVICES")  # type: ignore[attr-defined]

        try:
            return ray.get([actor.__ray_call__.remote(look) for actor in fleet._actors], timeout=200)
        finally:
            fleet.close()

    with_gpu = seen(Placement(gpus=1))
    assert [device for device, _ in with_gpu] == ["cuda", "cuda"] and {visible for _, visible in with_gpu} == {"0", "1"}
    assert seen(Placement()) == [("cpu", ""), ("cpu", "")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "use_gpu"),
    [  # In single precision on CPUs: test_train.py.
        ("bfloat16", False),
        pytest.param("bfloat16", True, marks=ON_A_GPU),
        pytest.param("float32", True, marks=ON_A_GPU),
    ],
)
def test_workers_give_what_one_process_gives(session: object, tmp_path: Path, precision: str, use_gpu: bool) -> None:
    workers = 2 if not use_gpu else min(2, torch.cuda.device_count())
    alone = start(tmp_path / "alone", precision=precision)
    together = start(tmp_path / "together", workers=workers, use_gpu=use_gpu, precision=precision)
    assert together.notes[-1] == f"world {workers}"
    # bfloat16 keeps 8 bits, and halves of a batch round otherwise than the whole of it.
    # A GPU may multiply single precision in fewer bits, too.
    tolerance = 0.05
    for name in ("loss", "weight"):
        assert value(together, name) == pytest.approx(value(alone, name), rel=tolerance, abs=tolerance), name


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_ray_was_promised_and_is_not_there_ends_the_run_in_words(session: object, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"(?i)gpu|cuda|nccl"):
        start(tmp_path, workers=1, use_gpu=True)
