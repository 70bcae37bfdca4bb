"""Stage 2 may begin with single frames: backbone and bypass learn to tell forged from real ones, frame by frame.

Frames of one clip are nearly the same picture. A step on as many single frames sees many times more videos, and what there is to be
seen in a still picture is learned in a fraction of the time; clips then add what is seen in motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....platform.data.videos import VideoSet
from ....platform.training.run import Run
from .batches import forged_batches
from .made import Maker, learned_pixels
from .model import Network
from .optimising import optimise, rounds
from .pretraining import only
from .settings import NacoSettings

NAME = "finetuning-frames"


class FrameDetector(nn.Module):
    """Backbone and bypass of a network while they learn from single frames: pixels and labels to losses."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        assert network.head.bypass is not None
        self.network = network
        only(network, [network.backbone, network.head.bypass])

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of frames (n, 1, 3, H, W), labels (n,), 1 for forged; "loss" is the one that is minimised."""
        network = self.network
        assert network.head.bypass is not None
        features = network.features(pixels)
        network.follow(features)
        logits = network.head.bypass(features.mean((1, 2)))[:, 0].float()
        with torch.autocast(pixels.device.type, enabled=False):
            loss = F.binary_cross_entropy_with_logits(logits, labels)
        return {"loss": loss, "right": ((logits > 0) == (labels > 0.5)).float().mean().detach()}


def learn_frames(
    run: Run, settings: NacoSettings, network: Network, train: VideoSet, numbers: np.ndarray, maker: Maker | None, identity: Any
) -> None:  # fmt: skip
    """Train a network's backbone and bypass in place, on frames of the forged tracks `numbers` and of the real ones beside them.

    Raises:
        RunFailed: the training diverged.
    """
    own, clips = settings.finetuning, settings.clips
    _, steps = rounds(own.frames)
    loader = forged_batches(
        run, train, numbers, clips, batches=steps, size=own.frames.batch_size, pairs=own.pairs, second=False
    )

    def loss(prepared: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        pixels, _ = learned_pixels(settings, batch[1][:, :, :1], maker)
        count = len(pixels) // 2
        losses: Mapping[str, Tensor] = prepared(pixels, torch.cat([pixels.new_ones(count), pixels.new_zeros(count)]))
        return losses

    model = FrameDetector(network).to(run.device)
    told = asdict(own)
    seen = {name: told[name] for name in ("frames", "pairs", "fakes", "blended", "augmentation")}
    inputs = {"finetuning": seen, "clips": asdict(clips), "network": asdict(settings.network), "of": identity}
    optimise(
        run,
        model,
        loss,
        loader,
        own.frames,
        name=NAME,
        groups=[([model], own.frames.learning_rate)],
        evaluate=lambda _: {},
        inputs=inputs,
    )
    network.requires_grad_(True)
