"""What teaches the generator: a fixed discriminator's answers, and no data (DAFL, Chen et al. 2019, arXiv 1904.01186).

    L_G = w_oh L_oh + w_a L_a + w_ie L_ie + w_moments L_m + w_smooth L_tv + w_flip L_flip + w_disagree L_dis

The first three are DAFL's. The others are ours: an image prior, and what a *private* discriminator allows to use in addition.

>>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
>>> round(float(information_entropy(logits)), 3), round(float(one_hot(logits)), 4)
(-0.301, 0.0001)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.errors import BadInput, RunFailed
from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.loop import train
from ...platform.training.run import Run
from .divergence import kl
from .generator import Generator
from .regulariser import evaluating

COLLAPSED_SHARE = 0.001
CHECKED_SAMPLES = 2000


class Discriminator(Protocol):
    """A frozen classifier that also shows its features."""

    def features(self, images: Tensor) -> Tensor:
        """Images (B, c, h, w) to features (B, F)."""

    def classify(self, features: Tensor) -> Tensor:
        """Features to logits (B, K)."""


def one_hot(logits: Tensor) -> Tensor:
    """L_oh: cross entropy to the discriminator's own most likely class, which is taken as a constant."""
    return F.cross_entropy(logits, logits.argmax(1))


def activation(features: Tensor) -> Tensor:
    """L_a: minus the mean absolute feature, over batch and entries (the published code; the paper sums over entries)."""
    return -features.abs().mean()


def information_entropy(logits: Tensor) -> Tensor:
    """L_ie: sum_k p_k log10 p_k of the batch's mean answer, in [-log10 K, 0]; lowest when classes are balanced."""
    # By logarithms throughout: a class whose mean share underflows to 0 counts nothing, where p log p has an infinite gradient.
    log_mean = torch.logsumexp(logits.log_softmax(1), 0) - math.log(len(logits))
    return (log_mean.exp() * log_mean).sum() / math.log(10)


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, both ways."""
    down, right = images.diff(dim=2).abs().mean(), images.diff(dim=3).abs().mean()
    return down + right


def joint_moments(logits: Tensor, features: Tensor) -> Tensor:
    """E[p_k(x) f(x)], (K, F): the mean joint embedding of label and features."""
    return logits.softmax(1).T @ features / len(features)


@dataclass(frozen=True)
class Generation:
    """How the generator is trained.

    Args:
        one_hot, activation, information_entropy: weights of DAFL's losses (its code for MNIST: 1, 0.1, 5).
        moments: weight of the squared distance between E[p_k f] of the generator and of the private data, of which a noisy, charged
            copy was released (`moments.py`). Without such a release the term is not there.
        smoothness: weight of the total variation.
        flip: weight of the discriminator's divergence between an image and its mirror image: augmentation consistency.
        disagreement: weight of the divergence between discriminator and student, which is *raised*; from the second round on,
            once there is a student.
        momentum: of the running mean of the generator's moments over batches; one batch is too small to show K x F of them.
        latent, width: of the network.
        steps, batch_size, learning_rate: of Adam (one-cycle schedule).
    """

    one_hot: float = 0.1
    activation: float = 0.0
    information_entropy: float = 5.0
    moments: float = 1000.0
    smoothness: float = 0.0
    flip: float = 0.0
    disagreement: float = 0.0
    momentum: float = 0.9
    latent: int = 64
    width: int = 32
    steps: int = 600
    batch_size: int = 64
    learning_rate: float = 4e-3

    def __post_init__(self) -> None:
        for name in ("one_hot", "activation", "information_entropy", "moments", "smoothness", "flip", "disagreement"):
            non_negative(**{name: getattr(self, name)})
        positive_int(latent=self.latent, width=self.width, steps=self.steps, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate)
        if not 0 <= self.momentum < 1:
            raise BadInput(f"momentum is {self.momentum!r}", why="it must be in [0, 1)")
        if self.batch_size < 2:
            raise BadInput("batch_size is 1", why="the generator normalises over the batch")


class _Losses:
    """The weighted losses of one training, with the running mean of the moments between steps."""

    def __init__(
        self, settings: Generation, discriminator: Discriminator, moments: Tensor | None, student: nn.Module | None,
        seed_of: Callable[[int], int],
    ) -> None:  # fmt: skip
        self._seed_of = seed_of
        self._settings, self._discriminator, self._student = settings, discriminator, student
        self._target, self._running = moments, None if moments is None else torch.zeros_like(moments)
        self._seen = 0

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"running": self._running, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._running, self._seen = state["running"], state["seen"]

    def __call__(self, generator: nn.Module, batch: tuple[Tensor]) -> dict[str, Tensor]:
        settings, rows = self._settings, batch[0]
        draw = torch.Generator().manual_seed(self._seed_of(int(rows[0])))
        images = generator(torch.randn(len(rows), settings.latent, generator=draw).to(rows.device))
        found = self._discriminator.features(images)
        logits = self._discriminator.classify(found)
        terms = {"one_hot": one_hot(logits), "information_entropy": information_entropy(logits)}
        if settings.activation:
            terms["activation"] = activation(found)
        if settings.smoothness:
            terms["smoothness"] = total_variation(images)
        if settings.flip:
            mirrored = self._discriminator.classify(self._discriminator.features(images.flip(3)))
            terms["flip"] = kl(logits.detach(), mirrored).mean()
        if settings.disagreement and self._student is not None:
            with evaluating(self._student):
                terms["disagreement"] = -kl(logits, self._student(images)).mean()
        if settings.moments and self._target is not None:
            terms["moments"] = self._moments(joint_moments(logits, found))
        loss = sum((getattr(settings, name) * term for name, term in terms.items()), images.new_zeros(()))
        return {"loss": loss, **terms}

    def _moments(self, batch: Tensor) -> Tensor:
        assert self._target is not None and self._running is not None
        keep = self._settings.momentum
        target = self._target.to(batch)
        mean = keep * self._running.to(batch) + (1 - keep) * batch
        self._running = mean.detach()
        self._seen += 1
        # The mean starts at zero; and its gradient is (1 - keep) of a batch's, whatever the momentum.
        return (mean / (1 - keep**self._seen) - target).square().sum() * (1 - keep**self._seen) / (1 - keep)


def train_generator(
    run: Run, discriminator: Discriminator, shape: tuple[int, int, int], settings: Generation, *,
    moments: Tensor | None, student: nn.Module | None, name: str, inputs: Any,
) -> Generator:  # fmt: skip
    """Return a generator trained against the frozen discriminator. `moments` and `student` are private releases, or None."""
    torch.manual_seed(run.seed_for(name))
    generator = Generator(shape, latent=settings.latent, width=settings.width).to(run.device)
    optimizer = torch.optim.Adam(generator.parameters(), settings.learning_rate, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.1
    )
    # Latents are drawn when they are needed; all at once they would fill a memory.
    rows = torch.arange(settings.steps * settings.batch_size, dtype=torch.int32)
    losses = _Losses(settings, discriminator, moments, student, partial(run.seed_for, name, "latents"))
    train(
        run, generator, losses, run.loader((rows,), settings.batch_size, shuffle=False), optimizer, epochs=1, name=name,
        scheduler=schedule, scheduler_every="step", clip_norm=10.0, extras={"moments": losses},
        inputs={"generation": asdict(settings), **inputs},
    )  # fmt: skip
    return generator


@torch.no_grad()
def check_not_collapsed(discriminator: Discriminator, images: Tensor, classes: int) -> list[float]:
    """Return each class's share of float images, as the discriminator sees them.

    Raises:
        RunFailed: the images are all but one image, or the discriminator sees one class only: questions about them would be bought
            for nothing.
    """
    part = images[:CHECKED_SAMPLES]
    spread = float(part.flatten(1).std(0).mean())
    shares = torch.zeros(classes)
    for chunk in part.split(250):
        labels = discriminator.classify(discriminator.features(chunk)).argmax(1).cpu()
        shares += torch.bincount(labels, minlength=classes)
    shares /= len(part)
    if spread < COLLAPSED_SHARE or float(shares.max()) > 1 - COLLAPSED_SHARE:
        raise RunFailed(
            f"the generator has collapsed: pixels differ by {spread:.4f} on average, the commonest class has {float(shares.max()):.1%}",
            why="all synthetic images are alike, so their labels would teach nothing; no query was bought",
            mend="raise method.generation.information_entropy, lower its learning_rate, or use method.source=mixed",
        )
    return [float(share) for share in shares]
