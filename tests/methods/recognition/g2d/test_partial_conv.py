"""Partial convolution against its definition, window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.g2d.partial_conv import PartialConv2d
from torch import Tensor, nn


def by_definition(layer: PartialConv2d, features: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Liu et al. 2018, equations 1 and 2, with loops."""
    (kernel, _), (stride, _) = layer.kernel_size, layer.stride
    (padding, _), (dilation, _) = layer.padding, layer.dilation
    mode = "reflect" if layer.padding_mode == "reflect" else "constant"
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    pixels, shown = (np.pad(one.detach().numpy(), around, mode=mode) for one in (features, visible))
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    reach = dilation * (kernel - 1) + 1
    sides = [(length - reach) // stride + 1 for length in pixels.shape[2:]]
    out, after = np.zeros((len(pixels), len(weight), *sides)), np.zeros((len(pixels), 1, *sides))
    for b in range(len(pixels)):
        for i in range(sides[0]):
            for j in range(sides[1]):
                rows = slice(i * stride, i * stride + reach, dilation)
                columns = slice(j * stride, j * stride + reach, dilation)
                window, mask = pixels[b, :, rows, columns], shown[b, :, rows, columns]
                if mask.sum() == 0:
                    continue
                after[b, 0, i, j] = 1
                for k in range(len(weight)):
                    out[b, k, i, j] = (weight[k] * window * mask).sum() * kernel * kernel / mask.sum() + bias[k]
    return torch.from_numpy(out), torch.from_numpy(after)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16), kernel=st.sampled_from([1, 3, 4]), stride=st.integers(1, 2), dilation=st.integers(1, 2),
    share=st.floats(0, 1), mode=st.sampled_from(["zeros", "reflect"]),
)  # fmt: skip
def test_it_is_what_the_paper_defines(
    seed: int, kernel: int, stride: int, dilation: int, share: float, mode: str
) -> None:
    stream = torch.Generator().manual_seed(seed)
    layer = PartialConv2d(
        2, 3, kernel, stride=stride, padding=kernel // 2, dilation=dilation, padding_mode=mode
    ).double()
    features = torch.randn(2, 2, 9, 9, generator=stream, dtype=torch.float64)
    visible = (torch.rand(2, 1, 9, 9, generator=stream) < share).double()
    found, wanted = layer(features, visible), by_definition(layer, features, visible)
    torch.testing.assert_close(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])


def test_where_all_is_visible_it_is_an_ordinary_convolution() -> None:
    layer = PartialConv2d(3, 5, 3, padding=1, padding_mode="reflect")
    features = torch.randn(2, 3, 8, 8)
    ordinary = nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect")
    ordinary.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(features, torch.ones(2, 1, 8, 8))[0], ordinary(features))


def test_what_is_hidden_has_no_influence_and_no_gradient() -> None:
    layer = PartialConv2d(3, 5, 3, padding=1)
    visible = (torch.rand(1, 1, 8, 8) < 0.5).float()
    features = torch.randn(1, 3, 8, 8, requires_grad=True)
    other = torch.where(visible.bool(), features, torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(layer(features, visible)[0], layer(other, visible)[0])
    layer(features, visible)[0].square().sum().backward()
    assert features.grad is not None
    assert features.grad[(visible == 0).expand_as(features)].abs().max() == 0
    assert features.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_its_state_is_that_of_a_convolution(mode: str) -> None:
    layer = PartialConv2d(3, 5, 3, padding=1, padding_mode=mode)
    assert set(layer.state_dict()) == {"weight", "bias"}
