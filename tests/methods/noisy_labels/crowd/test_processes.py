"""CCC on several processes is CCC on one: virtual step, correction, distilled sets and groups, and the step that counts.

Processes are threads here, which meet at a barrier wherever a process would send a message; real ones are in
`tests/cluster/test_crowd_workers.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.noisy_labels.crowd.answers import Answers
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, build
from stillhouse.methods.noisy_labels.crowd.coupled import CrowdLayer, MutualCorrection, MutualSettings
from stillhouse.methods.noisy_labels.crowd.heads import CrowdHead
from stillhouse.methods.noisy_labels.crowd.meta_step import VIRTUAL_STEPS
from stillhouse.methods.noisy_labels.crowd.processes import Alone, OfRun, Processes
from stillhouse.platform.data.crowd import CrowdAnswers
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.seeds import seed_for
from torch import Tensor

from .small_crowd import CLASSES, small_crowd

DATA = small_crowd(60)
STEPS, BATCH, EPOCHS = 5, 12, 3


class Meeting:
    """What one thread lays down, all take up."""

    def __init__(self, size: int) -> None:
        self.size, self._barrier, self._laid = size, threading.Barrier(size, timeout=60), [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self._laid[rank] = value
        self._barrier.wait()
        found = list(self._laid)
        self._barrier.wait()
        return found


class Threaded:
    """One of the threads of a meeting."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self._meeting, self.rank, self.size = meeting, rank, meeting.size
        self.averaged = 0

    def mean(self, tensors: list[Tensor]) -> list[Tensor]:
        self.averaged += 1
        everyone = self.gather([tensor.detach() for tensor in tensors])
        return [torch.stack(parts).mean(0) for parts in zip(*everyone, strict=True)]

    def gather(self, value: Any) -> list[Any]:
        return self._meeting.exchange(self.rank, value)


def uneven() -> CrowdAnswers:
    """Items have one to three answers, so that processes do not have the same number."""
    own = DATA.answers
    kept = (np.arange(len(own.items)) % 3 == 0) | (own.items % 4 != 0)
    return CrowdAnswers(own.items[kept], own.annotators[kept], own.labels[kept], 60, 10, CLASSES)


def trained(
    virtual: str, processes: Processes, mean: Callable[[list[Tensor]], list[Tensor]]
) -> tuple[Tensor, CrowdLayer]:
    """Weights after a few epochs of plain descent on this process's part of each batch, in double precision."""
    # Weights are drawn from torch's generator, which threads share.
    networks = [build(Backbone(hidden=8, dropout=0.0), DATA.inputs, CLASSES) for _ in range(2)]
    heads = [CrowdHead(10, CLASSES, diagonal=2.0) for _ in range(2)]
    items, answers = torch.from_numpy(DATA.inputs).double(), Answers(uneven())
    draw = np.random.default_rng(0)

    def averaged(count: float) -> float:
        return float(np.mean(processes.gather(count)))

    layer = CrowdLayer(networks, heads, items, answers, averaged=averaged).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(weight if weight.ndim == 3 else torch.from_numpy(0.4 * draw.normal(size=weight.shape)))
    layer.mutual = MutualCorrection(
        MutualSettings(
            warm_up=1, eta=0.5, virtual=virtual, meta_batch=8, meta_size=30, groups=3, weighted=True, duplicates=False,
            confusion_rate=10.0,
        ),
        items, answers, steps_per_epoch=STEPS, rate=lambda: 0.1, seed_for=lambda *names: seed_for(0, *names),
        processes=processes,
    )  # fmt: skip
    weights = list(layer.train().parameters())
    for step in range(EPOCHS * STEPS):
        rows = torch.arange(BATCH) + BATCH * (step % STEPS)
        loss = layer(rows[processes.rank :: processes.size])["loss"]
        slopes = mean(list(torch.autograd.grad(loss, weights)))
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight -= 0.1 * slope
    return torch.cat([weight.detach().flatten() for weight in weights]), layer


@pytest.mark.parametrize("virtual", VIRTUAL_STEPS)
@pytest.mark.parametrize("size", [2, 3])
def test_threads_that_share_each_batch_end_where_one_does(virtual: str, size: int) -> None:
    alone, single = trained(virtual, Alone(), list)
    meeting = Meeting(size)
    members = [Threaded(meeting, rank) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(lambda own: trained(virtual, own, own.mean), members))
    for weights, layer in found:
        assert torch.allclose(weights, alone, rtol=0, atol=1e-9)
        assert layer.mutual is not None and single.mutual is not None
        for own, wanted in zip(layer.mutual.distilled, single.mutual.distilled, strict=True):
            assert np.array_equal(own.items, wanted.items) and np.array_equal(own.labels, wanted.labels)
        assert all(map(np.array_equal, layer.mutual.groups, single.mutual.groups))
    # One message for the virtual step and one for H, of each model in each corrected step; the rest is the real step's.
    assert {own.averaged for own in members} == {EPOCHS * STEPS + 4 * (EPOCHS - 1) * STEPS}


def test_a_process_that_kept_its_own_gradients_would_end_elsewhere() -> None:
    """The comparison above can fail: it does where the virtual step is each process's own."""

    class Selfish(Threaded):
        """Its real step is shared, its meta step is not."""

        def mean(self, tensors: list[Tensor]) -> list[Tensor]:
            return list(tensors)

    alone, _ = trained("whole", Alone(), list)
    meeting = Meeting(2)
    members = [Selfish(meeting, rank) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda own: trained("whole", own, lambda slopes: Threaded.mean(own, slopes)), members))
    assert not torch.allclose(found[0][0], alone, rtol=0, atol=1e-4)


def test_a_run_of_one_process_sends_nothing(tmp_path: Any) -> None:
    processes = OfRun(LocalRun(tmp_path, reporter=Silent()))
    tensors = [torch.ones(2), torch.zeros(3)]
    assert (processes.rank, processes.size) == (0, 1)
    assert all(own is given for own, given in zip(processes.mean(tensors), tensors, strict=True))
    assert processes.gather("x") == ["x"]
