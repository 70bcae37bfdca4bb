"""Stage 2: the head, or the whole network, learns to tell forged clips from real ones.

Beside each forged clip lies the real clip that it was made from, under the same augmentation: at small scale nothing is learned without
(who is seen, and in what light, would tell the two sets apart more easily than how they were made).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....platform.data.videos import VideoSet
from ....platform.errors import BadInput
from ....platform.training.run import Run
from ....platform.training.seeds import seeded
from ....platform.verification.roc import auc
from .batches import forged_batches, partners
from .clips import augmented, draw_augmentation
from .consistency import Consistency
from .frames import learn_frames
from .made import Maker, learned_pixels, with_made
from .model import Network
from .optimising import Best, Group, optimise, rounds, share_state
from .pretraining import only
from .scoring import score_clips, video_scores
from .settings import Finetuning, NacoSettings

NAME = "finetuning"
CALIBRATING = 8  # batches that set norms and scales of a network that was never trained


class Detector(nn.Module):
    """The network while it learns to detect: pixels and labels to losses.

    Args:
        network: it is trained in place.
        mode: full, or head: everything else stays in evaluation mode, and no weight, buffer or running statistic of it changes.
        consistency: the losses of stage 1, and their weight; None: without.
    """

    def __init__(self, network: Network, mode: str, consistency: Consistency | None, weight: float) -> None:
        super().__init__()
        self.network, self.consistency = network, consistency
        self._head_only, self._weight = mode == "head", weight
        only(network, [network.head] if self._head_only else [network])

    def train(self, mode: bool = True) -> Detector:
        """Training or evaluation mode; in mode head only the head trains."""
        super().train(mode)
        if self._head_only:
            for module in self.network.body():
                module.eval()
        return self

    def forward(
        self, pixels: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Losses of clips (n, T, 3, H, W), labels (n,), 1 for forged; "loss" is the one that is minimised.

        With `extra` (masks, orders, numbers of the videos) the last third of the clips are second clips of the real ones, which are the
        third before; they have no labels.
        """
        count, network = len(labels), self.network
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._head_only):
            features = network.features(pixels)
            network.follow(features)
            represented = None if network.transformer is None else network.represent(features[:count])[1]
        logits = network.head(represented, features[:count].mean((1, 2))).float()
        with torch.autocast(pixels.device.type, enabled=False):
            classes = F.binary_cross_entropy_with_logits(logits, labels)
        right = ((logits > 0) == (labels > 0.5)).float().mean()
        said = {"loss": classes, "classes": classes.detach(), "right": right.detach()}
        if self.consistency is not None and extra is not None:
            own = self.consistency.losses(features[count // 2 :], *extra)
            said["loss"] = classes + self._weight * own["loss"]
            said["consistency"] = own["loss"].detach()
        return said


@dataclass(frozen=True, eq=False)
class Finetuned:
    """How stage 2 ended: AUC on the validation videos (None: not measured), what they were, and remarks."""

    validation: VideoSet | None
    auc: float | None
    notes: tuple[str, ...]


def finetune(
    run: Run, settings: NacoSettings, network: Network, train: VideoSet, validation: VideoSet, consistency: Consistency | None,
    identity: Any,
) -> Finetuned:  # fmt: skip
    """Train a network, which lies on the run's device, to detect.

    Args:
        run: the run.
        settings: of the method.
        network: it is trained in place, and ends in evaluation mode.
        train: what is learned from.
        validation: what the weights are chosen on: of families that are learned from, never of others.
        consistency: of stage 1, for `aux_ssl`; None: made afresh if it is needed.
        identity: JSON that names the data and the weights that it begins with.

    Raises:
        BadInput: there is nothing to learn from.
        RunFailed: the training diverged.
    """
    own, clips = settings.finetuning, settings.clips
    maker = maker_of(settings)
    looked = (
        validation if maker is None else with_made(validation, maker, length=clips.length, seed=run.seed_for("made"))
    )
    judged = bool(looked.forged.any() and not looked.forged.all())
    if settings.only_tested:
        network.eval()
        return Finetuned(looked if judged else None, None, ("nothing was trained: a finished detector was tested",))
    numbers = _learned_from(own, train)
    notes = _notes(own, train, numbers)
    if not settings.pretraining.done and settings.start is None and own.mode == "head":
        calibrate(run, settings, network, train)
        notes.append("norms and scales of the random network were set on training clips; its weights are random")
    if own.frames.steps:
        learn_frames(run, settings, network, train, numbers, maker, identity)
    if own.aux_ssl and consistency is None:
        with seeded(run.seed_for("spatial predictor")):
            consistency = Consistency(network, settings.pretraining)
    model = Detector(network, own.mode, consistency if own.aux_ssl else None, own.aux_ssl).to(run.device)
    _, steps = rounds(own.training)
    loader = forged_batches(
        run, train, numbers, clips, batches=steps, size=own.training.batch_size, pairs=own.pairs, second=own.aux_ssl > 0
    )  # fmt: skip

    def loss(prepared: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        videos, frames = batch
        pixels, generator = learned_pixels(settings, frames, maker)
        count = len(videos)
        labels = torch.cat([pixels.new_ones(count), pixels.new_zeros(count)])
        extra = None
        if own.aux_ssl:
            assert consistency is not None
            extra = (*consistency.draws(count, generator, pixels.device), reals[videos])
        losses: Mapping[str, Tensor] = prepared(pixels, labels, extra)
        return losses

    # Forgeries of one real video bring the same one with them, which is then no negative of itself.
    known = partners(train)
    reals = torch.from_numpy(np.where(known < 0, -1 - np.arange(len(known)), known)).to(run.device)
    best = Best(model)

    def validated() -> float:
        scores = score_clips(run, network, looked, settings.judging.max_frames)
        return auc(video_scores(scores, settings.judging.score), looked.forged)

    def look(_: nn.Module) -> Mapping[str, float]:
        if not judged:
            return {}
        found = validated()
        best.offer(found)
        return {"validation_auc": found}

    rate = own.training.learning_rate
    groups: list[Group] = [([network.head], rate)]
    if own.mode == "full":
        predictor = None if model.consistency is None else model.consistency.spatial
        rest = network.body() if predictor is None else [*network.body(), predictor]
        groups.append((rest, own.body_rate or rate))
    inputs = {
        "finetuning": asdict(own), "clips": asdict(clips), "network": asdict(settings.network), "of": identity,
        "ssl": asdict(settings.pretraining) if own.aux_ssl else None,
    }  # fmt: skip
    optimise(
        run,
        model,
        loss,
        loader,
        own.training,
        name=NAME,
        groups=groups,
        evaluate=look,
        extras={"best": best},
        inputs=inputs,
    )
    if own.keep == "best":
        best.take()
    network.requires_grad_(True).eval()
    if not judged:
        notes.append(
            "the validation videos do not hold both kinds: the last weights are kept, and no threshold is set on them"
        )
    return Finetuned(looked if judged else None, validated() if judged else None, tuple(notes))


def maker_of(settings: NacoSettings) -> Maker | None:
    """What makes the forgeries that are learned from; None: they are given."""
    own = settings.finetuning
    return None if own.fakes == "given" else Maker(own.fakes, own.blended, settings.pretraining.temporal.shuffle)


@torch.no_grad()
def calibrate(run: Run, settings: NacoSettings, network: Network, train: VideoSet) -> None:
    """Let norms' statistics and scales of a network with random weights see a few batches of real clips."""
    real = train.take(np.flatnonzero(~train.forged))
    size = settings.finetuning.training.batch_size
    network.train()
    generator = Generator().manual_seed(run.seed_for("calibrating"))
    loader = forged_batches(
        run, real, np.arange(len(real)), settings.clips, batches=CALIBRATING, size=size, pairs=True, second=False
    )  # fmt: skip
    for _, frames in loader:
        draw = draw_augmentation(settings.finetuning.augmentation, settings.clips, len(frames), generator)
        network.follow(network.features(augmented(frames[:, 0].to(run.device), draw, settings.clips)))
    share_state(run, network)
    network.eval()


def _learned_from(own: Finetuning, train: VideoSet) -> np.ndarray:
    """Numbers of the tracks that stand for forgeries."""
    wanted = train.forged if own.fakes == "given" else ~train.forged
    numbers = np.flatnonzero(wanted)
    if not len(numbers):
        kind = "forged" if own.fakes == "given" else "real"
        raise BadInput(
            f"there is no {kind} video to learn from",
            mend="set method.finetuning.mode=none for stage 1 alone, or use data with forged and real training videos",
        )
    if train.forged.all():
        raise BadInput("there is no real video to learn from", mend="use data with real training videos")
    return numbers


def _notes(own: Finetuning, train: VideoSet, numbers: np.ndarray) -> list[str]:
    if own.fakes != "given":
        return [f"stage 2 saw no forgery of the data: its forged clips were {own.fakes.replace('_', '-')} real ones"]
    alone = int((partners(train)[numbers] < 0).sum()) if own.pairs else 0
    return (
        [f"{alone} of {len(numbers)} forged training videos have no known source: any real clip lay beside them"]
        if alone
        else []
    )
