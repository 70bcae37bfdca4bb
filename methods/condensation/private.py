"""Condensing without ever holding a record: noisy mean embeddings of each class are released once, and all the rest is public.

A record's embedding is bounded by construction, the embeddings of a class are summed, Gaussian noise is added to the sum and the ledger
charged: DP-MERF's scheme (Harder et al. 2021, arXiv 2002.11603) with the losses of DM and M3D. Matching the released means is
post-processing, so the number of iterations costs nothing.

`mean` embeds an image as the features of random networks, cut to length 1 (DM). `gaussian` embeds these features by random Fourier
features, whose length is 1 (M3D's kernel with fixed widths, which are chosen on procedural images). A last coordinate is the same
for every record, so that its sum is a noisy number of records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.data.procedural import procedural_images
from ...platform.errors import BadInput
from ...platform.privacy.events import Event
from ...platform.privacy.noise import Noise, SystemNoise
from ...platform.privacy.sums import HEADROOM, SUM_UNITS, integer_sums, sums_event
from ...platform.privacy.validate import positive, positive_int
from ...platform.training.run import Run
from ...platform.training.seeds import seed_for
from .discrepancy import MULTIPLIERS, FourierFeatures, mean_squared_distance
from .encoders import encoder, fresh_network, frozen
from .forward import Forward
from .standard import Standard

KINDS = ("mean", "gaussian")
PUBLIC_IMAGES = 512
AT_ONCE = 512


@dataclass(frozen=True)
class Release:
    """What is released of each class.

    Args:
        encoders: random networks whose features are embedded; the record's length is divided among them.
        frequencies: of the random Fourier features of each (`gaussian`).
        count_share: the part of a record's squared length that counts it.
        sigma: noise, in units of one record's length; None: as little as the budget allows.
    """

    encoders: int = 4
    frequencies: int = 512
    count_share: float = 0.05
    sigma: float | None = None

    def __post_init__(self) -> None:
        positive_int(encoders=self.encoders, frequencies=self.frequencies)
        if not 0 < self.count_share < 1:
            raise BadInput(f"count_share is {self.count_share!r}", why="it must be between 0 and 1")
        if self.sigma is not None:
            positive(sigma=self.sigma)


class Embedding:
    """A public function of an image, of length at most 1: nothing in it was learnt from private data.

    Args:
        kind: mean or gaussian.
        settings: of the release.
        architecture, shape, classes: of the random networks, whose weights follow from `seed`.
    """

    def __init__(
        self, kind: str, settings: Release, architecture: str, shape: tuple[int, int, int], classes: int, *, seed: int,
        forward: Forward, device: torch.device,
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            raise BadInput(f"'{kind}' has no private form", mend=f"use method.loss={' or method.loss='.join(KINDS)}")
        self._standard, self._forward, self._settings = Standard.constant(shape[0]), forward, settings
        numbers = range(settings.encoders)
        self._networks = [
            frozen(fresh_network(architecture, shape, classes, seed_for(seed, "embedding", n)), device) for n in numbers
        ]
        public = (
            torch.from_numpy(procedural_images(PUBLIC_IMAGES, shape, kind="objects", seed=seed)).to(device).float()
            / 255
        )
        self._centres = [self._features(n, public).mean(0) for n in numbers]
        self._fourier: list[FourierFeatures] | None = None
        if kind == "gaussian":
            self._fourier = [self._waves(self._features(n, public), seed_for(seed, "frequencies", n)) for n in numbers]
        else:
            # Features are cut where half of the public images' are longer.
            self._lengths = [(self._features(n, public) - self._centres[n]).norm(dim=1).median() for n in numbers]

    def _waves(self, features: Tensor, seed: int) -> FourierFeatures:
        generator = torch.Generator().manual_seed(seed)
        width = float(mean_squared_distance(features))
        count = max(self._settings.frequencies, len(MULTIPLIERS))
        drawn = FourierFeatures.draw(features.shape[1], count, width, MULTIPLIERS, generator)
        # Amplitudes of squared length 1, so that an embedding has it.
        return FourierFeatures(
            drawn.frequencies.to(features), (drawn.amplitudes / len(MULTIPLIERS) ** 0.5).to(features)
        )

    def _features(self, number: int, pixels: Tensor) -> Tensor:
        return self._forward(encoder(self._networks[number]).features, [self._standard(pixels)])[0]

    def part(self, number: int, pixels: Tensor) -> Tensor:
        """The embedding by one network, (B, E), of length at most 1."""
        found = self._features(number, pixels)
        if self._fourier is not None:
            return self._fourier[number].embed(found)
        centred = (found - self._centres[number]) / self._lengths[number]
        return centred / centred.norm(dim=1, keepdim=True).clamp(min=1)

    @property
    def at_once(self) -> int:
        """How many images make whole pieces on their way through the networks, about `AT_ONCE`."""
        piece = self._forward.piece
        return piece * max(1, AT_ONCE // piece) if piece else AT_ONCE

    @torch.no_grad()
    def whole(self, pixels: Tensor) -> Tensor:
        """The embedding by all networks and the counting coordinate, (B, N E + 1), of length at most 1 (to rounding)."""
        share, n = self._settings.count_share, self._settings.encoders
        parts = [self.part(number, pixels) * ((1 - share) / n) ** 0.5 for number in range(n)]
        return torch.cat([*parts, torch.full_like(parts[0][:, :1], share**0.5)], 1)

    def means(self, sums: Tensor) -> list[Tensor]:
        """From noisy sums (K, N E + 1) to the mean embeddings (K, E) by each network."""
        share, n = self._settings.count_share, self._settings.encoders
        counts = (sums[:, -1:] / share**0.5).clamp(min=1.0)
        return [part / counts / ((1 - share) / n) ** 0.5 for part in sums[:, :-1].chunk(n, dim=1)]


@dataclass(frozen=True)
class PrivateEmbeddings:
    """Release the sums of all records' embeddings by class, (K, N E + 1), with noise of standard deviation `sigma`."""

    embedding: Embedding
    sigma: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "mean embeddings of each class"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """One Gaussian release; a record that comes or goes moves one class's sum by at most length 1."""
        return [(self.purpose, sums_event(self.sigma))]

    def compute(self, private: ImageData, run: Run) -> Tensor:
        """Return the noisy sums."""
        size = self.embedding.at_once
        with run.progress(len(private), "embedding records") as bar:

            def embedded() -> Iterator[Tensor]:
                for piece in torch.from_numpy(private.images).split(size):
                    # Rounding depends on how many images go together. They are always as many, blank ones at the end, so that
                    # no record's embedding depends on how many others there are.
                    images = torch.cat([piece, piece.new_zeros(size - len(piece), *piece.shape[1:])])
                    yield self.embedding.whole(images.to(run.device).float() / 255)[: len(piece)].cpu()
                    bar.advance(len(piece))

            return noisy_sums(embedded(), private.labels, private.classes, self.sigma, self.noise)


def noisy_sums(pieces: Iterable[Tensor], labels: np.ndarray, classes: int, sigma: float, noise: Noise) -> Tensor:
    """Sums by class of vectors of length at most 1, with Gaussian noise of standard deviation `sigma` on every coordinate.

    The vectors (n, F) come piece by piece, in the order of `labels`, and are let go: all of them may be more than memory holds.
    """
    total: np.ndarray = np.zeros((), np.int64)
    done = 0
    for piece in pieces:
        total = total + integer_sums(piece, labels[done : done + len(piece)], classes, bound=SUM_UNITS / sigma)
        done += len(piece)
    return torch.from_numpy((total + noise.gaussian(SUM_UNITS, total.shape)) * (sigma / SUM_UNITS / HEADROOM)).float()


@dataclass(frozen=True, eq=False)
class ReleasedMatching:
    """A term of the loop: the squared distance between the synthetic images' mean embeddings and the released ones.

    Each iteration takes one network; there is no augmentation, because the records' embeddings had none.
    """

    embedding: Embedding
    means: Sequence[Tensor]
    name: str = "matching"

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        """One loss for each class."""
        which = number % len(self.means)
        return [
            (self.embedding.part(which, own).mean(0) - self.means[which][c].to(own)).square().sum()
            for own, c in zip(images, classes, strict=True)
        ]


@dataclass(frozen=True)
class PrivatePixels:
    """The baseline: each class's mean image and one variance of every pixel, shared by all classes.

    A record is its pixels about mid-grey and their squares, cut to length 1.
    """

    sigma: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "mean image of each class, and pixel variances"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """One Gaussian release."""
        return [(self.purpose, sums_event(self.sigma))]

    def compute(self, private: ImageData, run: Run) -> Tensor:
        """Return noisy sums (K, 2 P + 1) of pixels in [-1/2, 1/2], of their squares, and of the records."""
        pieces = torch.from_numpy(private.images).flatten(1).split(AT_ONCE)
        vectors = (pixel_vectors(piece.float() / 255 - 0.5) for piece in pieces)
        return noisy_sums(vectors, private.labels, private.classes, self.sigma, self.noise)


def pixel_vectors(flat: Tensor) -> Tensor:
    """Records' vectors (n, 2 P + 1) of length at most 1, from pixels (n, P) in [-1/2, 1/2]."""
    pixels = flat.shape[1]
    # |x|^2 <= P / 4 and |x^2|^2 <= P / 16; a fifth of the squared length goes to the squares, a twentieth to the count.
    scales = (0.75 / (pixels / 4)) ** 0.5, (0.2 / (pixels / 16)) ** 0.5, 0.05**0.5
    return torch.cat([flat * scales[0], flat.square() * scales[1], torch.full_like(flat[:, :1], scales[2])], 1)


def pixel_statistics(sums: Tensor) -> tuple[Tensor, Tensor]:
    """From noisy sums (K, 2 P + 1) to class means (K, P) of pixels in [0, 1] and their shared standard deviations (P,)."""
    pixels = (sums.shape[1] - 1) // 2
    counts = (sums[:, -1:] / 0.05**0.5).clamp(min=1.0)
    means = sums[:, :pixels] / counts / (0.75 / (pixels / 4)) ** 0.5
    squares = sums[:, pixels : 2 * pixels] / (0.2 / (pixels / 16)) ** 0.5
    variance = squares.sum(0) / counts.sum() - (means.square() * counts).sum(0) / counts.sum()
    return (means + 0.5).clamp(0, 1), variance.clamp(min=0.0).sqrt()


def sample_pixels(sums: Tensor, shape: tuple[int, int, int], ipc: int, generator: torch.Generator) -> Tensor:
    """Images (K, ipc, c, h, w): class means plus independent Gaussian pixels of the shared variance."""
    means, deviation = pixel_statistics(sums)
    drawn = torch.randn(len(means), ipc, means.shape[1], generator=generator)
    return (means[:, None] + drawn * deviation).clamp(0, 1).reshape(len(means), ipc, *shape)
