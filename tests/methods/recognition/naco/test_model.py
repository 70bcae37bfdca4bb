"""The network: shapes of every step, sizes, leaks through all of it, order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stillhouse.methods.recognition.naco.backbone import ThinResNet
from stillhouse.methods.recognition.naco.consistency import Consistency
from stillhouse.methods.recognition.naco.model import Head, Network, fresh_network
from stillhouse.methods.recognition.naco.settings import Clips, Form, Pretraining
from stillhouse.methods.recognition.naco.spatial import draw_mask
from stillhouse.platform.errors import BadInput


def small(length: int = 8, side: int = 32, **options: object) -> Network:
    form = Form(width=16, layers=2, heads=2, hidden=32, **options)  # type: ignore[arg-type]
    network = fresh_network(form, Clips(length=length, side=side, margin=0), 0).eval()
    _wake(network)
    return network


def _wake(network: Network) -> None:
    """Branches that start at zero are given values, or tests of them would be tests of nothing."""
    torch.manual_seed(1)
    for name, weight in network.named_parameters():
        if weight.ndim > 1 and not weight.detach().any():
            torch.nn.init.normal_(weight, std=0.3)
            assert "head" in name or "transformer" in name


@pytest.mark.parametrize("length", [8, 16])
@pytest.mark.parametrize("side", [64, 80])
@pytest.mark.parametrize("token", ["frame", "grid"])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_shapes(length: int, side: int, token: str, pool: str) -> None:
    network = small(length, side, token=token, pool=pool)
    cells = 1 if token == "frame" else (side // 16) ** 2
    with torch.no_grad():
        features = network.features(torch.randn(2, length, 3, side, side))
        tokens, clips = network.represent(features)
        assert features.shape == (2, cells, length, 128) and tokens.shape == (2, cells, length, 16)
        assert clips.shape == (2, 16) and network.classify(features).shape == (2,)
        assert features.dtype == tokens.dtype == torch.float32


def parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_small_size() -> None:
    network = Network(Form(), Clips())
    whole = parameters(Consistency(network, Pretraining()))
    assert 800_000 < whole < 900_000
    assert parameters(network.backbone) == 308_304  # by hand: 1,200 + 32, then 4,672, 14,528, 57,728, 230,144
    thin = ThinResNet("batch")
    assert [parameters(block) for block in thin.blocks] == [4_672, 14_528, 57_728, 230_144]


@pytest.mark.parametrize(
    ("form", "clips", "millions"),
    [
        (Form(backbone="resnet18", width=256, layers=4, hidden=1024), Clips(side=112), 15),
        (Form(backbone="resnet50", width=512, layers=6, heads=8, hidden=2048), Clips(side=224), 47),
    ],
)
def test_the_larger_sizes(form: Form, clips: Clips, millions: int) -> None:
    with torch.device("meta"):  # shapes are enough
        found = parameters(Consistency(Network(form, clips), Pretraining())) / 1e6
    assert abs(found - millions) < 0.06 * millions


def test_at_first_a_token_looks_most_at_those_near_its_own_time() -> None:
    """Of tokens that are all masked, what is left is the code of time."""
    network = fresh_network(Form(), Clips(), 0)
    assert network.tokens is not None and network.transformer is not None
    tokens = network.tokens(torch.zeros(1, 1, 16, 128), torch.ones(1, 1, 16, dtype=torch.bool))[0, 0]
    layer = network.transformer.layers[0]
    query, key, _ = layer.triple(layer.norm_attention(tokens)).detach().chunk(3, dim=-1)
    looks = query @ key.T
    near = (torch.arange(16)[:, None] - torch.arange(16)).abs() <= 3
    assert looks[near].mean() > looks[~near].mean()


def test_a_transformer_alone_is_counted_by_hand() -> None:
    """Each layer: 4 D^2 + 4 D of attention, 2 D F + F + D of the feed-forward part, 4 D of norms."""
    network, width, hidden = Network(Form(), Clips()), 128, 256
    layer = 4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 4 * width
    assert network.transformer is not None
    assert parameters(network.transformer) == 3 * layer + 2 * width


@pytest.mark.parametrize("token", ["frame", "grid"])
def test_a_masked_frame_changes_nothing_that_is_represented(token: str) -> None:
    """U3, from pixels on: change a masked frame, and all represented tokens stay."""
    network = small(token=token)
    pixels = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        features = network.features(pixels)
        masked = draw_mask(2, 1, 8, 0.5, torch.Generator().manual_seed(0)).expand(features.shape[:3])
        before = network.represent(features, masked)
        changed = torch.where(masked[:, 0, :, None, None, None], 5 * torch.randn_like(pixels), pixels)
        after = network.represent(network.features(changed), masked)
        unmasked = network.represent(network.features(changed))
    assert max((one - other).abs().max().item() for one, other in zip(before, after, strict=True)) < 1e-5
    assert (unmasked[1] - network.represent(features)[1]).abs().max() > 1e-2


def test_order_is_seen_by_time_code_or_differences_alone() -> None:
    order = torch.tensor([3, 1, 0, 7, 2, 6, 5, 4])
    features = torch.randn(2, 1, 8, 128, generator=torch.Generator().manual_seed(0))
    for code, diff, seen in (
        ("none", False, False),
        ("fixed", False, True),
        ("none", True, True),
        ("learned", False, True),
    ):
        network = small(code=code, token_diff=diff)
        with torch.no_grad():
            gap = (network.represent(features)[1] - network.represent(features[:, :, order])[1]).abs().max().item()
        assert (gap > 1e-4) if seen else (gap < 1e-5), (code, diff, gap)


def test_the_classifier_begins_with_the_bypass_alone() -> None:
    """s = w . mean feature + b while the MLP's last layer is zero; without a bypass every logit is 0."""
    network = fresh_network(Form(), Clips(length=8, side=32, margin=0), 0).eval()
    pixels = torch.randn(3, 8, 3, 32, 32)
    with torch.no_grad():
        mean = network.features(pixels).mean((1, 2))
        bypass = network.head.bypass
        assert bypass is not None
        assert torch.allclose(network(pixels), mean @ bypass.weight[0] + bypass.bias, atol=1e-6)
        plain = fresh_network(Form(head_bypass=False), Clips(length=8, side=32, margin=0), 0).eval()
        assert plain(pixels).abs().max() == 0


def test_a_frame_only_network_is_the_mean_of_its_frames() -> None:
    network = small(temporal=False)
    pixels = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        each = torch.stack([network(pixels[:, [t]]) for t in range(8)]).mean(0)
        assert torch.allclose(network(pixels), each, atol=1e-5)
    assert network.transformer is None and len(network.body()) == 1


def test_group_norms_do_not_see_the_other_frames() -> None:
    """P7: with batch norms in training mode the frames beside a frame change its features; with group norms they do not."""
    pixels = torch.randn(2, 8, 3, 32, 32)
    for norm, same in (("group", True), ("batch", False)):
        network = small(norm=norm).train()
        with torch.no_grad():
            assert torch.allclose(network.features(pixels)[:1], network.features(pixels[:1]), atol=1e-5) is same


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other, third = (fresh_network(Form(), Clips(side=32), seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], third[name]) for name in one)


def test_weights_of_a_file_are_used_and_others_refused(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(3)
    network = resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    form = Form(backbone="resnet18", weights=str(tmp_path / "resnet18.pth"))
    loaded = Network(form, Clips(side=64)).backbone.eval()
    pictures = torch.randn(1, 3, 64, 64)
    network.eval()
    with torch.no_grad():
        maps = network.layer4(network.layer3(network.layer2(network.layer1(
            network.maxpool(network.relu(network.bn1(network.conv1(pictures))))
        ))))  # fmt: skip
        assert torch.equal(loaded(pictures), maps)
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="no state dict of torchvision's resnet18"):
        Network(Form(backbone="resnet18", weights=str(tmp_path / "other.pth")), Clips(side=64))
    with pytest.raises(BadInput, match="does not exist"):
        Network(Form(backbone="resnet18", weights=str(tmp_path / "none.pth")), Clips(side=64))


def test_a_head_sees_what_it_is_given() -> None:
    torch.manual_seed(0)
    both = Head(4, 3)
    assert both.mlp is not None and both.mlp[-1].weight.abs().max() == 0
    assert Head(None, 3).mlp is None and Head(4, None).bypass is None
