"""FaceBN: a trained network takes over the statistics of the faces it is shown, without labels and without training.

AIRD (arXiv 2409.02049) adapts batch normalisation to the test faces at inference; the formulas here are ours and follow common
practice (AdaBN: Li et al. 2016, arXiv 1603.04779; the mixture: Schneider et al. 2020, arXiv 2006.16971). Only the running means and
variances change, never a weight, and never the given model:

    adapted = adapt_bn(student, faces)            # faces: (n, 3, h, w), what the student would be given; no labels
    embeddings = adapted.model(faces)
    adapted.diff()                                # how far each layer's statistics lay from those of the training
    adapted.reset()                               # back to the training's

With source statistics (mu_s, v_s), those of N faces (mu_t, v_t), and a share a:

    mu = (1 - a) mu_s + a mu_t,    v = (1 - a) v_s + a v_t + a (1 - a) (mu_s - mu_t)^2

which are mean and variance of a mixture of both. `replace`: a = 1. `mix`: a = N / (N + prior). `online`: a = rate, batch after
batch, each time starting from what is there.

A layer is measured on what reaches it through the layers before, with their new statistics. So `replace` on one batch is what
the network would compute in training mode, and more than a batch gives the same as one big batch in any order: then each
layer takes a pass of its own. (Torch's cumulative average measures every batch in its own light and depends on the batches.)

Honest use: faces of probes and galleries, never anything about who matches whom; the same statistics for all folds; the number of
faces stated (`faces`); faces of many people, for a batch of one person loses what is particular to that person; and a
high-resolution gallery and low-resolution probes each with statistics of their own (`TwoSided`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive_int, probability
from .bn_layers import LayerShift, Statistics, bn_layers
from .bn_passes import Blend, measure

MODES = ("mix", "replace", "online")
FEWEST = {"replace": 200, "mix": 1, "online": 2}
SURE = 8  # faces from which on a mixture is worth having


class AdaptedModel:
    """A copy of a model with other statistics in its normalisation layers; made by `adapt_bn`.

    Attributes:
        model: the copy, in evaluation mode; its `state_dict()` is an ordinary one.
        mode: how it was adapted.
        faces: number of faces used.
        notes: what a report should say about it.
    """

    def __init__(self, model: nn.Module, mode: str, *, rate: float = 0.1) -> None:
        self.model = copy.deepcopy(model).eval()
        self.mode, self.rate = mode, rate
        self.faces = 0
        self.notes: tuple[str, ...] = ()
        self._layers = bn_layers(self.model)
        self._source = [layer.statistics() for layer in self._layers]
        self._shifts: list[LayerShift] = [
            layer.shift(source, source) for layer, source in zip(self._layers, self._source, strict=True)
        ]

    def diff(self) -> tuple[LayerShift, ...]:
        """Each layer's shift: of the measured statistics (online: of the current ones) from the training's; from early to late."""
        return tuple(self._shifts)

    def reset(self) -> None:
        """Back to the training's statistics."""
        self.rollback((self._source, 0))
        self.notes = ()

    def snapshot(self) -> tuple[list[Statistics], int]:
        """The statistics as they are, for `rollback`."""
        return [layer.statistics() for layer in self._layers], self.faces

    def rollback(self, snapshot: tuple[list[Statistics], int]) -> None:
        """Back to a snapshot of this model."""
        statistics, self.faces = snapshot
        for layer, one in zip(self._layers, statistics, strict=True):
            layer.set(one)
        self._compare()

    def update(self, images: Tensor) -> None:
        """Online: move towards a batch of faces (n, c, h, w) that arrived. BadInput in another mode or for a batch of one face."""
        if self.mode != "online":
            raise BadInput(f"an update of a model adapted by {self.mode}", mend="adapt it with mode=online")
        _check_images(images)
        if len(images) < FEWEST["online"]:
            raise BadInput("an update by one face", why="it says nothing of how faces vary", mend="collect a few faces")
        measure(self.model, self._layers, images, Blend(self.rate), batch=len(images))
        self.faces += len(images)
        self._compare()

    def take_over(self, images: Tensor, blend: Blend, batch: int) -> None:
        """Blend in the statistics of these faces; what `adapt_bn` does."""
        self._shifts = measure(self.model, self._layers, images, blend, batch=batch)
        self.faces = len(images)

    def _compare(self) -> None:
        self._shifts = [
            layer.shift(source, layer.statistics()) for layer, source in zip(self._layers, self._source, strict=True)
        ]


def adapt_bn(
    model: nn.Module,
    images: Tensor | Iterable[Tensor],
    mode: str = "mix",
    *,
    prior: float = 64,
    max_images: int | None = None,
    batch: int = 512,
    fewest: int | None = None,
    rate: float = 0.1,
    guard: float | None = None,
    resamples: int = 200,
    generator: Generator | None = None,
) -> AdaptedModel:
    """A copy of `model` with the statistics of `images` in its batch normalisation layers.

    Args:
        model: any network with BatchNorm1d, BatchNorm2d or BatchNorm3d layers, each used once in a forward pass.
        images: floats (n, c, h, w) as the model takes them, or batches of such. No labels.
        mode: mix (from few faces on), replace (needs many), online (follows batches in their order; `images` may be few).
        prior: of mix: the training's statistics count as so many faces (16 to 128); 0 is replace.
        max_images: use so many: of a tensor a random choice, of batches the first.
        batch: faces in a forward pass. More faces than that need a pass for each layer. Of online: those that are moved towards at a
            time, of a tensor; a last one that is left alone is looked at with those before.
        fewest: refuse fewer faces; None: 200 for replace, 1 for mix (with a note below 8).
        rate: of online: what a batch counts.
        guard: adapt a layer only if its shift exceeds this quantile (such as 0.95) of what resampled faces of the same number show
            against each other; None: adapt all. Not online.
        resamples: bootstrap samples behind the guard.
        generator: for `max_images` and the guard; None: torch's own.

    Raises:
        BadInput: no batch normalisation, or one that keeps no statistics or is used twice; labels or pixels of uint8 among the images;
            too few faces.
    """
    _check_settings(mode, prior=prior, rate=rate, guard=guard, batch=batch, resamples=resamples, max_images=max_images)
    adapted = AdaptedModel(model, mode, rate=rate)
    if mode == "online":
        for one in _batches(images, max_images, batch):
            adapted.update(one)
        adapted.notes = (
            f"FaceBN, online: statistics of {adapted.faces} faces, without labels, each batch at a share of {rate:.3g}",
        )
        return adapted
    faces = _collected(images, max_images, generator)
    count = len(faces)
    least = FEWEST[mode] if fewest is None else fewest
    if count < least:
        raise BadInput(
            f"{count} faces for mode={mode}",
            why=f"statistics of fewer than {least} are not to be relied on alone",
            mend="give more faces, or use mode=mix, which keeps a part of the training's",
        )
    if guard is not None and count < SURE:
        raise BadInput(f"a guard over {count} faces", why="so few, resampled, do not show how faces vary by chance")
    share = 1.0 if mode == "replace" else count / (count + prior)
    adapted.take_over(faces, Blend(share, guard, resamples, generator), batch)
    adapted.notes = _notes(adapted, share)
    return adapted


@dataclass(frozen=True)
class TwoSided:
    """One network with two sets of statistics, of a gallery in high and of probes in low resolution: a pooled set is wrong for both."""

    gallery: AdaptedModel
    probe: AdaptedModel

    @classmethod
    def adapt(
        cls,
        model: nn.Module,
        gallery: Tensor | Iterable[Tensor],
        probe: Tensor | Iterable[Tensor],
        mode: str = "mix",
        **settings: Any,
    ) -> TwoSided:
        """Adapt to each side's faces; `settings` as for `adapt_bn`."""
        return cls(*(adapt_bn(model, side, mode, **settings) for side in (gallery, probe)))


def _check_settings(
    mode: str, *, prior: float, rate: float, guard: float | None, batch: int, resamples: int, max_images: int | None
) -> None:
    if mode not in MODES:
        raise BadInput(f"mode is {mode!r}", mend=f"use one of {', '.join(MODES)}")
    non_negative(prior=prior)
    probability(rate=rate)
    positive_int(batch=batch, resamples=resamples)
    if max_images is not None:
        positive_int(max_images=max_images)
    if guard is not None:
        probability(guard=guard)
        if mode == "online":
            raise BadInput("a guard for mode=online", why="it judges one sample of faces, not a stream of them")


def _check_images(images: object) -> None:
    if not isinstance(images, Tensor):
        raise BadInput(
            f"a batch of {type(images).__name__}",
            why="faces are looked at without labels",
            mend="give floats (n, c, h, w), or batches of such",
        )
    if images.ndim < 2 or not len(images) or not images.is_floating_point():
        raise BadInput(f"faces of {images.dtype} and shape {tuple(images.shape)}", mend="give floats (n, c, h, w)")
    if not torch.isfinite(images).all():
        raise BadInput("faces that hold values that are not finite", mend="remove them")


def _batches(images: Tensor | Iterable[Tensor], most: int | None, batch: int) -> Iterator[Tensor]:
    """Batches as they come, `most` images in all."""
    left = most
    for one in _pieces(images[:most], batch) if isinstance(images, Tensor) else images:
        _check_images(one)
        kept = one if left is None else one[:left]
        left = None if left is None else left - len(kept)
        yield kept
        if left == 0:
            return


def _pieces(images: Tensor, batch: int) -> list[Tensor]:
    """Parts of `batch` images; one that would be alone goes with those before it, since it says nothing of how faces vary."""
    parts = list(images.split(batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _collected(images: Tensor | Iterable[Tensor], most: int | None, generator: Generator | None) -> Tensor:
    if not isinstance(images, Tensor):
        batches = list(_batches(images, most, 1))
        if not batches:
            raise BadInput("no faces to adapt to")
        return torch.cat(batches)
    _check_images(images)
    if most is None or most >= len(images):
        return images
    return images[torch.randperm(len(images), generator=generator)[:most].to(images.device)]


def _notes(adapted: AdaptedModel, share: float) -> tuple[str, ...]:
    layers = adapted.diff()
    where = f"{sum(layer.adapted for layer in layers)} of {len(layers)} layers"
    faces = f"statistics of {adapted.faces} faces, without labels"
    notes = [f"FaceBN, {adapted.mode}: {faces}, at a share of {share:.3g} in {where}"]
    if adapted.faces < SURE:
        notes.append(f"{adapted.faces} faces say little: from {SURE} on the mixture is worth having")
    return tuple(notes)
