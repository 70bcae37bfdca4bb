"""Terms wrapped with the student in DistributedDataParallel: two processes step together, before and after the queue is filled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[2]

PROCESS = """
import sys
sys.path.insert(0, sys.argv[3])
import torch
from dataclasses import replace
from torch import nn
from stillhouse.methods.recognition.crrcd.loss import Relation
from stillhouse.methods.recognition.baselines.crd import Memory
from stillhouse.methods.recognition.seen import Seen
from stillhouse.methods.recognition.terms import Terms
from support.distillation import SIZES, drawn_batch

rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}/meeting", rank=rank, world_size=2)
terms = Terms(
    kd=1, crd=1, crrcd=1, instance=1, relation=1, fitnet=1,
    crd_settings=Memory(dimension=3, negatives=8), crrcd_settings=Relation(negatives=12, queue=24, warm_up=0.5),
)

class Together(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(rank)
        self.student = nn.Linear(4, SIZES.student)
        self.terms = terms.build(SIZES, seed=rank)

    def forward(self, pictures, batch):
        student = Seen(self.student(pictures), batch.student.maps)
        seen = replace(batch, student=student)
        return terms.weighted(seen, self.terms), seen

both = Together()
spread = nn.parallel.DistributedDataParallel(both)
optimizer = torch.optim.Adam(both.parameters(), lr=1e-3)
torch.manual_seed(100 + rank)
for step, progress in enumerate((0.0, 0.2, 0.6, 0.8, 1.0)):
    batch = drawn_batch(10 * step + rank, dtype=torch.float32, progress=progress)
    (total, parts), seen = spread(torch.randn(7, 4), batch)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    terms.after_step(replace(seen, student=Seen(seen.student.embedding.detach(), seen.student.maps)), both.terms)
torch.save({"parameters": dict(both.named_parameters()), "parts": parts, "pushed": both.terms["crrcd"].queue.pushed},
           f"{sys.argv[2]}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_step_together_and_end_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS]
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path), str(TESTS)], stderr=subprocess.PIPE) for rank in range(2)
    ]
    for one in started:
        _, complaint = one.communicate(timeout=240)
        assert one.returncode == 0, complaint.decode()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in first["parameters"].items():
        assert torch.equal(value, second["parameters"][name]) and torch.isfinite(value).all(), name
    assert all(torch.isfinite(value) for one in (first, second) for value in one["parts"].values())
    assert first["parts"]["crrcd"] > 0 and first["pushed"] == 5 * 7
