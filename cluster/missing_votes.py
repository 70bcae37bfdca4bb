"""Which answers of a run were decided without some silos: written beside the run when they come, told in its report.

A missing vote is an abstention. It changes what is counted, not what an answer costs: one record is still behind one vote at most.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..platform.privacy.mechanisms import Mechanism
from ..platform.privacy.vector_mean import VectorMean

FILE = "missing_votes.jsonl"


@dataclass(frozen=True)
class MissingVotes:
    """The record of one run's questions to one ensemble of `silos` silos. It holds a path, so a training worker can take it along."""

    folder: Path
    ensemble: str
    silos: int

    def note(self, images: np.ndarray, mechanism: Mechanism | VectorMean, voted: Sequence[int]) -> None:
        """Write down how many silos voted on each of these queries, if any vote was missing."""
        fewer = Counter(number for number in voted if 0 < number < self.silos)
        if not fewer:
            return
        question = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        row = {"of": self._of(mechanism), "question": question, "queries": dict(fewer)}
        with (self.folder / FILE).open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def told(self, mechanism: Mechanism | VectorMean) -> tuple[str, ...]:
        """Return what the report says about it: a line for each number of votes."""
        path = self.folder / FILE
        if not path.exists():
            return ()
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # A question that was put twice, because the run was started again, was decided once.
        questions = {row["question"]: row["queries"] for row in rows if row["of"] == self._of(mechanism)}
        total: Counter[int] = Counter()
        for queries in questions.values():
            total.update({int(number): count for number, count in queries.items()})
        return tuple(
            f"{count} queries were decided by the votes of {number} of {self.silos} silos; the others were lost or late. A missing "
            "vote is an abstention and changes no epsilon"
            for number, count in sorted(total.items())
        )

    def _of(self, mechanism: Mechanism | VectorMean) -> list[str]:
        return [self.ensemble, mechanism.fingerprint()]
