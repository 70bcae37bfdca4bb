"""What a teacher is: trained on one shard, it votes. Kinds of teachers are frozen settings behind one Protocol.

A kind trains a *group* of shards at once, since many small teachers share their matrix products well; each teacher depends on its own
shard and seed alone, so grouping changes nothing but the time it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    import torch

    from ..data.images import ImageData


class Teachers(Protocol):
    """S trained teachers."""

    def vote(self, images: np.ndarray) -> np.ndarray:
        """One label per teacher and image: uint8 (Q, c, h, w) to int64 (S, Q)."""

    def state(self, index: int) -> dict[str, torch.Tensor]:
        """What teacher `index` has learnt."""


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
        shape: tuple[int, int, int],
        classes: int,
        device: str = "cpu",
    ) -> Teachers:
        """Make teachers of what was learnt before."""

    def to_json(self) -> dict[str, Any]:
        """The settings with the kind's name."""


def teacher_kinds() -> dict[str, type[Any]]:
    """The kinds there are. (Imported when asked for: they bring torch with them.)"""
    from .cnn_teacher import CnnTeacher
    from .scatter_ridge import ScatterRidge

    return {kind.name: kind for kind in (ScatterRidge, CnnTeacher)}


def teacher_kind_from_json(data: Mapping[str, Any]) -> TeacherKind:
    """The kind that `to_json` described."""
    settings, kinds = dict(data), teacher_kinds()
    name = settings.pop("name", None)
    if name not in kinds:
        raise BadInput(f"unknown teacher kind {name!r}", mend=f"use one of {', '.join(sorted(kinds))}")
    try:
        return kinds[name](**settings)  # type: ignore[no-any-return]
    except TypeError as error:
        raise BadInput(f"teacher kind {name!r} with wrong settings", why=str(error).split("__init__() ")[-1]) from None
