"""What each stage must show, and that what is frozen stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.augmentation import Augmentation
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.export_onnx import export_onnx
from stillhouse.methods.recognition.g2d.batches import Batch, FaceBatches
from stillhouse.methods.recognition.g2d.checks import drawing_errors, mean_face
from stillhouse.methods.recognition.g2d.classifying import classified, train_classifier
from stillhouse.methods.recognition.g2d.distilling import Lessons, Relations, Student, relation_of, train_student
from stillhouse.methods.recognition.g2d.inpainting import Inpainter, Inpainting, train_inpainter
from stillhouse.methods.recognition.g2d.mask_map import MaskMap, overlap
from stillhouse.methods.recognition.g2d.method import G2D
from stillhouse.methods.recognition.g2d.networks import Descriptor
from stillhouse.methods.recognition.g2d.reformer import Reforming
from stillhouse.methods.recognition.g2d.saved import load_inpainter, read_recogniser, write_inpainter
from stillhouse.methods.recognition.g2d.segmentation import train_segmenter
from stillhouse.methods.recognition.g2d.settings import Settings
from stillhouse.methods.recognition.g2d.stages import Network, fresh_modules, held
from stillhouse.methods.recognition.g2d.training import Training, row_batches
from stillhouse.methods.recognition.heads import Head, Margin
from stillhouse.methods.recognition.kept import weights_hash
from stillhouse.platform.data.face_masks import MaskMaker
from stillhouse.platform.data.faces import FaceData
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor, nn

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> LocalRun:
    return LocalRun(tmp_path / "run", seed=0, reporter=Silent())


def batches(faces: FaceData, numbers: np.ndarray) -> FaceBatches:
    return FaceBatches(
        faces.train, numbers, MaskMaker(drawings=8), size=16, unmasked=0.25, resampler=Resampler(),
        augmentation=Augmentation(),
    )  # fmt: skip


class Pool(FaceBatches):
    """Batches out of a few that were drawn once: masks take longer to draw than such networks to learn."""

    def __init__(self, batches: FaceBatches, count: int = 12, size: int = 32) -> None:
        self.__dict__.update(batches.__dict__)
        torch.manual_seed(0)
        self.pool = [batches.draw(torch.randperm(len(batches))[:size], device=CPU) for _ in range(count)]

    def draw(self, rows: Tensor, *, device: torch.device) -> Batch:
        return self.pool[int(torch.randint(len(self.pool), (1,)))]


@pytest.fixture
def learnt(faces: FaceData) -> FaceBatches:
    return batches(faces, np.flatnonzero(np.arange(len(faces.train)) % 4 != 3))


@pytest.fixture
def checked(faces: FaceData) -> FaceBatches:
    return batches(faces, np.flatnonzero(np.arange(len(faces.train)) % 4 == 3))


def test_inpainting_is_better_than_filling_in_a_mean(
    run: LocalRun, quick: Settings, faces: FaceData, learnt: FaceBatches, checked: FaceBatches
) -> None:
    modules = fresh_modules(run, quick.network, "dropped")
    inpainter = Inpainter(modules.encoder, modules.decoder)
    mean = mean_face(faces.train, torch.from_numpy(learnt.numbers), Resampler(), 16)
    settings = Inpainting(training=Training(epochs=20, batch_size=12, learning_rate=3e-3))
    train_inpainter(run, inpainter, modules.maps, Pool(learnt), settings, teacher=nn.Identity(), inputs=None)
    found = drawing_errors(inpainter, modules.maps, checked, mean, seed=3, device=CPU)
    assert found["drawn"] < 0.9 * found["mean_fill"]
    assert found["drawn"] < found["mean_face"]


def test_the_map_of_a_mask_is_found(run: LocalRun, learnt: FaceBatches, checked: FaceBatches) -> None:
    torch.manual_seed(0)
    maps = MaskMap("predicted")
    assert maps.segmenter is not None
    before = overlap(maps, checked, seed=3, device=CPU)
    train_segmenter(
        run, maps.segmenter, Pool(learnt), Training(epochs=20, batch_size=12, learning_rate=1e-2), inputs=None
    )
    after = overlap(maps.eval(), checked, seed=3, device=CPU)
    assert after > max(0.6, 2 * before)
    bare = torch.cat([maps(batch.seen) for batch in checked.fixed(3, device=CPU, masked=False)])
    assert float((bare >= 0.5).float().mean()) < 0.1


def test_relations_are_learnt_and_the_encoder_is_held(
    run: LocalRun, quick: Settings, learnt: FaceBatches, checked: FaceBatches, tmp_path: Path
) -> None:
    """The teacher says a linear function of the mean colours of the bare face."""
    modules = fresh_modules(run, quick.network, "zeros")
    projection = torch.randn(48, 24, generator=torch.Generator().manual_seed(0))

    def lessons(faces: FaceBatches) -> Lessons:
        bare = torch.cat([batch.true for batch in faces.fixed(0, device=CPU, masked=False)])
        views = [nn.functional.adaptive_avg_pool2d(view, 4).flatten(1) - 0.5 for view in (bare, bare.flip(3))]
        return Lessons(faces, torch.stack([view @ projection for view in views], dim=1))

    lesson, check = lessons(learnt), lessons(checked)
    student = Student(None, modules.reformer, 24, None)
    assert isinstance(student.map, nn.Linear)
    before = relation_of(student, modules.encoder, modules.maps, check, Relations(), seed=3)
    hashed = weights_hash(modules.encoder)
    with held(encoder=modules.encoder, maps=modules.maps):
        train_student(
            run, student, modules.encoder, modules.maps, lesson, check, name="distilling", relations=Relations(), classes=0.0,
            training=Training(epochs=8, batch_size=24, learning_rate=5e-3), inputs=None,
        )  # fmt: skip
    assert relation_of(student, modules.encoder, modules.maps, check, Relations(), seed=3) < 0.7 * before
    assert weights_hash(modules.encoder) == hashed
    curve = [value for _, value in read_metrics(tmp_path / "run/metrics.jsonl")["distilling/relation"]]
    assert curve[-1] < 0.7 * curve[0]

    head = Head(Margin("softmax"), length=16, classes=12)
    hashed = weights_hash(modules.recogniser)
    modules.recogniser.eval()
    with held(recogniser=modules.recogniser):
        train_classifier(
            run, head, modules.recogniser, learnt, Training(epochs=6, batch_size=24, learning_rate=3e-2), inputs=None
        )
    assert weights_hash(modules.recogniser) == hashed
    assert classified(head, modules.recogniser, checked, masked=False, seed=3, device=CPU) > 3 / 12  # chance: 1 / 12


def test_a_module_that_changes_while_it_is_held_is_noticed() -> None:
    held_module, other = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)
    other.weight.requires_grad_(False)
    with held(encoder=held_module, other=other, none=None):
        assert not any(parameter.requires_grad for parameter in held_module.parameters())
        assert not held_module.training
    assert all(parameter.requires_grad for parameter in held_module.parameters())
    assert not other.weight.requires_grad
    with pytest.raises(RunFailed, match="encoder changed while another module was trained"), held(encoder=held_module):
        held_module[0].weight.data[0, 0] += 1e-7
    with pytest.raises(RunFailed, match="encoder"), held(encoder=held_module):  # statistics of a batch norm count too
        held_module.train()(torch.randn(4, 2))


def test_first_weights_depend_on_the_seed_alone(quick: Settings, tmp_path: Path) -> None:
    def hashes(folder: str, seed: int) -> tuple[str, str]:
        torch.rand(seed + len(folder))
        modules = fresh_modules(LocalRun(tmp_path / folder, seed=seed, reporter=Silent()), quick.network, "predicted")
        return weights_hash(modules.recogniser), weights_hash(modules.decoder)

    assert hashes("a", 0) == hashes("other", 0)
    assert all(one != other for one, other in zip(hashes("a", 0), hashes("a", 1), strict=True))


def test_batches_are_of_nearly_equal_sizes(run: LocalRun) -> None:
    sizes = [len(rows) for rows in row_batches(run, 33, 16)]
    assert sorted(sizes) == [16, 17]
    assert sorted(torch.cat(list(row_batches(run, 33, 16))).tolist()) == list(range(33))


def test_what_is_not_an_inpainter_or_a_recogniser_is_refused(run: LocalRun, quick: G2D, tmp_path: Path) -> None:
    modules = fresh_modules(run, quick.network, "zeros")
    write_inpainter(tmp_path, Inpainter(modules.encoder, modules.decoder))
    other = fresh_modules(run, G2D(size=16).network, "zeros")
    with pytest.raises(BadInput, match="does not hold an encoder and decoder of this form"):
        load_inpainter(tmp_path / "inpainting.safetensors", Inpainter(other.encoder, other.decoder))
    same = fresh_modules(run, quick.network, "zeros")
    load_inpainter(tmp_path / "inpainting.safetensors", Inpainter(same.encoder, same.decoder))
    assert weights_hash(same.encoder) == weights_hash(modules.encoder)
    with pytest.raises(BadInput, match="holds no recogniser"):
        read_recogniser(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", [("plain", "mask"), ("plain", "coarse"), ("partial_conv", "mask")])
def test_an_exported_graph_answers_as_the_network(form: tuple[str, str], run: LocalRun, tmp_path: Path) -> None:
    kind, guide = form
    network = Network(Descriptor(width=4, blocks=1, kind=kind, guide=guide), Reforming((8,), (1,), 8))
    modules = fresh_modules(run, network, "predicted")
    card = Card("g2d", resolution=32, embedding_length=8)
    assert export_onnx(modules.recogniser, card, tmp_path / "student.onnx").difference < 1e-4
