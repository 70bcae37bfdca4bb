"""The classifiers under a crowd model: features of an item, and one linear layer from features to logits.

The meta step needs that split: only the last layer depends on the crowd's correction to first order.

>>> network = build(Backbone(hidden=16), np.zeros((4, 5), np.float32), classes=3)
>>> network(torch.zeros(2, 5)).shape, network.last.in_features
(torch.Size([2, 3]), 16)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int

KINDS = ("auto", "mlp", "cnn", "resnet18", "resnet34")
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Backbone:
    """Which network learns.

    Args:
        kind: mlp for features; cnn, resnet18 or resnet34 for images; auto: mlp or cnn, as the items are.
        hidden: width of the dense layer (mlp, cnn).
        dropout: of that layer's output.
        width: channels of the first convolution, half of the second's (cnn).
        stem_padding: of a ResNet's first 3x3 convolution; 0 in CCC's published code.
        standardise: bring features to mean 0 and deviation 1, each by itself; images are always brought there, by channel.
    """

    kind: str = "auto"
    hidden: int = 128
    dropout: float = 0.5
    width: int = 16
    stem_padding: int = 1
    standardise: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"backbone kind is {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        positive_int(hidden=self.hidden, width=self.width)
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout is {self.dropout!r}", why="it must be in [0, 1)")
        if self.stem_padding not in (0, 1):
            raise BadInput(f"stem_padding is {self.stem_padding!r}", mend="use 0 or 1")


class Network(nn.Module):
    """Items, float features (B, D) or uint8 images (B, c, h, w), to logits (B, C) by way of features (B, last.in_features).

    `mean` and `deviation` standardise the inputs and travel with the weights. `company`: whether a batch to learn from needs two items.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, body: nn.Module, last: nn.Linear, mean: Tensor, deviation: Tensor, *, company: bool = False
    ) -> None:
        super().__init__()
        self.body = body
        self.last = last
        self.company = company
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def standardised(self, inputs: Tensor) -> Tensor:
        """Return what the first layer sees, shaped as the items."""
        if inputs.dtype == torch.uint8:
            inputs = inputs.to(self.mean.dtype) / 255
        return (inputs - self.mean) / self.deviation

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the last layer sees, (B, last.in_features).

        Raises:
            BadInput: it is learning, from a batch of one image that is too small for that.
        """
        if self.company and self.training and len(inputs) == 1:
            raise BadInput(
                f"a ResNet cannot learn from one image of {inputs.shape[2]}x{inputs.shape[3]} alone",
                why="its last map has one pixel, and batch normalisation needs two numbers",
                mend="set a method.batch_size that leaves no batch of one, or method.backbone.kind=cnn",
            )
        return self.body(self.standardised(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.last(self.features(inputs))


def build(backbone: Backbone, inputs: np.ndarray, classes: int) -> Network:
    """Return an untrained network for such items; its weights come from torch's generator.

    Args:
        backbone: the settings.
        inputs: float32 (N, D) or uint8 (N, c, h, w): all training items, for their means and deviations.
        classes: number of classes C.

    Raises:
        BadInput: the kind does not fit the items.
    """
    images = inputs.ndim == 4
    kind = ("cnn" if images else "mlp") if backbone.kind == "auto" else backbone.kind
    if images == (kind == "mlp"):
        raise BadInput(
            f"backbone {kind} cannot take {'images' if images else 'features'}",
            mend="set method.backbone.kind=auto, or one that fits",
        )
    mean, deviation = _moments(inputs, standardise=images or backbone.standardise)
    company = False
    if kind == "mlp":
        body, size = _mlp(inputs.shape[1], backbone), backbone.hidden
    elif kind == "cnn":
        body, size = _cnn(tuple(inputs.shape[1:]), backbone), backbone.hidden
    else:
        body, size = _resnet(kind, inputs.shape[1], backbone)
        # The stem without padding takes two pixels, and three strides leave one in eight.
        company = max(inputs.shape[2:]) - 2 * (1 - backbone.stem_padding) <= 8
    return Network(body, nn.Linear(size, classes), mean, deviation, company=company)


def _moments(inputs: np.ndarray, *, standardise: bool) -> tuple[Tensor, Tensor]:
    """Means and deviations that broadcast over a batch; 0 and 1 where nothing is to be done."""
    if not standardise:
        return torch.zeros(1, inputs.shape[1]), torch.ones(1, inputs.shape[1])
    if inputs.ndim == 2:
        mean, deviation = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
        shape: tuple[int, ...] = (1, -1)
    else:
        # One channel at a time: a float copy of all images would be eight times their size.
        scaled = [(c.mean(dtype=np.float64) / 255, c.std(dtype=np.float64) / 255) for c in inputs.transpose(1, 0, 2, 3)]
        mean, deviation = (np.array(column) for column in zip(*scaled, strict=True))
        shape = (1, -1, 1, 1)
    deviation = np.maximum(deviation, LEAST_DEVIATION)
    return torch.from_numpy(mean).float().view(shape), torch.from_numpy(deviation).float().view(shape)


def _mlp(size: int, backbone: Backbone) -> nn.Module:
    return nn.Sequential(nn.Linear(size, backbone.hidden), nn.ReLU(), nn.Dropout(backbone.dropout))


def _cnn(shape: tuple[int, ...], backbone: Backbone) -> nn.Module:
    channels, height, span = shape
    if min(height, span) < 4:
        raise BadInput(f"images of {height}x{span} are too small for two poolings", mend="use 4x4 or more")
    width = backbone.width
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (span // 4), backbone.hidden), nn.ReLU(), nn.Dropout(backbone.dropout),
    )  # fmt: skip


def _resnet(kind: str, channels: int, backbone: Backbone) -> tuple[nn.Module, int]:
    """A ResNet for small images: a 3x3 stem without stride, no max-pooling."""
    network = models.resnet34(weights=None) if kind == "resnet34" else models.resnet18(weights=None)
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=backbone.stem_padding, bias=False)
    network.register_module("maxpool", nn.Identity())
    size = network.fc.in_features
    network.register_module("fc", nn.Identity())
    return network, size
