"""Trunks: known numbers of parameters, sizes of maps, weights that depend on nothing but the seed."""

from __future__ import annotations

import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.cifar_networks import CIFAR_NETWORKS
from stillhouse.platform.nn.trunks import TRUNKS, build_trunk

# With a classifier of 100 classes on the mean of the last maps, as CRD's comparison on CIFAR-100 counts them. The figures are recalled,
# not looked up; that thirteen networks give them to the last weight is what speaks for them.
KNOWN = {
    "resnet20": 278_324, "resnet32": 472_756, "resnet56": 861_620, "resnet110": 1_736_564, "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860, "wrn_16_2": 703_284, "wrn_40_1": 569_780, "wrn_40_2": 2_255_156, "vgg8": 3_965_028,
    "vgg13": 9_462_180, "shufflenet_v1": 949_258, "shufflenet_v2": 1_355_528,
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_as_many_as_is_known(name: str) -> None:
    trunk = build_trunk(name, channels=3, side=32)
    assert sum(p.numel() for p in trunk.parameters()) + 100 * (trunk.maps[-1] + 1) == KNOWN[name]


@pytest.mark.parametrize(
    "name", ["resnet_small", "resnet18", "resnet20", "wrn_16_2", "vgg8", "shufflenet_v1", "shufflenet_v2"]
)
@pytest.mark.parametrize(("channels", "side"), [(3, 8), (1, 16), (3, 32)])
def test_maps_have_the_channels_that_are_said_and_shrink(name: str, channels: int, side: int) -> None:
    trunk = build_trunk(name, channels=channels, side=side).eval()
    with torch.no_grad():
        maps = trunk(torch.rand(2, channels, side, side))
    assert tuple(one.shape[1] for one in maps) == trunk.maps
    sides = [one.shape[2] for one in maps]
    assert sides == sorted(sides, reverse=True) and sides[-1] >= 1 and all(one.isfinite().all() for one in maps)


def test_the_trunk_for_sixteen_pixels_keeps_them_to_the_first_map() -> None:
    """A stem that strides and pools would leave a face of 16 pixels a single place."""
    for name, last in (("resnet_small", 4), ("resnet18", 2)):
        maps = build_trunk(name, channels=3, side=16).eval()(torch.rand(1, 3, 16, 16))
        assert maps[0].shape[2] == 16 and maps[-1].shape[2] == last


def test_large_pictures_are_strided_first() -> None:
    assert build_trunk("resnet_small", channels=3, side=112)(torch.rand(2, 3, 112, 112))[0].shape[2] == 28


def test_a_shortcut_passes_what_a_block_does_not_change() -> None:
    trunk = build_trunk("resnet20", channels=3, side=8).eval()
    block = trunk.stages[0][0]  # type: ignore[index]
    for parameter in block.body.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(maps), maps)


def test_shuffling_is_a_transposition_of_groups() -> None:
    from stillhouse.platform.nn.cifar_networks import _Shuffle

    maps = torch.arange(6.0).view(1, 6, 1, 1)
    assert _Shuffle(3)(maps).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_unknown_names_and_tiny_pictures_are_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'resnet20'"):
        build_trunk("resnet_20", channels=3, side=32)
    with pytest.raises(BadInput, match="too small"):
        build_trunk("resnet20", channels=3, side=7)
    assert set(CIFAR_NETWORKS) <= set(TRUNKS)
