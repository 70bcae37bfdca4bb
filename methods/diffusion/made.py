"""What a variant hands over: a student, what may be said of it, and what its pictures are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...platform.diffusion.networks import Network
from ...platform.privacy.statement import PrivacyStatement


@dataclass(frozen=True, eq=False)
class Made:
    """A student.

    Attributes:
        network, weights: the student; `rungs`: steps of its chain.
        statement: of the student and of all that follows from it.
        teacher, teacher_weights: only where the teacher may be shown (it is covered by the same statement).
        label_shares: probabilities (K,) of the classes, from a noisy histogram; None: all classes alike.
        notes: for the report.
    """

    network: Network
    weights: Mapping[str, Tensor]
    rungs: int
    statement: PrivacyStatement
    teacher: Network | None = None
    teacher_weights: Mapping[str, Tensor] = field(default_factory=dict)
    label_shares: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """A hash of the weights."""
        return hash_of(self.weights)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
