"""The losses of stage 1 on a batch of real clips, and how well a network knows what is natural in clips that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ....platform.data.videos import VideoSet
from .batches import read_clip
from .clips import central, starts
from .model import Network
from .settings import Pretraining
from .shuffles import in_order, shuffled_orders
from .spatial import SpatialPrediction, draw_mask
from .temporal import distance, temporal_loss

PIECE = 8  # clips that go through a backbone at once where nothing is learned


class Consistency(nn.Module):
    """Network and spatial predictor: clips of real videos to the losses of both modules.

    Args:
        network: with a Transformer.
        settings: of stage 1.
        from_pixels: whether it is given pixels, or features that were computed before.
    """

    done: Tensor

    def __init__(self, network: Network, settings: Pretraining, *, from_pixels: bool = True) -> None:
        super().__init__()
        self.network, self.from_pixels = network, from_pixels
        self._settings = settings
        self.spatial = (
            SpatialPrediction(settings.spatial, network.form.width, network.channels)
            if settings.spatial.weight
            else None
        )
        # In a buffer, so that a training that is resumed knows how far it had come. It is read once: reading it makes a GPU wait.
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self._at: int | None = None
        self._joins = 0

    def begin(self, steps: int, *, done: int = 0) -> None:
        """A training begins, `done` of the `steps` of stage 1 lie before it: where there is a spatial loss, the temporal one joins it
        after its share of `steps`."""
        self.done.fill_(done)
        self._at = None
        self._joins = 0 if self.spatial is None else round(self._settings.temporal.after * steps)

    def forward(self, inputs: Tensor, masked: Tensor, orders: Tensor, videos: Tensor) -> dict[str, Tensor]:
        """Losses of B anchors and, after them, their B positives; "loss" is the one that is minimised.

        Args:
            inputs: pixels (2 B, T, 3, H, W), or features (2 B, S, T, C).
            masked: bool (2 B, S, T): what the spatial module hides.
            orders: int64 (B K, T): unnatural orders of each positive.
            videos: int64 (B,): numbers of the videos.
        """
        features = self.network.features(inputs) if self.from_pixels else inputs
        self.network.follow(features)
        at = int(self.done) if self._at is None else self._at
        self._at = at + self.training
        self.done += self.training
        joined = at >= self._joins
        return self.losses(features, masked, orders, videos, temporal=joined)

    def losses(
        self, features: Tensor, masked: Tensor, orders: Tensor, videos: Tensor, *, temporal: bool = True
    ) -> dict[str, Tensor]:
        """The same of features (2 B, S, T, C); without the temporal loss where it has not joined yet."""
        settings, count = self._settings, len(features) // 2
        temporal = temporal and settings.temporal.weight > 0
        parts, hidden = [], []
        if self.spatial is not None:
            parts.append(features)
            hidden.append(masked)
        if temporal:
            many = settings.temporal.negatives
            shuffled = in_order(features[count:].repeat_interleave(many, dim=0), orders)
            parts += [features, shuffled]
            hidden += [torch.zeros_like(masked), masked.new_zeros(len(shuffled), *masked.shape[1:])]
        tokens, clips = self.network.represent(torch.cat(parts), torch.cat(hidden))
        total, said = features.new_zeros(()), dict[str, Tensor]()
        with torch.autocast(features.device.type, enabled=False):
            if self.spatial is not None:
                lost = self.spatial(tokens[: 2 * count], features, masked)
                total, said["spatial"] = total + settings.spatial.weight * lost, lost.detach()
            if temporal:
                rows = clips[2 * count :] if self.spatial is not None else clips
                anchor, positive, rest = (
                    rows[:count],
                    rows[count : 2 * count],
                    rows[2 * count :].unflatten(0, (count, -1)),
                )
                lost = temporal_loss(settings.temporal, anchor, positive, rest, videos)
                total, said["temporal"] = total + settings.temporal.weight * lost, lost.detach()
                said["near"] = distance(anchor, positive).mean().detach()
                said["far"] = distance(anchor[:, None], rest).mean().detach()
        return {"loss": total, **said}

    def draws(self, count: int, generator: Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Masks (2 B, S, T) and orders (B K, T) for a batch of `count` videos."""
        length, cells = self.network.clips.length, self.network.cells
        settings = self._settings
        masked = draw_mask(2 * count, cells[0] * cells[1], length, settings.spatial.ratio, generator)
        orders = shuffled_orders(settings.temporal.shuffle, count * settings.temporal.negatives, length, generator)
        return masked.to(device), orders.to(device)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pairs of clips of real videos that are only looked at: frames uint8 (2 n, T, 3, S, S), anchors first; masks and orders."""

    frames: np.ndarray
    masked: Tensor
    orders: Tensor

    @classmethod
    def of(cls, videos: VideoSet, model: Consistency, *, seed: int, pairs: int = 32) -> HeldOut | None:
        """`pairs` pairs of the real videos of a set; None if it has none."""
        real = np.flatnonzero(~videos.forged)
        if not len(real):
            return None
        clips, generator = model.network.clips, Generator().manual_seed(seed)
        chosen = np.resize(real, pairs).tolist()
        frames = [
            read_clip(videos, number, _start(videos, number, model, generator), clips)
            for _ in range(2)
            for number in chosen
        ]
        masked, orders = model.draws(pairs, generator, torch.device("cpu"))
        return cls(np.stack(frames), masked, orders)

    @torch.no_grad()
    def features(self, network: Network, device: torch.device) -> Tensor:
        """Features of all clips, on the CPU."""
        parts = []
        for first in range(0, len(self.frames), PIECE):
            pixels = central(torch.from_numpy(self.frames[first : first + PIECE]).to(device), network.clips)
            parts.append(network.features(pixels).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def judged(self, model: Consistency, features: Tensor, device: torch.device) -> Mapping[str, float]:
        """What both modules know of these clips. The model must be in evaluation mode.

        `spm_error` is the mean square error of the predictions in units of the target, `spm_zero` and `spm_interpolation` those of the
        mean of the visible frames and of straight lines between them, `spm_r2` and `interpolation_r2` one less their ratios to
        `spm_zero`. `shuffled_farther` is the share of (anchor, positive, order) of which the shuffled positive lies farther from the
        anchor; `near` and `far` are the mean distances; `feature_deviation` is the mean over channels of the features' deviation.
        """
        given, masked, network = features.to(device), self.masked.to(device), model.network
        found = {"feature_deviation": float(given.flatten(0, -2).std(0).mean())}
        if model.spatial is not None:
            wanted = model.spatial.targets(given, masked)[masked]
            guessed = model.spatial.predict(network.represent(given, masked)[0][masked])
            rivals = {name: guess[masked] for name, guess in model.spatial.references(given, masked).items()}
            errors = {
                name: float((guess - wanted).square().mean()) for name, guess in {"error": guessed, **rivals}.items()
            }
            found |= {f"spm_{name}": error for name, error in errors.items()}
            if errors["zero"]:  # In clips where nothing moves there is no variance to explain.
                found["spm_r2"] = 1 - errors["error"] / errors["zero"]
                found["interpolation_r2"] = 1 - errors["interpolation"] / errors["zero"]
        count = len(given) // 2
        many = len(self.orders) // count
        shuffled = in_order(given[count:].repeat_interleave(many, dim=0), self.orders)
        anchor, positive = network.represent(given)[1].split(count)
        near = distance(anchor, positive)[:, None]
        far = distance(anchor[:, None], network.represent(shuffled)[1].unflatten(0, (count, -1)))
        return found | {
            "shuffled_farther": float(((far > near).float() + 0.5 * (far == near).float()).mean()),
            "near": float(near.mean()), "far": float(far.mean()),
        }  # fmt: skip


def own_generator() -> Generator:
    """A generator seeded by one number of the training's stream, so that a resumed training draws what it would have drawn."""
    return Generator().manual_seed(int(torch.randint(2**62, (1,))))


def _start(videos: VideoSet, number: int, model: Consistency, generator: Generator) -> int:
    places = starts(videos.tracks.frames(number), model.network.clips)
    return int(torch.randint(places, (1,), generator=generator))
