"""Precision and device of a training: the same tests on a CPU and, by `make gpu-check`, on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.loop import Trained, train
from stillhouse.platform.training.precision import KNOWN, Precision
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.seeds import seeded

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
IMAGES = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES[:, 0] > 0).long()


class Interrupted(Exception):
    pass


def start(folder: Path, device: str, precision: Precision = "float32") -> LocalRun:
    return LocalRun(folder, seed=3, device=device, reporter=Silent(), precision=precision)


def job(run: LocalRun, *, epochs: int = 20, stop_at: int = 0, **options: object) -> tuple[torch.nn.Module, Trained]:
    with seeded(run.seed_for("model")):
        model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen: list[tuple[str, torch.dtype]] = []

    def loss(net: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits = net(batch[0])
        seen.append((logits.device.type, logits.dtype))
        return torch.nn.functional.cross_entropy(logits, batch[1])

    def after_step(step: int) -> None:
        if step == stop_at:
            raise Interrupted

    trained = train(
        run, model, loss, run.loader((IMAGES, LABELS), 16), optimizer, epochs=epochs, after_step=after_step,
        checkpoint_seconds=0, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    precision = options.get("precision", run.precision)
    assert set(seen) <= {(run.device.type, getattr(torch, str(precision)))}
    return model, trained


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


@on_each_device
@pytest.mark.parametrize("precision", KNOWN)
def test_the_loop_learns_on_each_device_in_each_precision(tmp_path: Path, device: str, precision: Precision) -> None:
    model, trained = job(start(tmp_path, device, precision))
    assert all(p.dtype == torch.float32 and p.device.type == device for p in model.parameters())
    assert trained.loss < 0.4
    predicted = model.eval()(IMAGES.to(device)).argmax(1).cpu()
    assert (predicted == LABELS).float().mean() > 0.9


@on_each_device
@pytest.mark.parametrize("precision", KNOWN)
def test_one_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path, device: str, precision: Precision) -> None:
    """Weights, optimizer, the scale of float16's loss and all generators, that of the GPU's dropout too, go on where they were."""
    whole, _ = job(start(tmp_path / "whole", device, precision))
    with pytest.raises(Interrupted):
        job(start(tmp_path / "cut", device, precision), stop_at=50)
    again, trained = job(start(tmp_path / "cut", device, precision))
    assert trained.resumed_at == 48
    if device == "cpu":
        assert torch.equal(weights(again), weights(whole))
    else:  # Sums on a GPU may be taken in another order.
        assert torch.allclose(weights(again), weights(whole), rtol=1e-3, atol=1e-4)


def test_single_precision_is_the_default_to_the_last_bit(tmp_path: Path) -> None:
    default, _ = job(LocalRun(tmp_path / "default", seed=3, reporter=Silent()))
    named, _ = job(start(tmp_path / "named", "cpu", "float32"))
    assert torch.equal(weights(default), weights(named))


def test_a_training_may_have_a_precision_of_its_own(tmp_path: Path) -> None:
    own, _ = job(start(tmp_path / "own", "cpu"), precision="bfloat16")
    of_the_run, _ = job(start(tmp_path / "run", "cpu", "bfloat16"))
    assert torch.equal(weights(own), weights(of_the_run))


def test_a_stage_of_another_precision_is_not_found(tmp_path: Path) -> None:
    for value, precision in enumerate(KNOWN):
        assert start(tmp_path, "cpu", precision).stage("value", lambda value=value: {"it": value}) == {"it": value}
    assert start(tmp_path, "cpu").stage("value", lambda: {"it": -1}) == {"it": 0}


def test_autocast_is_the_runs_own(tmp_path: Path) -> None:
    ones = torch.ones(2, 2)
    with start(tmp_path, "cpu", "bfloat16").autocast():
        assert (ones @ ones).dtype == torch.bfloat16
    with start(tmp_path, "cpu").autocast():
        assert (ones @ ones).dtype == torch.float32


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="float32, bfloat16 or float16"):
        start(tmp_path, "cpu", "float8")  # type: ignore[arg-type]


def test_batches_for_a_gpu_are_pinned(tmp_path: Path) -> None:
    tensors, records = (torch.ones(8, 2), torch.ones(8)), [(torch.ones(2), 1)] * 8
    for device, pinned in (("cuda", True), ("cpu", False)):
        run = start(tmp_path, device)
        assert [run.loader(data, 4).pin_memory for data in (tensors, records)] == [pinned, pinned]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_pinned_batches_come_pinned_and_those_that_are_on_the_gpu_stay_there(tmp_path: Path) -> None:
    run = start(tmp_path, "cuda")
    assert all(part.is_pinned() for batch in run.loader((IMAGES, LABELS), 16) for part in batch)
    assert all(part.is_cuda for batch in run.loader((IMAGES.cuda(), LABELS.cuda()), 16) for part in batch)
