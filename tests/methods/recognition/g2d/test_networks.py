"""Shapes of the paper and of the small profile, what the encoder is shown, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.g2d.networks import Decoder, Descriptor, Encoder, coarse_fill
from stillhouse.methods.recognition.g2d.patch_critic import PatchCritic, critic_loss, drawing_loss
from stillhouse.methods.recognition.g2d.reformer import Reformer, Reforming
from stillhouse.methods.recognition.g2d.segmentation import Segmenter, map_overlap
from stillhouse.platform.errors import BadInput
from torch import nn

PAPER = Descriptor(width=64, blocks=8, guide="coarse")
PAPER_REFORMER = Reforming(widths=(64, 128, 256, 512), blocks=(3, 3, 2, 2), embedding=512)


def test_paper_shapes() -> None:
    """At 256 pixels, on a device that computes shapes only."""
    with torch.device("meta"):
        encoder, decoder, reformer = Encoder(PAPER), Decoder(PAPER), Reformer(256, PAPER_REFORMER)
        seen, hidden = torch.rand(2, 3, 256, 256), torch.rand(2, 1, 256, 256)
        descriptor = encoder(seen, hidden)
        assert descriptor.shape == (2, 256, 64, 64)
        assert decoder(descriptor).shape == (2, 3, 256, 256)
        assert reformer(descriptor).shape == (2, 512)
        sides = [descriptor.shape[-1]]
        features = reformer.stem(descriptor)
        for block in reformer.stages:
            features = block(features)
            sides.append(features.shape[-1])
    assert sorted(set(sides), reverse=True) == [64, 32, 16, 8, 4]
    forms = [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in encoder.down]  # type: ignore[union-attr]
    assert forms == [(6, 64, 7), (64, 128, 4), (128, 256, 4)]
    assert len(encoder.blocks) == 8


def test_the_reformer_has_22_weight_layers() -> None:
    with torch.device("meta"):
        reformer = Reformer(256, PAPER_REFORMER)
    on_the_path = [
        name for name, module in reformer.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
    ]  # fmt: skip
    assert len(on_the_path) == 1 + 2 * (3 + 3 + 2 + 2) + 1 == 22
    assert reformer.weight_layers == 22


@pytest.mark.parametrize("kind", ["plain", "partial_conv"])
def test_small_profile(kind: str) -> None:
    settings = Descriptor(kind=kind)
    encoder, decoder, reformer = Encoder(settings), Decoder(settings), Reformer(settings.channels)
    seen, hidden = torch.rand(3, 3, 64, 64), torch.zeros(3, 1, 64, 64)
    hidden[:, :, 40:] = 1
    descriptor = encoder(seen, hidden)
    assert descriptor.shape == (3, 128, 16, 16)
    drawn = decoder(descriptor)
    assert drawn.shape == seen.shape
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert reformer(descriptor).shape == (3, 128)
    first = encoder.down[0]
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels == (3 if kind == "partial_conv" else 4)


def test_partial_convolutions_do_not_see_the_mask() -> None:
    encoder = Encoder(Descriptor(width=4, blocks=1, kind="partial_conv"))
    hidden = torch.zeros(2, 1, 32, 32)
    hidden[:, :, 16:, 8:24] = 1
    seen = torch.rand(2, 3, 32, 32)
    painted = torch.where(hidden.bool(), torch.rand(2, 3, 32, 32), seen)
    torch.testing.assert_close(encoder(seen, hidden), encoder(painted, hidden))
    assert not torch.allclose(encoder(seen, hidden * 0), encoder(painted, hidden * 0))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), size=st.sampled_from([16, 32, 48, 64]), share=st.floats(0, 1))
def test_a_coarse_fill_stays_within_what_is_visible(seed: int, size: int, share: float) -> None:
    stream = torch.Generator().manual_seed(seed)
    seen = torch.rand(2, 3, size, size, generator=stream)
    hidden = (torch.rand(2, 1, size, size, generator=stream) < share).float()
    filled = coarse_fill(seen, hidden)
    assert filled.shape == seen.shape
    for picture, mask, fill in zip(seen, hidden, filled, strict=True):
        visible = picture[:, mask[0] == 0]
        if not visible.numel():
            assert torch.allclose(fill, torch.full_like(fill, 0.5))
            continue
        assert (fill >= visible.amin(1).view(3, 1, 1) - 1e-4).all()
        assert (fill <= visible.amax(1).view(3, 1, 1) + 1e-4).all()


def test_a_coarse_fill_of_one_colour_is_that_colour_whatever_the_mask_shows() -> None:
    colour = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1)
    hidden = torch.zeros(1, 1, 64, 64)
    hidden[..., 32:, :] = 1
    painted = colour.expand(1, 3, 64, 64) * (1 - hidden) + hidden
    torch.testing.assert_close(coarse_fill(painted, hidden), colour.expand(1, 3, 64, 64))


@pytest.mark.parametrize("shape", [(2, 3, 30, 30), (2, 3, 12, 12), (2, 1, 32, 32), (2, 3, 32, 64), (3, 32, 32)])
def test_wrong_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="multiple of 4"):
        Encoder(Descriptor(width=4, blocks=1))(torch.rand(shape), torch.zeros(2, 1, *shape[-2:]))


def test_settings_are_checked() -> None:
    with pytest.raises(BadInput, match=r"descriptor\.kind"):
        Descriptor(kind="gated")
    with pytest.raises(BadInput, match="guided by the mask"):
        Descriptor(kind="partial_conv", guide="coarse")
    with pytest.raises(BadInput, match="one of each a stage"):
        Reforming(widths=(64, 128), blocks=(2,))


def test_the_critic_looks_at_patches() -> None:
    critic = PatchCritic(4)
    assert critic(torch.rand(2, 3, 64, 64)).shape == (2, 1, 6, 6)
    with torch.device("meta"):
        paper = PatchCritic(64)
        assert paper(torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    forms = [m.out_channels for m in paper.modules() if isinstance(m, nn.Conv2d)]
    assert forms == [64, 128, 256, 512, 1]
    assert any("parametrizations" in name for name, _ in critic.named_parameters())
    assert not any("parametrizations" in name for name, _ in PatchCritic(4, spectral=False).named_parameters())


def test_adversarial_losses_at_known_logits() -> None:
    real, drawn = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 1.0])
    assert float(critic_loss(real, drawn, "hinge")) == pytest.approx((0 + 0.5) / 2 + (0 + 2) / 2)
    assert float(drawing_loss(drawn, "hinge")) == pytest.approx(0.5)
    zero = torch.zeros(3)
    log2 = 0.6931471805599453
    assert float(critic_loss(zero, zero, "nsgan")) == pytest.approx(log2)
    assert float(drawing_loss(zero, "nsgan")) == pytest.approx(log2)


def test_overlap_of_maps() -> None:
    ours, theirs = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    assert map_overlap(ours, theirs) == 1.0
    ours[..., :2, :] = 0.9
    theirs[..., 1:3, :] = 1.0
    assert map_overlap(ours, theirs) == pytest.approx(1 / 3)


def test_a_segmenter_judges_each_picture_by_itself() -> None:
    segmenter = Segmenter()
    pictures = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(segmenter(pictures)[1:2], segmenter(pictures[1:2]))
