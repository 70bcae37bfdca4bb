"""A stored recogniser does to pictures what its card says, and gives the embeddings that its network gave before it was stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from stillhouse.methods.recognition.card import FILE, STUDENT, Card
from stillhouse.methods.recognition.g2d.networks import Descriptor
from stillhouse.methods.recognition.g2d.reformer import Reforming
from stillhouse.methods.recognition.g2d.saved import write_recogniser
from stillhouse.methods.recognition.g2d.stages import MaskedRecogniser, Network
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.errors import BadInput
from support.chips import chip
from support.small_recogniser import LENGTH, small_network, write_small


def faces(*seeds: int) -> np.ndarray:
    return np.stack([chip(seed, 112) for seed in seeds]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("flipped", [True, False])
def test_embeddings_are_those_of_the_network(tmp_path: Path, flipped: bool) -> None:
    write_small(tmp_path, flipped=flipped, resampler=Resampler("area"))
    found = load_recogniser(tmp_path).embed(faces(0, 1, 2))
    # 112 to 8 pixels by area is the mean over blocks of 14 x 14.
    small = torch.from_numpy(faces(0, 1, 2).reshape(3, 3, 8, 14, 8, 14).mean((3, 5)) / 255).float()
    network = small_network()
    with torch.no_grad():
        wanted = network(small).embedding
        if flipped:
            wanted = wanted + network(small.flip(3)).embedding
    assert found.shape == (3, LENGTH) and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_pictures_are_brought_down_and_up_again(tmp_path: Path) -> None:
    write_small(tmp_path)
    save_file(small_network(side=28).state_dict(), tmp_path / STUDENT)
    Card("resnet_small", 7, LENGTH, back_to=28, back_by=Resampler("nearest"), resampler=Resampler("area")).write(
        tmp_path
    )
    stored = load_recogniser(tmp_path)
    seen = stored.prepared(torch.from_numpy(faces(5)).float() / 255)
    assert seen.shape == (1, 3, 28, 28)
    assert torch.equal(seen[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3), seen)
    assert stored.embed(faces(5)).shape == (1, LENGTH)


def test_batches_do_not_matter_and_none_is_no_picture(tmp_path: Path) -> None:
    write_small(tmp_path)
    stored = load_recogniser(tmp_path)
    many = faces(*range(67))
    np.testing.assert_allclose(stored.embed(many)[66:], stored.embed(many[66:]), atol=1e-5)
    assert stored.embed(many[:0]).shape == (0, LENGTH)


def test_a_pooled_network_is_read(tmp_path: Path) -> None:
    network = Recogniser("resnet_small", side=16, embedding_length=None, channels=1)
    save_file(network.state_dict(), tmp_path / STUDENT)
    Card("resnet_small", 16, 128, pooled=True, channels=1, aligned=32).write(tmp_path)
    assert load_recogniser(tmp_path).embed(np.zeros((2, 1, 32, 32), np.uint8)).shape == (2, 128)


def test_by_the_folder_by_the_weights_and_by_the_card(tmp_path: Path) -> None:
    write_small(tmp_path)
    wanted = load_recogniser(tmp_path).embed(faces(1))
    for name in (STUDENT, FILE):
        np.testing.assert_array_equal(load_recogniser(tmp_path / name).embed(faces(1)), wanted)


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    write_small(tmp_path)
    with pytest.raises(BadInput, match="3 channels of 112 x 112"):
        load_recogniser(tmp_path).embed(np.zeros((1, 3, 96, 96), np.uint8))


def rewritten(folder: Path, **changes: object) -> None:
    card = json.loads((folder / FILE).read_text()) | changes
    (folder / FILE).write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet_smal"}, "resnet_smal"),
        ({"embedding_length": 32}, "does not fit its card"),
        ({"resolution": 16}, "does not fit its card"),
        ({"architecture": "dlib_resnet"}, "cannot be read"),
        ({"architecture": "g2d"}, "cannot be read"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    write_small(tmp_path)
    rewritten(tmp_path, **changes)
    with pytest.raises(BadInput, match=message):
        load_recogniser(tmp_path)


def test_weights_that_are_not_finite_and_files_that_are_none(tmp_path: Path) -> None:
    state = small_network().state_dict()
    state["neck.1.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / STUDENT)
    Card("resnet_small", 8, LENGTH).write(tmp_path)
    with pytest.raises(BadInput, match="not finite"):
        load_recogniser(tmp_path)
    (tmp_path / STUDENT).write_bytes(b"\x80\x04cos\nsystem\n")
    Card("resnet_small", 8, LENGTH).write(tmp_path)
    with pytest.raises(BadInput, match="damaged"):
        load_recogniser(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        load_recogniser(tmp_path / "nowhere")


def test_a_recogniser_of_masked_faces(tmp_path: Path) -> None:
    form = Network(Descriptor(width=4, blocks=1), Reforming((8, 8, 8), (1, 1, 1), LENGTH))
    torch.manual_seed(2)
    network = MaskedRecogniser(form, "zeros").eval()
    write_recogniser(tmp_path, network, form, Card("g2d", 32, LENGTH, flipped=False))
    stored = load_recogniser(tmp_path)
    pictures = torch.from_numpy(faces(1, 2)).float() / 255
    with torch.no_grad():
        wanted = network(Resampler().resize(pictures, 32)).embedding
    np.testing.assert_allclose(stored.embed(faces(1, 2)), wanted.numpy(), atol=1e-5)
