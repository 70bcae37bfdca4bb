"""One process on a data owner's side: reads its own shards, trains their teachers, votes. Only votes leave it, or clipped vectors.

A host usually has one silo. In a simulation it may have many; they are trained together, and each teacher is the same as if
its silo stood alone: its seed comes from the silo's name, its standardisation from its own shard.

Each silo's folder keeps its teacher (`teacher.safetensors`, written atomically, tied to the shard, the teacher's settings and
the seed), so a killed host comes back without training again. It keeps the votes cast, too: a repeated batch gets the same ones.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..data.images import ImageData, check_images
from ..errors import BadInput, RunFailed
from ..privacy.vector_mean import Grid
from ..training.files import replace
from ..training.seeds import seed_for
from .kept_votes import KeptVotes
from .shard import read_shard
from .teachers import VOTES, TeacherKind, Teachers, VectorTeachers

TEACHER = "teacher.safetensors"
GROUP = 50


@dataclass(frozen=True)
class TrainingReport:
    """What training did, in public terms: whose teachers, how many were trained and how many found, seconds."""

    silos: tuple[str, ...]
    trained: int
    reused: int
    seconds: float


class VotingFailed(RunFailed):
    """A teacher failed while it voted. `why` is the name of the error's type; its text could hold what a record holds."""


class SiloHost:
    """Public surface: `silos`, `train`, `vote`, `vectors`, `describe`. Nothing else about the records can be asked."""

    def __init__(self, folders: Sequence[Path | str], kind: TeacherKind, *, seed: int = 0, device: str = "cpu") -> None:
        self._folders = [Path(f) for f in folders]
        if not self._folders:
            raise BadInput("a host without silos", mend="give at least one folder")
        self._kind, self._seed, self._device = kind, seed, device
        self._teachers: Teachers | None = None
        self._shape: tuple[int, int, int] | None = None
        self._classes = 0
        self._ready = 0
        self._turn = threading.Lock()
        self._kept: list[KeptVotes] = []
        self._answered: tuple[str, dict[int, np.ndarray]] = ("", {})

    @property
    def silos(self) -> list[str]:
        """The silos' names, in the order of their votes."""
        return [f.name for f in self._folders]

    def train(self, progress: Callable[[int], None] = lambda ready: None) -> TrainingReport:
        """Train what has no teacher yet. `progress(n)` is told how many teachers are ready."""
        with self._turn:
            started = time.monotonic()
            shards = [read_shard(folder) for folder in self._folders]
            self._check_alike(shards)
            keys = [self._key(folder, shard) for folder, shard in zip(self._folders, shards, strict=True)]
            states = [_load_state(folder / TEACHER, key) for folder, key in zip(self._folders, keys, strict=True)]
            missing = [i for i, state in enumerate(states) if state is None]
            found = self._ready = len(states) - len(missing)

            for start in range(0, len(missing), GROUP):
                group = missing[start : start + GROUP]
                before = found + start

                def advance(trained: int, before: int = before) -> None:
                    self._ready = before + trained
                    progress(self._ready)

                seeds = [seed_for(self._seed, "teacher", self._folders[i].name) for i in group]
                fitted = self._kind.fit([shards[i] for i in group], seeds, device=self._device, progress=advance)
                # Kept group by group: a host that is killed has lost only what it was working on.
                for position, i in enumerate(group):
                    states[i] = fitted.state(position)
                    _save_state(self._folders[i] / TEACHER, fitted.state(position), keys[i])
            whole = [state for state in states if state is not None]
            self._shape, self._classes = shards[0].shape, max(s.classes for s in shards)
            self._teachers = self._kind.load(whole, shape=self._shape, classes=self._classes, device=self._device)
            self._kept = [KeptVotes(folder, key) for folder, key in zip(self._folders, keys, strict=True)]
            self._ready = len(states)
            progress(self._ready)
            return TrainingReport(tuple(self.silos), len(missing), found, time.monotonic() - started)

    def vote(self, images: np.ndarray) -> np.ndarray:
        """Return one label per silo and image, (S, Q) int64, for public images (Q, channels, height, width) uint8."""
        queries = check_images(images, "queries")
        with self._turn:
            if self._teachers is None:
                raise BadInput("these silos have no teachers yet", mend="train first")
            if queries.shape[1:] != self._shape:
                raise BadInput(f"queries have shape {queries.shape[1:]}, the silos' images {self._shape}")
            batch = hashlib.sha256(repr(queries.shape).encode() + np.ascontiguousarray(queries).tobytes()).hexdigest()
            failure = ""
            try:
                return self._votes_on(batch, queries, self._teachers)
            except Exception as error:
                failure = type(error).__name__
            # Raised out here, where the first error is no longer attached to it.
            raise VotingFailed("these silos could not vote", why=failure)

    def vectors(
        self, batch: str, task: str, inputs: Mapping[str, np.ndarray], grid: Grid, centre: np.ndarray | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each silo's name and its vectors (rows, width), clipped about the centre and rounded to the grid: whole numbers.

        `batch` names the question's content. The last batch is kept, and the same again gets the same vectors: teachers may learn
        from a question, so they would not compute them twice.
        """
        for index, silo in enumerate(self.silos):
            with self._turn:
                teachers = self._teachers
                if teachers is None:
                    raise BadInput("these silos have no teachers yet", mend="train first")
                if not isinstance(teachers, VectorTeachers):
                    raise BadInput(
                        "these teachers answer with labels only", mend="use a kind that answers with vectors"
                    )
                if self._answered[0] != batch:
                    self._answered = (batch, {})
                known = self._answered[1]
                failure = ""
                if index not in known:
                    try:
                        known[index] = grid.put(teachers.vectors(index, task, inputs), centre)
                    except Exception as error:
                        failure = type(error).__name__
                units = known.get(index)
            if units is None:
                raise VotingFailed("these silos could not answer", why=failure)
            yield silo, units.copy()

    def describe(self) -> dict[str, Any]:
        """Return public facts: names, teacher settings, image shape, classes, how many teachers are ready."""
        return {
            "silos": self.silos,
            "teacher": self._kind.to_json(),
            "shape": list(self._shape) if self._shape else None,
            "classes": self._classes or None,
            "teachers_ready": self._ready,
            "answers": list(getattr(self._kind, "answers", (VOTES,))),
        }

    def _votes_on(self, batch: str, queries: np.ndarray, teachers: Teachers) -> np.ndarray:
        known = [kept.get(batch, len(queries)) for kept in self._kept]
        missing = [i for i, votes in enumerate(known) if votes is None]
        fresh = np.asarray(teachers.vote(queries), dtype=np.int64) if missing else np.empty((0, 0), np.int64)
        for i in missing:
            self._kept[i].put(batch, fresh[i])
        rows = [fresh[i] if votes is None else votes for i, votes in enumerate(known)]
        return np.stack(rows)

    def _check_alike(self, shards: Sequence[ImageData]) -> None:
        if len({s.shape for s in shards}) > 1:
            raise BadInput("the silos of this host have images of different shapes", mend="bring all to one shape")
        if any(len(s) == 0 for s in shards):
            raise BadInput("a silo of this host has no records", mend="leave it out of the roster")

    def _key(self, folder: Path, shard: ImageData) -> str:
        body = [shard.content_hash(), self._kind.to_json(), seed_for(self._seed, "teacher", folder.name)]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _save_state(path: Path, state: dict[str, torch.Tensor], key: str) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def fill(aside: Path) -> None:
        save_file(tensors, aside, metadata={"key": key})

    replace(path, fill)


def _load_state(path: Path, key: str) -> dict[str, torch.Tensor] | None:
    """Return the kept teacher, or None if there is none for this shard, these settings and this seed."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError) as error:
        raise RunFailed(
            f"the kept teacher {path} is damaged", why=type(error).__name__, mend="remove the file; it is trained again"
        ) from None
