"""The first stage: an encoder and a decoder learn to draw what the mask hides.

Loss: sum(m |d|) / sum(m) + mean((1 - m) |d|) for the difference d between drawn and true picture, by pixel and colour, and the map m: a
hidden pixel counts some eight times as much as a visible one, which has to be kept too. Optionally an adversarial term (weight .01 in
ICT) and the distance of a face recogniser's feature maps. The weights are ours.

>>> true, hidden = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
>>> hidden[..., 8:, :] = 1
>>> round(rebuilding_loss(true + 0.1, true, hidden).item(), 4)  # .1, and .1 over the half that is visible
0.15
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive, positive_int
from ....platform.training.loop import Trained, train
from ....platform.training.run import Run
from .batches import Batch, FaceBatches
from .mask_map import MaskMap
from .networks import Decoder, Encoder
from .patch_critic import LOSSES, PatchCritic, critic_loss, drawing_loss
from .training import Training, row_batches

HIDDEN_WEIGHT = 1.0
TEACHER_SIDE = 112


@dataclass(frozen=True)
class Adversary:
    """Settings of the adversarial term.

    Args:
        weight: of the term; 0: there is no critic. .01 in ICT.
        loss: hinge or nsgan (non-saturating).
        width: of the critic's first convolution.
        spectral_norm: whether its weights have it.
        learning_rate_ratio: its learning rate, as a part of the generator's.
    """

    weight: float = 0.0
    loss: str = "hinge"
    width: int = 64
    spectral_norm: bool = True
    learning_rate_ratio: float = 0.1

    def __post_init__(self) -> None:
        non_negative(weight=self.weight)
        positive_int(width=self.width)
        positive(learning_rate_ratio=self.learning_rate_ratio)
        if self.loss not in LOSSES:
            raise BadInput(f"adversary.loss is {self.loss!r}", mend=f"use one of {', '.join(LOSSES)}")


@dataclass(frozen=True)
class Inpainting:
    """Settings of the stage.

    Args:
        training: of it.
        hidden_weight: of the error in what is hidden, against that in what is visible.
        adversary: the adversarial term.
        perceptual: weight of the distance of the teacher's feature maps of drawn and true picture; 0: none.
        start: file of an encoder and decoder to begin with, as a run leaves it (inpainting.safetensors); None: fresh weights.
    """

    training: Training = field(default_factory=Training)
    hidden_weight: float = HIDDEN_WEIGHT
    adversary: Adversary = field(default_factory=Adversary)
    perceptual: float = 0.0
    start: str | None = None

    def __post_init__(self) -> None:
        non_negative(perceptual=self.perceptual)
        positive(hidden_weight=self.hidden_weight)


class Inpainter(nn.Module):
    """Pictures with masks (B, 3, s, s) and maps (B, 1, s, s) to pictures without, all in [0, 1]."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, seen: Tensor, told: Tensor) -> Tensor:
        """The drawn pictures."""
        drawn: Tensor = self.decoder(self.encoder(seen, told))
        return drawn


def rebuilding_loss(drawn: Tensor, true: Tensor, hidden: Tensor, *, weight: float = HIDDEN_WEIGHT) -> Tensor:
    """The first two terms, over a batch; where nothing is hidden the first is 0."""
    error = (drawn - true).abs()
    inside = (hidden * error).mean() / hidden.mean().clamp(min=1e-6)
    return weight * inside + ((1 - hidden) * error).mean()


def hidden_error(drawn: Tensor, true: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute error in what is hidden, of each picture (B,); NaN for a picture without a mask."""
    inside = hidden >= 0.5
    error = ((drawn - true).abs().mean(1, keepdim=True) * inside).sum((1, 2, 3))
    return error / inside.sum((1, 2, 3))


def mean_fill(true: Tensor, hidden: Tensor) -> Tensor:
    """Pictures whose hidden part has the mean colour of their own visible part: the baseline that any inpainting must pass."""
    visible = (hidden < 0.5).to(true.dtype)
    colour = (true * visible).sum((2, 3), keepdim=True) / visible.sum((2, 3), keepdim=True).clamp(min=1)
    return true * visible + colour * (1 - visible)


def train_inpainter(
    run: Run, inpainter: Inpainter, maps: MaskMap, faces: FaceBatches, settings: Inpainting, *, teacher: nn.Module,
    inputs: object,
) -> Trained:  # fmt: skip
    """Train in place; `maps` and `teacher` (it is looked at for the perceptual term only) stay as they are.

    Raises:
        BadInput: the perceptual term is asked for, and the teacher shows no feature maps.
    """
    training = settings.training
    loader = row_batches(run, len(faces), training.batch_size)
    optimizer, scheduler = training.start(inpainter.parameters(), training.epochs * len(loader))
    opponent = Opponent(run, settings.adversary, training) if settings.adversary.weight else None

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        batch = faces.draw(rows, device=run.device)
        drawn = model(batch.seen, maps.in_training(batch)).float()
        rebuilding = rebuilding_loss(drawn, batch.true, batch.hidden, weight=settings.hidden_weight)
        parts = {"rebuilding": rebuilding}
        total = rebuilding
        if opponent is not None:
            parts["adversarial"] = opponent.judge(batch, drawn)
            total = total + settings.adversary.weight * parts["adversarial"]
        if settings.perceptual:
            parts["perceptual"] = feature_distance(teacher, drawn, batch.true)
            total = total + settings.perceptual * parts["perceptual"]
        return {"loss": total, **parts}

    return train(
        run, inpainter, loss, loader, optimizer, epochs=training.epochs, name="inpainting", scheduler=scheduler,
        scheduler_every="step", clip_norm=training.clip_norm, extras=opponent.parts() if opponent else None, inputs=inputs,
    )  # fmt: skip


class Opponent:
    """The critic and its own optimizer; it takes a step whenever it judges."""

    def __init__(self, run: Run, settings: Adversary, training: Training) -> None:
        self._loss, self._device = settings.loss, run.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed_for("critic"))
            self._critic = PatchCritic(settings.width, spectral=settings.spectral_norm)
        self._prepared = run.prepare(self._critic)
        rate = training.learning_rate * settings.learning_rate_ratio
        self._optimizer = torch.optim.Adam(self._critic.parameters(), rate, betas=(training.beta, training.second_beta))

    def judge(self, batch: Batch, drawn: Tensor) -> Tensor:
        """Learn to tell drawn from true pictures, then say how well the drawn ones pass."""
        with torch.autocast(self._device.type, enabled=False):
            self._optimizer.zero_grad(set_to_none=True)
            real, fake = self._prepared(torch.cat([batch.true, drawn.detach()])).chunk(2)
            critic_loss(real, fake, self._loss).backward()
            self._optimizer.step()
            for parameter in self._critic.parameters():  # The picture gets a gradient through it, its weights do not.
                parameter.requires_grad_(False)
            passed = drawing_loss(self._critic(drawn), self._loss)
            for parameter in self._critic.parameters():
                parameter.requires_grad_(True)
        return passed

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint keeps of it."""
        return {"critic": self._critic, "critic optimizer": self._optimizer}


def feature_distance(teacher: nn.Module, drawn: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of a frozen recogniser's feature maps, over maps, both pictures enlarged alike.

    Raises:
        BadInput: it shows none.
    """
    ours = teacher(_enlarged(drawn)).maps
    with torch.no_grad():
        theirs = teacher(_enlarged(true)).maps
    if not ours:
        raise BadInput(
            "the perceptual term compares feature maps, and the teacher shows none",
            mend="set method.inpainting.perceptual=0",
        )
    return torch.stack([(one - other).abs().mean() for one, other in zip(ours, theirs, strict=True)]).mean()


def _enlarged(pictures: Tensor) -> Tensor:
    return functional.interpolate(pictures, size=(TEACHER_SIDE, TEACHER_SIDE), mode="bilinear", align_corners=False)
