"""What a teacher is: trained on one shard, it votes or answers with vectors. Kinds of teachers are frozen settings behind one Protocol.

A kind trains a *group* of shards at once, since many small teachers share their matrix products well; each teacher depends on its own
shard and seed alone, so grouping changes nothing but the time it takes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..data.images import check_images
from ..errors import BadInput

if TYPE_CHECKING:
    import torch

    from ..data.images import ImageData

Shape = tuple[int, int, int]
# What teachers answer with; a kind that names nothing (`answers`) votes.
VOTES, VECTORS = "votes", "vectors"


class Teachers(Protocol):
    """S trained teachers."""

    def vote(self, images: np.ndarray) -> np.ndarray:
        """One label per teacher and image: uint8 (Q, c, h, w) to int64 (S, Q)."""

    def state(self, index: int) -> dict[str, torch.Tensor]:
        """What teacher `index` has learnt."""


@runtime_checkable
class VectorTeachers(Protocol):
    """S trained teachers that answer with vectors."""

    def vectors(self, index: int, task: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Teacher `index`'s vectors for a task, float32 (rows, width). What it has learnt may change with that."""


class TeacherKind(Protocol):
    """Settings of a teacher; public information."""

    name: ClassVar[str]

    def fit(
        self,
        shards: Sequence[ImageData],
        seeds: Sequence[int],
        *,
        device: str = "cpu",
        progress: Callable[[int], None] = ...,
    ) -> Teachers:
        """Train one teacher on each shard; `progress(n)` is told how many are ready."""

    def load(
        self,
        states: Sequence[dict[str, torch.Tensor]],
        *,
        shape: Shape,
        classes: int,
        device: str = "cpu",
    ) -> Teachers:
        """Make teachers of what was learnt before."""

    def to_json(self) -> dict[str, Any]:
        """The settings with the kind's name."""


def check_group(shards: Sequence[ImageData], seeds: Sequence[int]) -> tuple[Shape, int]:
    """Return the shape and the number of classes that all shards of a group have.

    Raises:
        BadInput: they differ (a teacher would depend on its neighbours), one is empty, or there is not one seed for each.
    """
    if not shards or len(shards) != len(seeds):
        raise BadInput(f"{len(shards)} shards and {len(seeds)} seeds", mend="give at least one shard, and each a seed")
    if any(len(s) == 0 for s in shards):
        raise BadInput("a shard has no records", mend="leave its silo out of the roster")
    if len({s.shape for s in shards}) > 1:
        raise BadInput("the shards have images of different shapes", mend="bring all to one shape")
    if len({s.classes for s in shards}) > 1:
        raise BadInput("the shards have different numbers of classes", mend="write them all with the same number")
    return shards[0].shape, shards[0].classes


def check_queries(images: np.ndarray, shape: Shape) -> np.ndarray:
    """Return the images if they are uint8 and of the shape that the teachers were trained on."""
    queries = check_images(images, "queries")
    if queries.shape[1:] != shape:
        raise BadInput(f"queries have shape {queries.shape[1:]}, the teachers' images {shape}")
    return queries


class _Kinds(Mapping[str, type[Any]]):
    """The kinds by name. A class is imported when it is asked for: it brings torch with it, its name does not."""

    _places: ClassVar[dict[str, tuple[str, str]]] = {
        "scatter_ridge": (".scatter_ridge", "ScatterRidge"),
        "cnn": (".cnn_teacher", "CnnTeacher"),
        "diffusion": (".diffusion_teacher", "DiffusionKind"),
    }

    def __getitem__(self, name: str) -> type[Any]:
        module, kind = self._places[name]
        return getattr(importlib.import_module(module, __package__), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


TEACHER_KINDS: Mapping[str, type[Any]] = _Kinds()


def teacher_kind_from_json(data: Mapping[str, Any]) -> TeacherKind:
    """The kind that `to_json` described."""
    settings = dict(data)
    name = settings.pop("name", None)
    if name not in TEACHER_KINDS:
        raise BadInput(f"unknown teacher kind {name!r}", mend=f"use one of {', '.join(sorted(TEACHER_KINDS))}")
    try:
        return TEACHER_KINDS[name](**settings)
    except TypeError as error:
        raise BadInput(f"teacher kind {name!r} with wrong settings", why=str(error).split("__init__() ")[-1]) from None
