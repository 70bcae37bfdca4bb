"""Features in small pieces are those of all images at once, and each group's are its own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from stillhouse.methods.condensation.encoders import Encoder, encoder, fresh_network, frozen
from stillhouse.methods.condensation.forward import Forward
from stillhouse.platform.errors import BadInput
from torch import Tensor

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def network() -> Encoder:
    return encoder(frozen(fresh_network("convnet", SHAPE, 10, 0), torch.device("cpu")))


def groups(*sizes: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, *SHAPE, generator=generator) for size in sizes]


@pytest.mark.parametrize(("piece", "channels_last"), list(itertools.product([0, 1, 3, 8, 100], [False, True])))
def test_pieces_give_the_same_features(piece: int, channels_last: bool, network: Encoder) -> None:
    given = groups(7, 1, 16)
    found = Forward(piece, channels_last)(network.features, given)
    assert [len(part) for part in found] == [7, 1, 16]
    for part, own in zip(found, given, strict=True):
        # Features are of the order of 1, sums of 1152 products: a few units in the sixth place.
        torch.testing.assert_close(part, network.features(own), rtol=1e-6, atol=2e-6 * float(part.abs().max()))


def test_a_group_is_not_touched_by_its_neighbours(network: Encoder) -> None:
    forward = Forward(piece=4)
    own = groups(6)[0]
    alone = forward(network.features, [own])[0]
    for others in (groups(3, seed=1), groups(1, 9, seed=2)):
        assert torch.equal(forward(network.features, [*others, own])[-1], alone)
        assert torch.equal(forward(network.features, [own, *others])[0], alone)


def test_the_gradient_is_that_of_all_at_once(network: Encoder) -> None:
    leaf = groups(5)[0].requires_grad_()
    weights = torch.randn(5, 512, generator=torch.Generator().manual_seed(1))
    whole, pieces = (
        torch.autograd.grad((features * weights).sum(), leaf)[0]
        for features in (network.features(leaf), Forward(2)(network.features, [leaf])[0])
    )
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_bfloat16_is_near_and_comes_back_as_float32(network: Encoder) -> None:
    given = groups(6, 2)
    exact = Forward()(network.features, given)
    seen: list[torch.dtype] = []

    def features(images: Tensor) -> Tensor:
        found = network.features(images)
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return found

    rough = Forward(precision="bfloat16")(features, given)
    assert set(seen) == {torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")
    for near, far in zip(rough, exact, strict=True):
        assert near.dtype == torch.float32
        assert 0 < float((near - far).norm() / far.norm()) < 0.03


def test_double_precision_stays(network: Encoder) -> None:
    double = frozen(fresh_network("convnet", SHAPE, 10, 0), torch.device("cpu")).double()
    found = Forward()(encoder(double).features, [groups(2)[0].double()])[0]
    assert found.dtype == torch.float64


@pytest.mark.parametrize("piece", [-1, True, 2.0])
def test_a_piece_is_a_whole_number(piece: Any) -> None:
    with pytest.raises(BadInput, match="piece is"):
        Forward(piece)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown precision 'half'") as caught:
        Forward(precision="half")
    assert "bfloat16" in str(caught.value.mend)
