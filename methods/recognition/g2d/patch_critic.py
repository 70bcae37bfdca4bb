"""The critic of inpainted pictures: one logit a patch.

PatchGAN: Isola, Zhu, Zhou & Efros, Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017; spectral norm: Miyato,
Kataoka, Koyama & Yoshida 2018, arXiv 1802.05957.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

LOSSES = ("hinge", "nsgan")
SLOPE = 0.2


class PatchCritic(nn.Module):
    """Pictures (B, 3, s, s), s at least 32, to logits (B, 1, h, w): 4 x 4 convolutions to width, 2, 4 and 8 times width, and 1.

    The first three halve the size; the last two keep it but for a pixel each.
    """

    def __init__(self, width: int = 64, *, spectral: bool = True) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width, 8 * width, 1)
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise(channels)):
            convolution = nn.Conv2d(before, after, 4, stride=2 if level < 3 else 1, padding=1)
            layers += [spectral_norm(convolution) if spectral else convolution, nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pictures: Tensor) -> Tensor:
        """The logits; high for what looks real."""
        logits: Tensor = self.layers(pictures)
        return logits


def critic_loss(real: Tensor, drawn: Tensor, kind: str) -> Tensor:
    """What the critic minimises, from its logits of real and of drawn pictures."""
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + drawn).mean()
    return (functional.softplus(-real).mean() + functional.softplus(drawn).mean()) / 2


def drawing_loss(drawn: Tensor, kind: str) -> Tensor:
    """What whoever draws minimises: the critic's mean against them (hinge), or -log of its belief (non-saturating)."""
    return -drawn.mean() if kind == "hinge" else functional.softplus(-drawn).mean()
