"""Two crowd models that correct each other (CCC), or one or more that do not (CrowdLayer): the same step, with and without correction.

CCC: Zhang, Li, Zeng, Yan & Ge, Coupled Confusion Correction: Learning from Crowds with Sparse Annotations, AAAI 2024. CrowdLayer:
Rodrigues & Pereira, Deep Learning from Crowds, AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.training.run import Run
from .answers import Answers
from .backbones import Network
from .distilled import Distilled, distil
from .grouping import group
from .heads import CrowdHead, crowd_loss
from .meta_step import ALONE, MetaStep, Pass, max_normalised, meta_gradient
from .predicting import log_probabilities
from .processes import Processes

# What a number of answers is on average over the processes that share a batch.
Averaged = Callable[[float], float]
Models = Sequence[tuple[Network, CrowdHead]]


class CrowdLayer(nn.Module):
    """Item numbers (B,) to the loss of all models' answers about them. (A module, so that several processes average its gradient.)

    Args:
        networks, heads: one head a network; the models share nothing.
        items: (N, ...) all training items, on the device that trains.
        answers: about them.
        averaged: see `Averaged`: each process divides by the same number, so the averaged gradient is that of the whole batch.

    `mutual` is the correction: None, which makes it CrowdLayer, until one is set.
    """

    def __init__(
        self, networks: Iterable[Network], heads: Iterable[CrowdHead], items: Tensor, answers: Answers, *,
        averaged: Averaged,
    ) -> None:  # fmt: skip
        super().__init__()
        self.models = tuple(zip(networks, heads, strict=True))
        self.networks = nn.ModuleList([network for network, _ in self.models])
        self.heads = nn.ModuleList([head for _, head in self.models])
        self.answers = answers
        self.mutual: MutualCorrection | None = None
        self._items, self._averaged = items, averaged

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the loss, the sum of the models'."""
        mutual = self.mutual
        if mutual is not None and not mutual.begin_step(self.models):
            mutual = None
        inputs = self._items[rows]
        places, annotators, labels = self.answers.about(rows)
        count = self._averaged(float(len(labels)))
        losses = []
        for number, (network, head) in enumerate(self.models):
            features = network.features(inputs).to(network.last.weight.dtype)
            # A run's lower precision is for the body; probabilities and second derivatives need all digits.
            with torch.autocast(rows.device.type, enabled=False):
                logits = network.last(features)
                correction = None
                if mutual is not None:
                    seen = Pass(features, logits, places, annotators, labels, count)
                    correction = mutual.correction(number, network, head, seen)
                p = torch.softmax(logits, dim=1)[places]
                losses.append(crowd_loss(head.probabilities(p, annotators, labels, correction), count))
        return {"loss": torch.stack(losses).sum()}

    def confusions(self) -> Tensor:
        """Return the models' mean confusion matrices, row-stochastic (R, C, C)."""
        return torch.stack([head.confusions() for _, head in self.models]).mean(0)


@dataclass(frozen=True)
class MutualSettings:
    """Settings of the correction.

    Args:
        warm_up: epochs before it begins.
        eta: its size; 0: the step is CrowdLayer's.
        virtual: how the virtual step goes (`meta_step.VIRTUAL_STEPS`).
        meta_batch, meta_size: items of the distilled set in a step, and in all.
        groups: of annotators.
        weighted: whether groups are by what matrices say, weighted by answers; else by the raw matrices, as published.
        duplicates: whether distilled sets hold duplicates, as published.
        confusion_rate: the matrices' learning rate, as a multiple of the network's.
    """

    warm_up: int
    eta: float
    virtual: str
    meta_batch: int
    meta_size: int
    groups: int
    weighted: bool
    duplicates: bool
    confusion_rate: float


class MutualCorrection:
    """CCC's bi-level correction: before each epoch, groups and distilled sets; before each step, U* from the other model's set.

    What it keeps between steps is a state for checkpoints; all random choices follow from the seed and the position.

    Args:
        settings: the settings.
        items, answers: as of `CrowdLayer`.
        steps_per_epoch: batches in an epoch.
        rate: gives the networks' current learning rate.
        seed_for: seeds by name, as of a run.
        processes: who shares each batch.
    """

    def __init__(
        self, settings: MutualSettings, items: Tensor, answers: Answers, *, steps_per_epoch: int, rate: Callable[[], float],
        seed_for: Callable[..., int], processes: Processes = ALONE,
    ) -> None:  # fmt: skip
        self._settings, self._items, self._answers = settings, items, answers
        self._processes = processes
        self._steps_per_epoch, self._rate, self._seed_for = steps_per_epoch, rate, seed_for
        self._step = -1
        self._distilled: list[Distilled] = []
        self._groups: list[np.ndarray] = []

    @property
    def distilled(self) -> tuple[Distilled, ...]:
        """The sets of this epoch, by the model that chose them; none during the warm-up."""
        return tuple(self._distilled)

    @property
    def groups(self) -> tuple[np.ndarray, ...]:
        """Each annotator's group (R,), by model; none during the warm-up."""
        return tuple(self._groups)

    def begin_step(self, models: Models) -> bool:
        """Count the step, prepare an epoch where it begins one; say whether it is corrected."""
        self._step += 1
        epoch, batch = divmod(self._step, self._steps_per_epoch)
        if epoch < self._settings.warm_up:
            return False
        if batch == 0:
            self._prepare(epoch, models)
        return True

    def correction(self, number: int, network: Network, head: CrowdHead, seen: Pass) -> Tensor:
        """Return U* of a model for each answer of its pass, (M, C, C)."""
        settings = self._settings
        epoch, batch = divmod(self._step, self._steps_per_epoch)
        other = self._distilled[1 - number]
        # When either set is used up, both start again.
        round_, part = divmod(batch, -(-min(map(len, self._distilled)) // settings.meta_batch))
        order = torch.Generator().manual_seed(self._seed_for("meta-order", number, epoch, round_))
        chosen = torch.randperm(len(other), generator=order)[part * settings.meta_batch :][: settings.meta_batch]
        rows = torch.from_numpy(other.items)[chosen].to(self._items.device)
        labels = torch.from_numpy(other.labels)[chosen].to(self._items.device)
        groups = torch.from_numpy(self._groups[number]).to(self._items.device)
        rate = self._rate()
        step = MetaStep(rate, rate * settings.confusion_rate, settings.eta, settings.virtual)
        gradient, virtual = meta_gradient(
            network, head, seen, self._items[rows], labels, groups, settings.groups, step,
            seed=self._seed_for("meta-masks", number, self._step), processes=self._processes,
        )  # fmt: skip
        return max_normalised(gradient, virtual, settings.eta)[groups[seen.annotators]]

    def state_dict(self) -> dict[str, Any]:
        """The position, the distilled sets, the groups."""
        sets = [{"items": found.items, "labels": found.labels} for found in self._distilled]
        return {"step": self._step, "distilled": sets, "groups": list(self._groups)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._step = state["step"]
        self._distilled = [Distilled(found["items"], found["labels"]) for found in state["distilled"]]
        self._groups = list(state["groups"])

    @torch.no_grad()
    def _prepare(self, epoch: int, models: Models) -> None:
        settings, answers = self._settings, self._answers
        self._distilled, self._groups = [], []
        items, labels = answers.items.cpu().numpy(), answers.labels.cpu().numpy()
        for number, (network, head) in enumerate(models):
            found = self._log_probabilities(network)
            self._distilled.append(
                distil(found, items, labels, size=settings.meta_size, duplicates=settings.duplicates)
            )
            matrices = head.confusions() if settings.weighted else head.matrices
            weights = answers.per_annotator if settings.weighted else None
            seed = self._seed_for("groups", number, epoch)
            groups = group(matrices.detach().cpu().numpy(), weights, groups=settings.groups, seed=seed)
            # The first process's: on unlike machines k-means could fall out differently, and groups must be the same everywhere.
            self._groups.append(self._processes.gather(groups)[0])

    def _log_probabilities(self, network: Network) -> np.ndarray:
        """(N, C) of all items, of which each process looks at its part."""
        rank, size = self._processes.rank, self._processes.size
        parts = self._processes.gather(log_probabilities(network, self._items[rank::size]).cpu().numpy())
        found = np.empty((len(self._items), self._answers.classes), parts[0].dtype)
        for place, part in enumerate(parts):
            found[place::size] = part
        return found


def refuse_what_ccc_cannot(run: Run) -> None:
    """Raise `BadInput` in half precision that needs a scaled loss."""
    if run.precision == "float16":
        raise BadInput(
            "CCC in float16", why="the virtual step's gradients would underflow", mend="use bfloat16 or float32"
        )
