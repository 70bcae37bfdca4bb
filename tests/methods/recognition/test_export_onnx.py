"""An ONNX file answers as the network does, at every batch; one that does not is not written."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from stillhouse.methods.recognition import export_onnx as module
from stillhouse.methods.recognition.aird.face_bn import adapt_bn
from stillhouse.methods.recognition.card import STUDENT, Card
from stillhouse.methods.recognition.export_onnx import (
    LARGEST_DIFFERENCE,
    Exported,
    export_onnx,
    form_of,
    largest_difference,
)
from stillhouse.methods.recognition.g2d.networks import Descriptor
from stillhouse.methods.recognition.g2d.reformer import Reforming
from stillhouse.methods.recognition.g2d.stages import MaskedRecogniser, Network
from stillhouse.methods.recognition.onnx_file import METADATA
from stillhouse.methods.recognition.pretrained.dlib_resnet import DlibResNet
from stillhouse.methods.recognition.pretrained.teacher import DlibTeacher
from stillhouse.methods.recognition.seen import Seen
from stillhouse.methods.recognition.stored import Stored, load_recogniser
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.errors import BadInput, MissingExtra, RunFailed
from support.chips import chip
from support.small_recogniser import LENGTH, small_network
from torch import Tensor, nn

CARD = Card("tiny", 8, LENGTH, resampler=Resampler("area"), threshold=0.4, fmr=0.01, sha256="0" * 64)


class Tiny(nn.Module):
    """A network with both kinds of batch normalisation, which have seen pictures. (Larger ones take seconds to export: see the end.)"""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, LENGTH, bias=False), nn.BatchNorm1d(LENGTH))
        with torch.no_grad():
            for _ in range(4):
                self(torch.rand(16, 3, 8, 8))

    def forward(self, pictures: Tensor) -> Seen:
        maps = self.first(pictures)
        return Seen(self.last(maps), (maps,))


def tiny() -> nn.Module:
    return Tiny().eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Of a network adapted by FaceBN, in training mode: both must not matter."""
    adapted = adapted_network().train()
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    found = export_onnx(adapted, replace(CARD, adapted="mix"), path, notes=["Privacy: none"])
    assert all(part.training for part in adapted.modules())
    return found


def adapted_network() -> nn.Module:
    faces = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 0.3
    return adapt_bn(tiny(), faces, "mix").model


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_every_batch_is_answered_as_the_network_does(exported: Exported, batch: int) -> None:
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    pictures = torch.rand(batch, 3, 8, 8)
    with torch.no_grad():
        wanted = adapted_network()(pictures).embedding.numpy()
        before = tiny()(pictures).embedding.numpy()
    found = session.run(None, {"pictures": pictures.numpy()})[0]
    assert np.abs(found - wanted).max() < LARGEST_DIFFERENCE < np.abs(before - wanted).max()


def test_batch_norms_are_folded_and_the_batch_is_open(exported: Exported) -> None:
    model = onnx.load(exported.path)
    assert (
        "BatchNormalization" not in exported.operators and exported.operators["Conv"] == exported.operators["Gemm"] == 1
    )
    assert sum(exported.operators.values()) == len(model.graph.node)
    for given, shape in ((model.graph.input[0], ["batch", 3, 8, 8]), (model.graph.output[0], ["batch", LENGTH])):
        assert [one.dim_param or one.dim_value for one in given.type.tensor_type.shape.dim] == shape


def test_the_card_is_inside_and_no_path_of_this_machine(exported: Exported) -> None:
    model = onnx.load(exported.path)
    (metadata,) = model.metadata_props
    assert metadata.key == METADATA and Card.from_json(json.loads(metadata.value)) == replace(CARD, adapted="mix")
    assert "to 8 px by area means" in model.doc_string and "Privacy: none" in model.doc_string
    content = exported.path.read_bytes()
    assert str(Path.cwd()).encode() not in content and b".py" not in content


def test_it_is_used_like_a_folder(exported: Exported) -> None:
    faces = np.stack([chip(seed, 112) for seed in range(3)]).transpose(0, 3, 1, 2)
    wanted = Stored(CARD, adapted_network()).embed(faces)
    for path in (exported.path, exported.path.parent):
        stored = load_recogniser(path)
        assert stored.card.adapted == "mix"
        np.testing.assert_allclose(stored.embed(faces), wanted, atol=1e-4)
    with pytest.raises(BadInput, match="shape"):
        load_recogniser(exported.path).network(torch.zeros(1, 3, 16, 16))


class Grumbling(nn.Module):
    """The network's embeddings, but for batches of three."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.inner, self.offset = adapted_network(), offset

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.inner(pictures).embedding
        return found + self.offset if len(pictures) == 3 else found


def test_a_graph_that_answers_otherwise_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_graph", lambda *_: onnx.load(exported.path))
    with pytest.raises(RunFailed, match="differs from the network"):
        export_onnx(tiny(), CARD, tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())
    export_onnx(adapted_network(), CARD, tmp_path / "student.onnx")
    assert (tmp_path / "student.onnx").is_file()


@pytest.mark.parametrize(("offset", "passes"), [(0.0, True), (2e-4, False), (float("nan"), False)])
def test_one_batch_in_which_it_differs_is_enough(exported: Exported, offset: float, passes: bool) -> None:
    found = largest_difference(Grumbling(offset), exported.path.read_bytes(), form_of(CARD))
    assert (found <= LARGEST_DIFFERENCE) == passes


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="its card tells of 32"):
        export_onnx(tiny(), replace(CARD, embedding_length=32), tmp_path / "student.onnx")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"\.\[recognition\]"):
        export_onnx(tiny(), CARD, tmp_path / "student.onnx")


def test_other_onnx_files_are_refused(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    with pytest.raises(BadInput, match="cannot be read as ONNX"):
        load_recogniser(tmp_path / "none.onnx")
    model = onnx.load(exported.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(BadInput, match="no recogniser's card"):
        load_recogniser(tmp_path / "other.onnx")
    model.metadata_props.add(key=METADATA, value="{}")
    onnx.save(model, tmp_path / "empty.onnx")
    with pytest.raises(BadInput, match=r"card in .* cannot be read"):
        load_recogniser(tmp_path / "empty.onnx")
    # Two files in a folder: which one is meant is not guessed.
    with pytest.raises(BadInput, match="no recogniser that can be used"):
        load_recogniser(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet_small", "resnet18", "wrn_16_2", "shufflenet_v2"])
def test_larger_networks(tmp_path: Path, architecture: str) -> None:
    network = small_network(side=16, architecture=architecture)
    found = export_onnx(network, Card(architecture, 16, LENGTH), tmp_path / "student.onnx")
    assert found.difference <= LARGEST_DIFFERENCE


@pytest.mark.slow
def test_a_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = DlibTeacher(DlibResNet(), licence="none")
    found = export_onnx(teacher, Card("dlib_resnet", 112, 128, weights=STUDENT), tmp_path / "teacher.onnx")
    assert found.difference <= LARGEST_DIFFERENCE


@pytest.mark.slow
@pytest.mark.parametrize("maps", ["predicted", "zeros"])
def test_a_recogniser_of_masked_faces(tmp_path: Path, maps: str) -> None:
    torch.manual_seed(0)
    form = Network(Descriptor(width=4, blocks=1), Reforming((8, 8, 8), (1, 1, 1), LENGTH))
    found = export_onnx(MaskedRecogniser(form, maps), Card("g2d", 64, LENGTH), tmp_path / "student.onnx")
    assert found.difference <= LARGEST_DIFFERENCE
