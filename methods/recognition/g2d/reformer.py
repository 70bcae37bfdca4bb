"""The discriminative reformer: from the descriptor of an inpainting to an embedding of who it is.

A residual network (He, Zhang, Ren & Sun, CVPR 2016) of one convolution, stages of basic blocks, a pooling and a fully connected layer.

>>> paper = Reformer(256, Reforming(widths=(64, 128, 256, 512), blocks=(3, 3, 2, 2), embedding=512))
>>> paper.weight_layers
22
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int


@dataclass(frozen=True)
class Reforming:
    """Settings of the reformer's form.

    Args:
        widths: channels of its stages, each of which begins by halving the map.
        blocks: basic blocks of each stage, of two convolutions each.
        embedding: length of the embedding.
    """

    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (2, 2, 2)
    embedding: int = 128

    def __post_init__(self) -> None:
        # A configuration file gives lists.
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not self.widths or len(self.widths) != len(self.blocks):
            raise BadInput(
                f"{len(self.widths)} widths and {len(self.blocks)} numbers of blocks", mend="give one of each a stage"
            )
        for width, blocks in zip(self.widths, self.blocks, strict=True):
            positive_int(widths=width, blocks=blocks)
        positive_int(embedding=self.embedding)


class Reformer(nn.Module):
    """Descriptors (B, channels, h, w) to embeddings (B, D), not normalised."""

    def __init__(self, channels: int, settings: Reforming | None = None) -> None:
        super().__init__()
        settings = settings or Reforming()
        before = settings.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU()
        )
        stages: list[nn.Module] = []
        for width, blocks in zip(settings.widths, settings.blocks, strict=True):
            shortcut = nn.Sequential(conv1x1(before, width, 2), nn.BatchNorm2d(width))
            stages.append(BasicBlock(before, width, 2, shortcut))
            stages += [BasicBlock(width, width) for _ in range(blocks - 1)]
            before = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.embed = nn.Linear(before, settings.embedding, bias=False)
        self.norm = nn.BatchNorm1d(settings.embedding)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, descriptor: Tensor) -> Tensor:
        """The embeddings."""
        embedding: Tensor = self.norm(self.embed(self.pool(self.stages(self.stem(descriptor)))))
        return embedding

    @property
    def weight_layers(self) -> int:
        """Layers as they are counted for residual networks: without the 1 x 1 convolutions of shortcuts."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
        return len(convolutions) + 1
