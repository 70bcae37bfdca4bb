"""The port of dlib's network: against a second implementation with made-up weights, and against dlib where its weights are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.pretrained import dlib_resnet
from stillhouse.methods.recognition.pretrained.crop import DLIB_EYES, DlibCrop
from stillhouse.methods.recognition.pretrained.dlib_resnet import MAPS, DlibResNet, Unit, add_extended
from stillhouse.methods.recognition.pretrained.face_api_weights import state_of
from stillhouse.methods.recognition.pretrained.teacher import DlibTeacher, load_pretrained
from stillhouse.platform.data.alignment import TEMPLATE
from stillhouse.platform.data.face_folder import Names, read_faces
from stillhouse.platform.data.face_pairs import make_pairs
from stillhouse.platform.data.picture_files import Exact
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.folds import verify
from support.chips import chip
from support.dlib_reference import embedding, made_up_tensors
from torch import Tensor

FIXTURE = Path(__file__).parents[3] / "fixtures" / "recognition" / "dlib_embeddings.npz"


def chips(*seeds: int) -> Tensor:
    return torch.from_numpy(np.stack([chip(seed) for seed in seeds])).permute(0, 3, 1, 2).float()


def test_the_network_is_the_one_that_the_reference_computes() -> None:
    tensors = made_up_tensors(0)
    network = DlibResNet().double()
    network.load_state_dict(state_of(tensors))
    with torch.no_grad():
        found = network(chips(3).double())[0].numpy()
    wanted = embedding(tensors, chip(3).astype(np.float64))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8])
def test_a_unit_that_goes_down_equals_loops(side: int) -> None:
    torch.manual_seed(side)
    unit = Unit(2, 3, down=True).double().requires_grad_(False)
    maps = torch.rand(1, 2, side, side, dtype=torch.float64)
    with torch.no_grad():
        found = unit(maps)[0]
    first, second = (part.weight for part in (unit.first, unit.second))
    size = (side - 3) // 2 + 1
    inner = torch.zeros(3, size + 2, size + 2, dtype=torch.float64)
    for c in range(3):
        for i in range(size):
            for j in range(size):
                seen = maps[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                inner[c, i + 1, j + 1] = max(0.0, float((seen * first[c]).sum() + unit.first.bias[c]))
    wanted = torch.zeros(3, side // 2, side // 2, dtype=torch.float64)
    for c in range(3):
        for i in range(side // 2):
            for j in range(side // 2):
                body = shortcut = 0.0
                if i < size and j < size:
                    body = float((inner[:, i : i + 3, j : j + 3] * second[c]).sum() + unit.second.bias[c])
                if c < 2:
                    shortcut = float(maps[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean())
                wanted[c, i, j] = max(0.0, body + shortcut)
    torch.testing.assert_close(found, wanted)


def test_sums_are_continued_by_zeros_at_the_end() -> None:
    found = add_extended(torch.ones(1, 1, 3, 2), torch.full((1, 2, 2, 2), 10.0))
    assert found[0].tolist() == [[[11, 11], [11, 11], [1, 1]], [[10, 10], [10, 10], [0, 0]]]


def test_the_crop_brings_eyes_to_dlibs_places_and_continues_edges() -> None:
    places = torch.arange(112.0) / 112
    across, down = places.expand(112, 112), places[:, None].expand(112, 112)
    crop = DlibCrop(150)(torch.stack([across, down, across])[None])[0] * 112
    assert crop.shape == (3, 150, 150)
    for (x, y), (there_x, there_y) in zip(TEMPLATE[:2], DLIB_EYES, strict=True):
        column, row = int(there_x), int(there_y)
        left, right = crop[0, row, column].item(), crop[0, row, column + 1].item()
        assert left + (there_x - column) * (right - left) == pytest.approx(x, abs=1e-3)
        above, below = crop[1, row, column].item(), crop[1, row + 1, column].item()
        # The eyes of the template are 0.2 pixels apart in height; the crop does not turn.
        assert above + (there_y - row) * (below - above) == pytest.approx(y, abs=0.1)
    assert torch.equal(crop[:, -1], crop[:, -5]) and crop[1, -1, 0].item() == pytest.approx(111)


def test_a_teacher_shows_what_it_says_and_is_frozen_but_passes_gradients() -> None:
    teacher = DlibTeacher(DlibResNet(), licence="CC0-1.0")
    pictures = torch.rand(2, 3, 112, 112, requires_grad=True)
    seen = teacher(pictures)
    assert seen.embedding.shape == (2, teacher.embedding_length) and (teacher.size, teacher.licence) == (112, "CC0-1.0")
    assert tuple(one.shape[1] for one in seen.maps) == teacher.maps == MAPS
    seen.embedding.sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters()) and not teacher.training


@pytest.mark.parametrize("shape", [(1, 3, 150, 150), (1, 1, 112, 112), (3, 112, 112)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="aligned faces"):
        DlibTeacher(DlibResNet(), licence="")(torch.zeros(shape))


@pytest.fixture(scope="module")
def fetched() -> DlibTeacher:
    folder = os.environ.get("STILLHOUSE_TEST_TEACHER")
    if not folder:
        pytest.skip("STILLHOUSE_TEST_TEACHER names no folder of `stillhouse fetch-teacher dlib`")
    return load_pretrained(folder)


def test_a_fetched_teacher_agrees_with_dlib_and_with_face_api(
    fetched: DlibTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings of generated pictures: by dlib 20.0.1 with its own file of weights, and by face-api 1.7.15 (TensorFlow.js)."""
    network = fetched.network
    golden = np.load(FIXTURE)
    with torch.no_grad():
        found = network(chips(*range(3))).numpy()
    cosines = (found * golden["dlib"]).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(golden["dlib"], axis=1)
    # The package keeps weights in bytes; different pictures have a cosine of 0.94 here.
    assert cosines.min() >= 0.999
    monkeypatch.setattr(dlib_resnet, "SPREAD", 255.0)  # face-api divides by 255, dlib by 256
    with torch.no_grad():
        np.testing.assert_allclose(network(chips(*range(3))).numpy(), golden["face_api"], atol=1e-5)


def test_a_fetched_teacher_judges_all_pairs_of_dlibs_own_example_rightly(fetched: DlibTeacher) -> None:
    """dlib's `examples/johns` (five people, eleven chips of 150 pixels each): all 1,485 pairs by dlib's own distance of 0.6."""
    folder = os.environ.get("STILLHOUSE_TEST_JOHNS")
    if not folder:
        pytest.skip("STILLHOUSE_TEST_JOHNS names no folder examples/johns of dlib's source")
    faces, _ = read_faces(Path(folder), prepare=Exact(150))
    with torch.no_grad():
        embeddings = fetched.network(torch.from_numpy(faces.read(np.arange(len(faces)))).float()).numpy()
    first, second = np.triu_indices(len(faces), 1)
    same = faces.identities[first] == faces.identities[second]
    assert (len(same), same.sum()) == (1485, 275)
    distances = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
    # One person's are .551 at most, two people's .660 at least.
    np.testing.assert_array_equal(distances < 0.6, same)


@pytest.mark.slow
@pytest.mark.shared_data
def test_a_fetched_teacher_tells_people_apart_across_videos(fetched: DlibTeacher, shared_data: Path) -> None:
    """On aligned frames of 347 people, 120 pairs in 3 folds; 95 % were right of 400."""
    archive = shared_data / "faces" / "ytf347_aligned112.tar"
    faces, _ = read_faces(archive, names=Names(media=r"^v(\d+)_"), decode=False)
    pairs = make_pairs(faces, folds=3, genuine=20, impostor=20, seed=0)
    embeddings = np.zeros((len(faces), 128), np.float32)
    used = np.unique(np.concatenate([pairs.first, pairs.second]))
    with torch.no_grad():
        for some in np.array_split(used, 8):
            embeddings[some] = fetched(torch.from_numpy(faces.read(some)).float() / 255).embedding.numpy()
    distances = np.linalg.norm(embeddings[pairs.first] - embeddings[pairs.second], axis=1)
    assert verify(-distances, pairs.same, pairs.fold).mean >= 0.9
