"""Tensors come out of the package's file as they were put in, and only whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.pretrained.dlib_resnet import DlibResNet
from stillhouse.methods.recognition.pretrained.face_api_weights import read_tensors, state_of
from stillhouse.platform.errors import BadInput
from support.dlib_reference import made_up_tensors, stored

SHAPES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=5)


@given(SHAPES, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_read_is_what_was_stored(shapes: list[list[int]], in_bytes: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = {f"t{number}": rng.normal(size=shape) for number, shape in enumerate(shapes)}
    manifest, content, wanted = stored(tensors, in_bytes=in_bytes)
    found = read_tensors(manifest, content)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0", lambda _: b""])
def test_a_file_of_another_length_is_refused(change) -> None:
    manifest, content, _ = stored({"a": np.zeros((2, 3))}, in_bytes=True)
    with pytest.raises(BadInput, match="their manifest tells of 6"):
        read_tensors(manifest, change(content))


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"[{}]", b'[{"weights": [{"name": "a"}]}]', b"[1]",
     json.dumps([{"weights": [{"name": "a", "shape": [1], "dtype": "complex64"}]}]).encode()],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(BadInput, match="manifest cannot be read"):
        read_tensors(manifest, b"")


def test_all_tensors_have_their_place_and_no_other_is_taken() -> None:
    tensors = made_up_tensors(0)
    state = state_of(tensors)
    wanted = DlibResNet().state_dict()
    assert {name: one.shape for name, one in state.items()} == {name: one.shape for name, one in wanted.items()}
    with pytest.raises(BadInput, match="hold no tensor conv128_1/conv2/scale/biases"):
        state_of({name: one for name, one in tensors.items() if name != "conv128_1/conv2/scale/biases"})
    with pytest.raises(BadInput, match="1 tensors too many"):
        state_of(tensors | {"more": np.zeros(1)})


def test_a_convolution_takes_over_its_scale_and_shift() -> None:
    tensors = made_up_tensors(0)
    state = state_of(tensors)
    name, out, before = "conv64_down/conv1", 5, 7
    filters, scale = tensors[f"{name}/conv/filters"], tensors[f"{name}/scale/weights"]
    wanted = filters[:, :, before, out] * scale[out]
    torch.testing.assert_close(state["stages.1.conv64_down.first.weight"][out, before], torch.tensor(wanted).float())
    bias = tensors[f"{name}/conv/bias"][out] * scale[out] + tensors[f"{name}/scale/biases"][out]
    assert state["stages.1.conv64_down.first.bias"][out].item() == pytest.approx(bias, rel=1e-6)
