"""The networks that learn multi-labels: an MLP for features, ResNets and smaller ones for images, q logits each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.nn.architectures import NETWORKS, build_network
from ....platform.privacy.validate import positive_int

# ImageNet's, which pretrained weights expect.
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ARCHITECTURES = ("auto", "mlp", "resnet50", *NETWORKS)


@dataclass(frozen=True)
class Network:
    """Settings of the network.

    Args:
        architecture: auto (mlp for features, resnet50 for images), mlp, resnet50, or one of `platform.nn.architectures`.
        hidden: width of the MLP's hidden layer.
        weights: file with torchvision's weights of ResNet-50 (as `torch.save` wrote them), whose last layer is replaced; None: none.
    """

    architecture: str = "auto"
    hidden: int = 128
    weights: str | None = None

    def __post_init__(self) -> None:
        positive_int(hidden=self.hidden)
        if self.architecture not in ARCHITECTURES:
            raise BadInput(
                f"architecture is {self.architecture!r}", mend=f"use one of {', '.join(sorted(ARCHITECTURES))}"
            )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A fresh network from features (n, D) float32 or images (n, c, h, w) uint8 or in [0, 1], to logits (n, classes).

        Raises:
            BadInput: it cannot take records of this shape, or the weights cannot be read.
        """
        name = self.architecture
        if name == "auto":
            name = "mlp" if len(shape) == 1 else "resnet50"
        if (name == "mlp") != (len(shape) == 1):
            raise BadInput(
                f"{name} cannot take records of shape {shape}",
                mend="use mlp for features, and another architecture for images",
            )
        if self.weights is not None and name != "resnet50":
            raise BadInput(f"weights are for resnet50, not {name}", mend="set method.network.weights=null")
        if len(shape) == 1:
            return FeatureNetwork(shape[0], self.hidden, classes)
        image_shape = (shape[0], shape[1], shape[2])
        if name == "resnet50":
            return ImageNetwork(_resnet50(image_shape, classes, self.weights), image_shape[0])
        return ImageNetwork(build_network(name, image_shape, classes), image_shape[0])


class FeatureNetwork(nn.Module):
    """One hidden layer on standardised features (n, D), to logits (n, q); mean and deviation are set by `standardise`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def standardise(self, inputs: Tensor) -> None:
        """Take mean and deviation of training features (n, D); constant ones stay as they are."""
        deviation, mean = torch.std_mean(inputs.double(), dim=0, correction=0)
        self.mean = mean.float()
        self.deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation)).float()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (n, q)."""
        return self.layers((inputs - self.mean) / self.deviation)


class ImageNetwork(nn.Module):
    """A network behind the standardisation of ImageNet's colours (one grey channel takes their mean)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        means, deviations = torch.tensor(MEANS), torch.tensor(DEVIATIONS)
        if channels != len(MEANS):
            means, deviations = means.mean().repeat(channels), deviations.mean().repeat(channels)
        self.register_buffer("mean", means[:, None, None])
        self.register_buffer("deviation", deviations[:, None, None])
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, q) of images (n, c, h, w), uint8 or in [0, 1]."""
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        return self.network((pixels - self.mean) / self.deviation)


def fresh(network: Network, inputs: Tensor, classes: int, seed: int) -> nn.Module:
    """A network whose first weights depend on `seed` alone, standardised for `inputs`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = network.build(tuple(inputs.shape[1:]), classes)
    if isinstance(made, FeatureNetwork):
        made.standardise(inputs)
    return made


@torch.no_grad()
def probabilities(network: nn.Module, inputs: Tensor, device: torch.device, *, piece: int = 512) -> Tensor:
    """P(label) of each record, (n, q) on the CPU; the network is left in evaluation mode."""
    network.eval()
    return torch.cat([torch.sigmoid(network(part.to(device))).float().cpu() for part in inputs.split(piece)])


def _resnet50(shape: tuple[int, int, int], classes: int, weights: str | None) -> nn.Module:
    from torchvision import models

    network = models.resnet50(weights=None)
    if weights is not None:
        if shape[0] != 3:
            raise BadInput(f"pretrained weights are for 3 channels, not {shape[0]}")
        try:
            network.load_state_dict(torch.load(Path(weights), map_location="cpu", weights_only=True))
        except Exception as error:  # Of a damaged file torch and pickle raise whatever they stumble on.
            raise BadInput(
                f"cannot read {weights} as torchvision's weights of ResNet-50", why=type(error).__name__,
                mend="give the file that torchvision.models.ResNet50_Weights names, resnet50-*.pth",
            ) from None  # fmt: skip
    if shape[0] != 3:
        network.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
    network.fc = nn.Linear(network.fc.in_features, classes)
    return network
