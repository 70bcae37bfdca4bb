"""Asking the ensemble about images that were made, batch by batch, up to a number of questions and a number of answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ...platform.errors import BudgetExhausted, RunFailed
from ...platform.training.run import Run
from ..transfer import TransferData


def ask(data: TransferData, images: np.ndarray, *, answers: int, batch: int, run: Run) -> dict[str, Any]:
    """Put images to the ensemble in their order until all are asked or `answers` answers have come.

    No batch is larger than the answers that are still wanted, so that there are never more than were planned. When to stop depends on
    released statuses only.

    Returns:
        images (Q, c, h, w) that were asked, labels (Q,), statuses, histograms (Q, K) or None, and what the ledger says.

    Raises:
        BudgetExhausted: the budget does not allow a single answer.
    """
    labels: list[np.ndarray] = []
    histograms: list[np.ndarray] = []
    statuses: list[str] = []
    spent = 0.0
    at = stored = charged = got = 0
    with run.progress(len(images), "asking the ensemble") as bar:
        while at < len(images) and got < answers:
            part = images[at : at + min(batch, answers - got)]
            try:
                reply = data.ensemble.ask(part, data.mechanism)
            except BudgetExhausted as error:
                if not labels:
                    raise
                run.say(f"budget: {error.what}; going on with the {at} queries asked so far")
                break
            labels.append(np.asarray(reply.labels, dtype=np.int64))
            if reply.histograms is not None:
                histograms.append(np.asarray(reply.histograms, dtype=np.int64))
            statuses += [str(status) for status in reply.statuses]
            spent = float(reply.spent_epsilon)
            stored += int(np.sum(reply.from_store))
            charged += int(reply.cost_nano_rho)
            at += len(part)
            got = statuses.count("answered")
            bar.advance(len(part), say=f"{got} answered")
    return {
        "images": images[:at], "labels": np.concatenate(labels), "statuses": statuses,
        "histograms": np.concatenate(histograms) if histograms else None,
        "ledger_epsilon": spent, "from_store": stored, "cost_nano_rho": charged,
    }  # fmt: skip


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what several rounds bought as if it had been one."""
    noisy = [part["histograms"] for part in parts if part["histograms"] is not None]
    return {
        "images": np.concatenate([part["images"] for part in parts]),
        "labels": np.concatenate([part["labels"] for part in parts]),
        "statuses": [status for part in parts for status in part["statuses"]],
        "histograms": np.concatenate(noisy) if noisy else None,
        "ledger_epsilon": parts[-1]["ledger_epsilon"],
        "from_store": sum(part["from_store"] for part in parts),
        "cost_nano_rho": sum(part["cost_nano_rho"] for part in parts),
    }


def refuse_unless_answered(labels: np.ndarray) -> None:
    """Stop where nothing was answered.

    Raises:
        RunFailed: there is no label to learn from.
    """
    if not (labels >= 0).any():
        raise RunFailed(
            f"none of {len(labels)} queries was answered",
            why="the teachers agree too little on these images for this threshold; the threshold checks are paid for all the same",
            mend="lower privacy.mechanism.threshold, use method.selection=confident, or have fewer teachers with larger shards",
        )  # fmt: skip


def outcomes(statuses: list[str]) -> str:
    """The statuses, counted, in words."""
    return ", ".join(f"{n} {status}" for status, n in sorted(Counter(statuses).items()))
