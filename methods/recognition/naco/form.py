"""Form of the network, and the clips that it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int

BACKBONES = ("thin", "resnet18", "resnet50")
LEAST_FRAMES = 4


def one_of(allowed: Sequence[str], **values: str) -> None:
    """Check that a setting is one of the words for it.

    >>> one_of(("mean", "cls"), pool="mean")
    """
    for name, value in values.items():
        if value not in allowed:
            raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(allowed)}")


def share(**values: float) -> None:
    """Check that settings are shares, from 0 to below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise BadInput(f"{name} is {value!r}", why="it is a share, from 0 to below 1")


@dataclass(frozen=True)
class Clips:
    """How clips are cut from face tracks.

    Args:
        length: frames T in a clip.
        stride: frames of the track from one to the next.
        side: pixels of a side that the network sees.
        margin: pixels by which a track is larger than `side` before it is cropped (randomly in training, in the middle otherwise);
            tracks of another size are brought to `side + margin` first.
    """

    length: int = 16
    stride: int = 1
    side: int = 80
    margin: int = 8

    def __post_init__(self) -> None:
        positive_int(length=self.length, stride=self.stride, side=self.side)
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise BadInput(f"margin is {self.margin!r}", why="it is a whole number of pixels, from 0 up")
        if self.length < LEAST_FRAMES:
            raise BadInput(
                f"clips of {self.length} frames", mend=f"use {LEAST_FRAMES} or more: fewer have no order to shuffle"
            )
        if self.side < 32:
            raise BadInput(f"a network that sees {self.side} pixels", mend="use 32 or more")

    @property
    def span(self) -> int:
        """Frames of a track from a clip's first to its last."""
        return (self.length - 1) * self.stride + 1


@dataclass(frozen=True)
class Form:
    """Form of the network.

    Args:
        backbone: of frames: thin (0.3 M parameters, ours), resnet18 or resnet50 (torchvision's).
        weights: a local file of the ResNet's ImageNet weights (a state dict as torchvision's); None: random.
        norm: of the thin one: batch, or group (whose statistics do not depend on the other frames).
        temporal: False leaves the Transformer out: a mean of frame by frame logits.
        width, layers, heads, hidden, dropout: of the Transformer; `hidden` is the width of its feed-forward part.
        token: frame (one a frame) or grid (one a cell of the last map; features of cells are masked).
        token_scale: features are standardised by a slowly moving mean and deviation, by fixed ones, or not (none).
        token_center: subtract the mean over the clip's visible frames.
        token_diff: give the difference from the frame before beside it.
        code: of time (and cells): fixed sines, learned (small at first), or none.
        pool: what stands for a clip: the mean over its tokens, or a token of its own (cls).
        head_bypass: let the classifier see the mean feature beside the Transformer.
        head_dropout: of the classifier.
        zero_residual: residual branches start at zero.
    """

    backbone: str = "thin"
    weights: str | None = None
    norm: str = "batch"
    temporal: bool = True
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.1
    token: str = "frame"
    token_scale: str = "moving"
    token_center: bool = True
    token_diff: bool = True
    code: str = "fixed"
    pool: str = "mean"
    head_bypass: bool = True
    head_dropout: float = 0.3
    zero_residual: bool = True

    def __post_init__(self) -> None:
        one_of(BACKBONES, backbone=self.backbone)
        one_of(("batch", "group"), norm=self.norm)
        one_of(("frame", "grid"), token=self.token)
        one_of(("moving", "fixed", "none"), token_scale=self.token_scale)
        one_of(("fixed", "learned", "none"), code=self.code)
        one_of(("mean", "cls"), pool=self.pool)
        positive_int(width=self.width, layers=self.layers, heads=self.heads, hidden=self.hidden)
        share(dropout=self.dropout, head_dropout=self.head_dropout)
        if self.width % self.heads or self.width % 4:
            raise BadInput(f"width {self.width} with {self.heads} heads", mend="use a multiple of 4 and of the heads")
        if self.weights is not None and self.backbone == "thin":
            raise BadInput(
                "the thin backbone has no ImageNet weights", mend="leave network.weights out, or use a ResNet"
            )
        if self.norm == "group" and self.backbone != "thin":
            raise BadInput("only the thin backbone can have group norms", mend="leave network.norm out")
        if not self.temporal and not self.head_bypass:
            raise BadInput(
                "without Transformer and bypass the classifier sees nothing", mend="set network.head_bypass=true"
            )
