"""A generator taught by one noisy release: mean random Fourier features of each class (DP-MERF).

Harder, Adamczewski & Park, AISTATS 2021, arXiv 2002.11603. A record's feature has length 1, the features of a class are summed and
noised once, and a generator is trained until its images have the released means, for as long as one likes: that costs nothing. Here the
kernel's width comes from procedural images, the sums and their noise are exact whole numbers, and a coordinate that is the same for
all records makes the number of records of a class part of the release.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.data.images import ImageData
from ...platform.data.procedural import procedural_images
from ...platform.errors import BadInput
from ...platform.privacy.events import Event
from ...platform.privacy.noise import Noise, SystemNoise
from ...platform.privacy.sums import sums_event
from ...platform.privacy.validate import positive, positive_int
from ...platform.training.files import check_name
from ...platform.training.loop import train
from ...platform.training.outcome import Outcome
from ...platform.training.run import Run
from ..condensation.discrepancy import FourierFeatures, mean_squared_distance
from ..condensation.private import AT_ONCE, noisy_sums
from ..condensation.releases import TERMS
from ..labelled import LabelledData, Preparation
from ..transfer import BudgetTerms
from .judging import Judging, judge_synthetic
from .made import hash_of
from .plan import make_plan

PUBLIC_IMAGES = 512
COUNT_SHARE = 0.05  # of a record's squared length
GENERATOR = "generator.safetensors"


@dataclass(frozen=True)
class DpMerf:
    """Release mean features, teach a generator, judge its images.

    Args:
        algorithm: the name that reports give it.
        frequencies: of the random Fourier features (twice as many numbers).
        width: of the kernel exp(-d^2 / width) on pixels in [0, 1]; None: from procedural images.
        noise_multiplier: in units of a record's length; None: the least that the budget allows.
        latent, hidden: of the generator, a perceptron with two hidden layers.
        steps, batch_size, learning_rate: of its training (Adam).
        judging: how its images are judged.
    """

    algorithm: str = "dp_merf"
    frequencies: int = 1000
    width: float | None = None
    noise_multiplier: float | None = None
    latent: int = 10
    hidden: int = 256
    steps: int = 2000
    batch_size: int = 200
    learning_rate: float = 1e-3
    judging: Judging = field(default_factory=Judging)

    works_on: ClassVar[str] = "labelled"
    charges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.algorithm)
        positive_int(
            frequencies=self.frequencies, latent=self.latent, hidden=self.hidden, steps=self.steps,
            batch_size=self.batch_size,
        )  # fmt: skip
        positive(learning_rate=self.learning_rate)
        for name in ("width", "noise_multiplier"):
            if getattr(self, name) is not None:
                positive(**{name: getattr(self, name)})

    def fit(self, data: LabelledData, run: Run) -> Outcome:
        """Plan, charge, release, teach, judge.

        Raises:
            BadInput: a file that judging reads is not there.
            BudgetExhausted: the release does not fit; nothing was spent.
        """
        self.judging.refuse_missing_files()
        curator = data.curator
        if curator is None:
            raise BadInput("DP-MERF needs all records in one place, with a curator who charges")
        plan = make_plan(
            lambda multiplier: [(PrivateFeatures.purpose, sums_event(multiplier))], TERMS, epsilon=data.epsilon,
            delta=data.delta, noise_multiplier=self.noise_multiplier,
        )  # fmt: skip
        features = PixelFeatures.draw(data.shape, self.frequencies, self.width, seed=run.seed_for("features"))
        work = PrivateFeatures(features, plan.noise_multiplier)
        key = {
            "data": data.identity,
            "seed": run.seed,
            "noise_multiplier": plan.noise_multiplier,
            "settings": self._told(),
        }

        def release() -> Any:
            curator.refuse_unless_affordable(plan.events, mend="raise the budget with `stillhouse ledger grant`")
            return curator.release(work, run)

        sums: Tensor = run.stage("releases", release, inputs=key, once=True)
        means = features.means(sums)
        generator = self._taught(data, run, features, means, key)
        weights = generator.state_dict()
        labels = self.judging.labels(data.classes, None, 0)
        images = run.stage(
            "synthetic", lambda: self._images(generator, labels, run), inputs=key | {"generator": hash_of(weights)},
            once=True,
        )  # fmt: skip
        statement = plan.statement(data.delta)
        verdict = judge_synthetic(
            run, images.numpy(), labels.numpy(), data.test, statement, self.judging, train=None,
            inputs=key | {"generator": hash_of(weights), "test": data.test.content_hash()},
        )  # fmt: skip
        if run.world.first:
            save_file({name: value.cpu().contiguous() for name, value in weights.items()}, run.folder / GENERATOR)
        return Outcome(
            self.algorithm, verdict.metrics, statement, artefacts={"generator": GENERATOR, **verdict.artefacts}
        )

    def preparations(self, data: LabelledData) -> list[Preparation]:
        """Nothing is needed beforehand."""
        return []

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        return TERMS

    def _told(self) -> dict[str, Any]:
        settings = asdict(self)
        for name in ("judging", "algorithm"):
            settings.pop(name)
        return settings

    def _taught(
        self, data: LabelledData, run: Run, features: PixelFeatures, means: Tensor, key: dict[str, Any]
    ) -> Generator:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed_for("generator"))
            generator = Generator(self.latent, self.hidden, data.shape, data.classes)
        moved, aims = features.to(run.device), means.to(run.device)

        def loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
            label = batch[0] % data.classes
            images = model(torch.randn(len(label), self.latent, device=label.device), label)
            members = F.one_hot(label, data.classes).to(images).T
            found = members @ moved.embed(images) / members.sum(1, keepdim=True).clamp(min=1)
            return (found - aims).square().sum() * moved.squared_length

        # A row's number is its label, in turn.
        loader = run.loader(torch.arange(self.steps * self.batch_size), self.batch_size, shuffle=False)
        optimizer = torch.optim.Adam(generator.parameters(), self.learning_rate)
        train(run, generator, loss, loader, optimizer, epochs=1, name="generator", inputs=key)
        return generator

    def _images(self, generator: Generator, labels: Tensor, run: Run) -> Tensor:
        latent = torch.randn(len(labels), self.latent, generator=run.generator)
        generator.eval()
        with torch.no_grad():
            parts = [
                generator(z.to(run.device), y.to(run.device)).cpu()
                for z, y in zip(latent.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
            ]
        return (torch.cat(parts) * 255).round().to(torch.uint8)


class Generator(nn.Module):
    """Latent vectors (B, z) and labels (B,) to images (B, c, h, w) in [0, 1]."""

    def __init__(self, latent: int, hidden: int, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self._shape, self._classes = shape, classes
        pixels = shape[0] * shape[1] * shape[2]
        self.layers = nn.Sequential(
            nn.Linear(latent + classes, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, pixels), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """The images."""
        told = torch.cat([latent, F.one_hot(label, self._classes).to(latent)], 1)
        found: Tensor = self.layers(told)
        return found.view(-1, *self._shape)


@dataclass(frozen=True, eq=False)
class PixelFeatures:
    """Random Fourier features of pixels: a public function of an image, of length 1."""

    waves: FourierFeatures

    @classmethod
    def draw(cls, shape: tuple[int, int, int], frequencies: int, width: float | None, *, seed: int) -> PixelFeatures:
        """Draw them; the width, if none is given, is the mean squared distance of procedural images."""
        if width is None:
            public = torch.from_numpy(procedural_images(PUBLIC_IMAGES, shape, kind="objects", seed=seed))
            width = float(mean_squared_distance(public.flatten(1).float() / 255))
        generator = torch.Generator().manual_seed(seed)
        pixels = shape[0] * shape[1] * shape[2]
        return cls(FourierFeatures.draw(pixels, frequencies, width, (1.0,), generator))

    def to(self, device: torch.device) -> PixelFeatures:
        """The same on a device."""
        waves = self.waves
        return PixelFeatures(FourierFeatures(waves.frequencies.to(device), waves.amplitudes.to(device)))

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, 2F) of length 1 of images (B, c, h, w) in [0, 1]."""
        return self.waves.embed(images.flatten(1))

    @property
    def squared_length(self) -> float:
        """That of a feature."""
        return float(self.waves.amplitudes.square().sum())

    def whole(self, images: Tensor) -> Tensor:
        """What is released of a record: its feature and the counting coordinate, (B, 2F + 1), of length 1 together."""
        scale = ((1 - COUNT_SHARE) / self.squared_length) ** 0.5
        found = self.embed(images) * scale
        return torch.cat([found, torch.full_like(found[:, :1], COUNT_SHARE**0.5)], 1)

    def means(self, sums: Tensor) -> Tensor:
        """From noisy sums (K, 2F + 1) to mean features (K, 2F)."""
        counts = (sums[:, -1:] / COUNT_SHARE**0.5).clamp(min=1.0)
        return sums[:, :-1] / counts / ((1 - COUNT_SHARE) / self.squared_length) ** 0.5


@dataclass(frozen=True)
class PrivateFeatures:
    """Release the sums of all records' features by class."""

    features: PixelFeatures
    sigma: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "mean Fourier features of each class"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """One Gaussian release; a record that comes or goes moves one class's sum by at most length 1."""
        return [(self.purpose, sums_event(self.sigma))]

    def compute(self, private: ImageData, run: Run) -> Tensor:
        """Return the noisy sums (K, 2F + 1)."""

        def pieces() -> Iterator[Tensor]:
            for piece in torch.from_numpy(private.images).split(AT_ONCE):
                # Always as many at once, blank ones at the end: no record's feature is rounded by how many others there are.
                images = torch.cat([piece, piece.new_zeros(AT_ONCE - len(piece), *piece.shape[1:])])
                yield self.features.whole(images.float() / 255)[: len(piece)]

        return noisy_sums(pieces(), private.labels, private.classes, self.sigma, self.noise)
