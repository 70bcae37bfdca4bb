"""The whole network: clips to features of frames, to a spatiotemporal representation, to a logit (positive: forged).

    pixels (B, T, 3, H, W) -> features (B, S, T, C) -> tokens (B, S, T, D) -> represented tokens and clips (B, D) -> logit (B,)

S counts the cells of a frame: 1 where a token is a whole frame, h * w of the last maps where it is a cell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....platform.training.seeds import seeded
from .backbone import make_backbone
from .form import Clips, Form
from .tokens import TokenLayer
from .transformer import Transformer


class Head(nn.Module):
    """logit = MLP(representation) + w . (mean feature) + b; the MLP's last layer starts at zero.

    Args:
        width: D; None: there is no representation, so no MLP.
        channels: C; None: the mean feature is not looked at.
        dropout: before the MLP's last layer.
    """

    def __init__(self, width: int | None, channels: int | None, dropout: float = 0.3) -> None:
        super().__init__()
        self.mlp = None
        if width is not None:
            last = nn.Linear(width, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), last)
        self.bypass = None if channels is None else nn.Linear(channels, 1)

    def forward(self, represented: Tensor | None, feature: Tensor) -> Tensor:
        """Representations (B, D) and mean features (B, C) to logits (B,)."""
        logits = feature.new_zeros(len(feature), 1)
        if self.mlp is not None:
            logits = logits + self.mlp(represented)
        if self.bypass is not None:
            logits = logits + self.bypass(feature)
        return logits[:, 0]


class Network(nn.Module):
    """Backbone, token layer, Transformer and head.

    Args:
        form: of the network.
        clips: what it sees.
    """

    def __init__(self, form: Form, clips: Clips) -> None:
        super().__init__()
        self.form, self.clips = form, clips
        self.backbone = make_backbone(form)
        self.channels = self.backbone.channels
        self.cells = self._grid() if form.token == "grid" else (1, 1)
        self.tokens = TokenLayer(form, self.channels, clips.length, self.cells) if form.temporal else None
        self.transformer = Transformer(form) if form.temporal else None
        self.head = Head(
            form.width if form.temporal else None, self.channels if form.head_bypass else None, form.head_dropout
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised clips (B, T, 3, H, W) to logits (B,)."""
        return self.classify(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """Features of clips of any length, float32: (B, S, T, C)."""
        clips, frames = pixels.shape[:2]
        # Channels last: the thin network's step takes about three quarters of the time on a CPU.
        maps = self.backbone(pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        found = maps.mean((2, 3))[:, None] if self.cells == (1, 1) else maps.flatten(2).transpose(1, 2)
        return found.unflatten(0, (clips, frames)).transpose(1, 2).float()

    def represent(self, features: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Represented tokens (B, S, T, D) and clips (B, D), float32; `masked` bool (B, S, T), None: nothing is."""
        assert self.tokens is not None and self.transformer is not None
        tokens, clip = self.transformer(self.tokens(features, masked))
        return tokens.float(), clip.float()

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B,) of features (B, S, T, C)."""
        represented = self.represent(features)[1] if self.transformer is not None else None
        logits: Tensor = self.head(represented, features.mean((1, 2)))
        return logits.float()

    def follow(self, features: Tensor) -> None:
        """Let the token layer's standardisation follow these features; in training only."""
        if self.training and self.tokens is not None and self.tokens.training:
            self.tokens.follow(features)

    def body(self) -> list[nn.Module]:
        """All but the head."""
        return [module for module in (self.backbone, self.tokens, self.transformer) if module is not None]

    def _grid(self) -> tuple[int, int]:
        was = self.backbone.training
        self.backbone.eval()
        with torch.no_grad():
            height, width = self.backbone(torch.zeros(1, 3, self.clips.side, self.clips.side)).shape[2:]
        self.backbone.train(was)
        return height, width


def fresh_network(form: Form, clips: Clips, seed: int) -> Network:
    """A network whose first weights depend on the seed alone.

    Raises:
        BadInput: the file of weights that the form names cannot be used.
    """
    with seeded(seed):
        return Network(form, clips)
