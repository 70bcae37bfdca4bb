"""PATE with a public pool (Papernot et al. 2017, arXiv 1610.05755; 2018, arXiv 1802.08908).

Teachers on disjoint shards vote on public images; an aggregator adds noise to the counts, charges the ledger and releases a label, or
none; a student learns from the labels. Whatever the student does with released labels costs nothing more (post-processing).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ...platform.data.images import ImageData
from ...platform.errors import BadInput, BudgetExhausted, RunFailed
from ...platform.privacy.validate import positive, positive_int
from ...platform.training.loop import train
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ..transfer import LABELS, TransferData
from .statement import label_statement
from .student import ScatterStudent


@dataclass(frozen=True)
class Pate:
    """Ask `queries` images of the public pool, then train a student on the labels that came back.

    Args:
        queries: how many distinct pool images to ask, chosen uniformly at random (a public choice).
        batch_queries: how many go into one batch to the aggregator.
        components: dimensions of the projection learnt on the public pool.
        hidden, dropout, label_smoothing: the student's head; smoothing because some labels are wrong.
        epochs, batch_size, learning_rate, weight_decay: its training (AdamW, one-cycle schedule).
    """

    works_on: ClassVar[str] = "ensemble"

    queries: int = 1000
    batch_queries: int = 500
    components: int = 200
    hidden: int = 512
    dropout: float = 0.5
    label_smoothing: float = 0.1
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        positive_int(
            queries=self.queries, batch_queries=self.batch_queries, components=self.components, hidden=self.hidden,
            epochs=self.epochs, batch_size=self.batch_size,
        )  # fmt: skip
        positive(learning_rate=self.learning_rate)
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it must be in [0, 1)")

    def fit(self, data: TransferData, run: Run) -> Outcome:
        """Ask, train, score.

        Raises:
            BudgetExhausted: the budget does not allow a single answer.
            RunFailed: no query was answered.
        """
        if self.queries > len(data.pool):
            raise BadInput(
                f"{self.queries} queries, but the pool has {len(data.pool)} images", mend="lower method.queries"
            )
        answers = run.stage(LABELS, lambda: self._ask(data, run), inputs=self.question(data), once=True)
        asked, labels = answers["indices"], answers["labels"]
        answered = labels >= 0
        if not answered.any():
            raise RunFailed(
                f"none of {len(asked)} queries was answered", why="the teachers agree too little for this threshold",
                mend="lower privacy.mechanism.threshold, or have fewer teachers with larger shards",
            )  # fmt: skip
        student = self._new_student(data, run)
        run.say(f"student: features of {len(data.pool)} public images")
        pool = student.fit_projection(data.pool)[torch.from_numpy(asked[answered])]
        bought = torch.from_numpy(labels[answered])
        scores = self._train(data, run, student, pool, bought, name="student", batch_size=self.batch_size)
        path = run.folder / "student.safetensors"
        if run.world.first:
            save_file(student.state_dict(), path)
        statuses = dict(Counter(answers["statuses"]))
        statement = label_statement(
            data.mechanism, asked=len(asked), answered=statuses.get("answered", 0), delta=data.delta
        )
        metrics = {
            "student_accuracy": Metric(scores, "fraction", "higher"),
            "asked": Metric(float(len(asked)), "queries"),
            "answered": Metric(float(answered.sum()), "queries"),
            "epsilon": Metric(statement.epsilon, "epsilon", "lower"),
            "ledger_epsilon": Metric(answers["ledger_epsilon"], "epsilon", "lower"),
        }
        notes = [f"queries by outcome: {', '.join(f'{n} {status}' for status, n in sorted(statuses.items()))}"]
        if statuses.get("budget") or len(asked) < self.queries:
            notes.append(
                f"the budget ended the questions: {self.queries} planned, {len(asked)} asked, {int(answered.sum())} answered"
            )
        if answers["from_store"]:
            notes.append(f"{answers['from_store']} answers came from the store and cost nothing now")
        return Outcome("pate", metrics, statement, artefacts={"student": path.name}, notes=tuple(notes))

    def nonprivate(self, data: TransferData, private: ImageData, run: Run) -> float:
        """Return the accuracy of the same student trained on all private records and their true labels: the reference."""
        student = self._new_student(data, run)
        run.say(f"non-private reference: features of {len(private)} private images")
        student.fit_projection(data.pool)
        found, labels = student.project(private.images), torch.from_numpy(private.labels)
        return self._train(data, run, student, found, labels, name="nonprivate", batch_size=256)

    def question(self, data: TransferData) -> dict[str, Any]:
        """Return all that the bought labels depend on."""
        pool = hashlib.sha256(np.ascontiguousarray(data.pool).data).hexdigest()
        return {
            "pool": pool,
            "mechanism": data.mechanism.to_json(),
            "ensemble": data.ensemble_id,
            "queries": self.queries,
        }

    def _ask(self, data: TransferData, run: Run) -> dict[str, Any]:
        order = torch.randperm(len(data.pool), generator=run.generator)[: self.queries].numpy()
        labels: list[np.ndarray] = []
        statuses: list[str] = []
        spent = 0.0
        stored = charged = 0
        with run.progress(len(order), "asking the ensemble") as bar:
            for start in range(0, len(order), self.batch_queries):
                part = order[start : start + self.batch_queries]
                try:
                    got = data.ensemble.ask(data.pool[part], data.mechanism)
                except BudgetExhausted as error:
                    if not labels:
                        raise
                    run.say(f"budget: {error.what}; going on with the {start} queries asked so far")
                    break
                labels.append(np.asarray(got.labels, dtype=np.int64))
                statuses += [str(s) for s in got.statuses]
                spent = float(got.spent_epsilon)
                stored += int(np.sum(got.from_store))
                charged += int(got.cost_nano_rho)
                bar.advance(len(part), say=f"{statuses.count('answered')} answered")
        found = np.concatenate(labels)
        return {
            "indices": order[: len(found)], "labels": found, "statuses": statuses, "ledger_epsilon": spent,
            "from_store": stored, "cost_nano_rho": charged,
        }  # fmt: skip

    def _new_student(self, data: TransferData, run: Run) -> ScatterStudent:
        torch.manual_seed(run.seed_for("student"))
        components = min(self.components, len(data.pool) - 1)
        shape = data.score.images.shape[1:]
        return ScatterStudent(shape, data.classes, components=components, hidden=self.hidden, dropout=self.dropout)

    def _train(
        self, data: TransferData, run: Run, student: ScatterStudent, features: torch.Tensor, labels: torch.Tensor, *,
        name: str, batch_size: int,
    ) -> float:  # fmt: skip
        """Train the head on features and labels; return the accuracy on the score set."""
        loader = run.loader((features, labels), batch_size)
        optimizer = torch.optim.AdamW(student.head.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        steps = self.epochs * len(loader) + 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=steps)

        def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            inputs, targets = batch
            return F.cross_entropy(model(inputs), targets, label_smoothing=self.label_smoothing)

        inputs = {"labels": hashlib.sha256(labels.numpy().tobytes()).hexdigest(), **asdict(self)}
        train(
            run, student.head, loss, loader, optimizer, epochs=self.epochs, name=name, scheduler=schedule,
            scheduler_every="step", inputs=inputs,
        )  # fmt: skip
        student.eval().cpu()
        with torch.no_grad():
            predicted = student(data.score.images).argmax(1)
        accuracy = float((predicted == torch.from_numpy(data.score.labels)).double().mean())
        run.log({f"{name}/accuracy": accuracy})
        return accuracy
