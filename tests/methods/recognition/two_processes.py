"""One of two processes of a run, without Ray: `python -c "..." rank folder tests`, met through a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stillhouse.methods.recognition.crrcd.loss import Relation
from stillhouse.methods.recognition.embedding import maps_of
from stillhouse.methods.recognition.judging import Judging
from stillhouse.methods.recognition.kept import weights_hash
from stillhouse.methods.recognition.method import FaceRecognition
from stillhouse.methods.recognition.seen import Seen
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.world import World

from .few_faces import LITTLE, few_faces, method

CRRCD = Terms(kd=0.5, crrcd=2.0, crrcd_settings=Relation(negatives=4, queue=16, dimension=8, hidden=8))


class TogetherRun(LocalRun):
    """A run of several processes that speak through torch.distributed."""

    def checkpoint(self, state: Any, name: str = "main") -> None:
        if self.world.first:
            self.keep_checkpoint(state, name)
        torch.distributed.barrier()

    def restore(self, name: str = "main") -> Any | None:
        return self.from_first(super().restore(name) if self.world.first else None)

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        return torch.nn.parallel.DistributedDataParallel(model)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.world.first:
            super().log(metrics, step)

    def agree(self, value: bool) -> bool:
        return bool(self.from_first(value))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return dict(zip(values, (total / self.world.size).tolist(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.world.size
        torch.distributed.all_gather_object(found, value)
        return found

    def from_first(self, value: Any) -> Any:
        parcel = [value]
        torch.distributed.broadcast_object_list(parcel, src=0)
        return parcel[0]


def tried(name: str) -> FaceRecognition:
    """Each reaches another part of the loop: a queue and weights of its own, live maps, batches of people with FaceBN."""
    if name == "crrcd":
        return method(CRRCD, algorithm=name)
    if name == "at":
        return method(Terms(kd=0.5, at=10.0), algorithm=name)
    people = replace(LITTLE, people_per_batch=4, pictures_per_person=3)
    judging = Judging(fars=(0.1,), adapt="mix", shifts=("noise",))
    return method(Terms(instance=1.0, relation=1.0), algorithm=name, recipe=people, judging=judging)


def main(rank: int, folder: Path) -> None:
    """Run each, and write what this process ended with."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for name in ("crrcd", "at", "aird"):
        run = TogetherRun(folder / name, seed=3, reporter=Silent(), world=World(rank, 2))
        outcome = execute(tried(name), few_faces(), run)
        torch.distributed.barrier()
        found[name] = {key: metric.value for key, metric in outcome.metrics.items()}
        stored = load_recogniser(folder / name).network
        assert isinstance(stored, torch.nn.Module)
        found[f"{name} weights"] = weights_hash(stored)
    pictures = few_faces().train.pictures
    runs = [TogetherRun(folder / "maps", seed=0, world=World(rank, 2)), LocalRun(folder / f"maps-{rank}", seed=0)]
    together, alone = (
        maps_of(run, lambda p: Seen(p.mean((2, 3)), (p, p[:, :1, ::2])), pictures, piece=3) for run in runs
    )
    found["maps are those of one process"] = all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
