"""Teachers from files: the same network by every road, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from stillhouse.methods.recognition.heads import Margin
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.preparing import prepare_teacher, some_of_each
from stillhouse.methods.recognition.preprocessing import PIXELS, Preprocessing, check_preprocessing
from stillhouse.methods.recognition.teacher import NetworkTeacher, Teacher, TeacherSettings, frozen
from stillhouse.methods.recognition.teacher_files import read_teacher
from stillhouse.methods.recognition.teacher_training import fitted_head
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.errors import BadInput

from .few_faces import SIDE, SMALL, few_faces, silent_run

PICTURES = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Plain(torch.nn.Module):
    """The embedding alone, as other people's files give it."""

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        self.trunk, self.neck = network.trunk, network.neck

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.neck(self.trunk((pictures - 0.5) / 0.5)[-1])


@pytest.fixture(scope="module")
def network() -> Recogniser:
    made = SMALL.fresh(side=SIDE, channels=3, seed=4)
    for _ in range(3):  # running statistics other than those of a fresh network
        made(torch.rand(8, 3, SIDE, SIDE))
    return made.eval().requires_grad_(False)


def settings(source: str, path: Path, **more: Any) -> TeacherSettings:
    return TeacherSettings(source=source, path=str(path), network=SMALL, **more)


def read(source: str, path: Path, **more: Any) -> Any:
    return frozen(read_teacher(settings(source, path, **more), side=SIDE, channels=3), torch.device("cpu"))


@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped"])
def test_a_checkpoint_gives_the_network_it_was_saved_from(form: str, network: Recogniser, tmp_path: Path) -> None:
    state, path = (
        dict(network.state_dict()),
        tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt"),
    )
    if form == "safetensors":
        save_file(state, path)
    elif form == "pt":
        torch.save(state, path)
    else:
        held = {f"module.recogniser.{name}": tensor for name, tensor in state.items()}
        torch.save({"state_dict": held | {"module.head.weight": torch.ones(2)}}, path)
    teacher = read("checkpoint", path, licence="MIT")
    assert isinstance(teacher, Teacher)
    seen = teacher(PICTURES)
    assert torch.equal(seen.embedding, network(PICTURES).embedding) and len(seen.maps) == len(teacher.maps) == 3
    assert (teacher.name, teacher.licence, teacher.size, teacher.embedding_length) == (path.name, "MIT", SIDE, 24)


def test_torchscript_gives_the_same_embedding(network: Recogniser, tmp_path: Path) -> None:
    torch.jit.trace(Plain(network).eval(), PICTURES).save(tmp_path / "net.ts")  # type: ignore[no-untyped-call]
    found = read("torchscript", tmp_path / "net.ts")(PICTURES).embedding
    assert torch.allclose(found, network(PICTURES).embedding, atol=1e-5)


@pytest.mark.parametrize("batch", ["n", 1])
def test_onnx_gives_its_graphs_embedding_also_if_that_takes_one_picture_at_a_time(batch: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 24)).astype(np.float32)
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["faces"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["rows"])],
        "linear",
        [helper.make_tensor_value_info("faces", float32, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("rows", float32, [batch, 24])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    teacher = read("onnx", tmp_path / "net.onnx", pixels="signed", channels="bgr")
    expected = (2 * PICTURES.flip(1) - 1).flatten(1).numpy() @ weights
    assert teacher.maps == () and teacher.embedding_length == 24
    assert np.allclose(teacher(PICTURES).embedding.numpy(), expected, atol=1e-3)


def test_pictures_of_another_size_are_resized_for_the_network(network: Recogniser, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    teacher = read_teacher(settings("checkpoint", tmp_path / "weights.safetensors", size=SIDE), side=112, channels=3)
    assert teacher(torch.rand(1, 3, 112, 112)).embedding.shape == (1, 24)


def test_another_length_of_the_embedding_is_said(network: Recogniser, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    wrong = replace(
        settings("checkpoint", tmp_path / "weights.safetensors"), network=replace(SMALL, embedding_length=512)
    )
    with pytest.raises(BadInput, match=r"has 24 numbers, not 512[\s\S]*embedding_length=24"):
        read_teacher(wrong, side=SIDE, channels=3)
    torch.jit.trace(Plain(network), PICTURES).save(tmp_path / "net.ts")  # type: ignore[no-untyped-call]
    wrong = replace(wrong, source="torchscript", path=str(tmp_path / "net.ts"))
    with pytest.raises(BadInput, match="has 24 numbers, not 512"):
        read_teacher(wrong, side=SIDE, channels=3)


class Poison:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("poisoned"),)


def test_a_poisoned_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Poison()))
    torch.save({"state_dict": Poison()}, tmp_path / "zipped.pt")
    for name in ("weights.pt", "zipped.pt"):
        with pytest.raises(BadInput, match="cannot be read as weights"):
            read("checkpoint", tmp_path / name)
    assert not (tmp_path / "poisoned").exists()


@pytest.mark.parametrize("source", ["checkpoint", "torchscript", "onnx"])
def test_what_is_missing_or_damaged_is_refused(source: str, tmp_path: Path) -> None:
    if source == "onnx":
        pytest.importorskip("onnxruntime")
    with pytest.raises(BadInput, match="does not exist"):
        read(source, tmp_path / "nothing")
    (tmp_path / "damaged").write_bytes(b"not a network")
    with pytest.raises(BadInput, match="cannot be read as"):
        read(source, tmp_path / "damaged")


def test_weights_of_another_network_or_not_finite_are_refused(network: Recogniser, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"neck.1.weight": torch.ones(24, 7)}, path)
    with pytest.raises(BadInput, match="does not hold weights of resnet20"):
        read("checkpoint", path)
    state = dict(network.state_dict())
    state["neck.1.weight"] = torch.full_like(state["neck.1.weight"], float("nan"))
    save_file(state, path)
    with pytest.raises(BadInput, match="not finite"):
        read("checkpoint", path)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadInput, match="no path"):
        read_teacher(TeacherSettings(source="onnx"), side=SIDE, channels=3)
    with pytest.raises(BadInput, match="trained here"):
        TeacherSettings(path="x.pt")
    with pytest.raises(BadInput, match="source is 'onxx'"):
        TeacherSettings(source="onxx")


def test_preprocessing_is_what_its_name_says() -> None:
    pictures = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    found = {name: Preprocessing(name)(pictures).flatten().tolist() for name in PIXELS}
    assert (
        found["unit"] == [0.0, 0.5, 1.0] and found["signed"] == [-1.0, 0.0, 1.0] and found["bytes"] == [0, 127.5, 255]
    )
    assert found["imagenet"] == pytest.approx([-0.485 / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    assert Preprocessing("unit", "bgr")(pictures).flatten().tolist() == [1.0, 0.5, 0.0]


def test_a_wrong_preprocessing_is_found_by_what_it_costs() -> None:
    areas = {("bytes", "bgr"): 0.95, ("unit", "rgb"): 0.65}
    separation = lambda how: areas.get((how.pixels, how.channels), 0.6)
    with pytest.raises(BadInput, match=r"pixels=bytes and method\.teacher\.channels=bgr"):
        check_preprocessing(Preprocessing("unit", "rgb"), separation)
    assert check_preprocessing(Preprocessing("bytes", "bgr"), separation)[0] == 0.95


class WantsBytes(torch.nn.Module):
    """Tells patterns apart only if pixels are 0 .. 255: of what is darker than 30 it sees nothing."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        blue = torch.nn.functional.adaptive_avg_pool2d(pictures[:, 2:], 4).flatten(1)
        rows = torch.relu(blue - 30) / 255
        return torch.cat([rows, torch.full_like(rows, 1e-3)], 1)


@pytest.mark.parametrize(("pixels", "right"), [("bytes", True), ("signed", False)])
def test_the_self_test_runs_before_anything_is_distilled(pixels: str, right: bool, tmp_path: Path) -> None:
    data = few_faces(train=12)
    torch.jit.script(WantsBytes()).save(str(tmp_path / "net.ts"))  # type: ignore[no-untyped-call]
    own = replace(
        settings("torchscript", tmp_path / "net.ts", pixels=pixels), network=replace(SMALL, embedding_length=32)
    )
    train = data.train

    def prepare() -> Any:
        return prepare_teacher(
            silent_run(tmp_path / "run"), own, Terms(kd=1.0), Margin(), train.pictures, train.identities, classes=train.people,
            identity="x",
        )  # fmt: skip

    if not right:
        with pytest.raises(BadInput, match="pixels=bytes"):
            prepare()
        return
    made = prepare()
    assert any("self-test on training pictures" in note for note in made.notes)
    # Its classifier was fitted here, and knows the people it was fitted on.
    rows = made.teacher(torch.from_numpy(train.read(range(len(train)))).float() / 255).embedding
    assert (made.head(rows).argmax(1).numpy() == train.identities).mean() > 0.9


def test_a_fitted_head_depends_on_nothing_but_its_inputs() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 2, 6)).astype(np.float32)
    labels = np.arange(20) % 4
    one, two = (fitted_head(rows, labels, classes=4, settings=Margin(), steps=30, seed=5) for _ in range(2))
    assert torch.equal(one.weight, two.weight) and one.margin == 0 and one.scale == 24.0
    assert not one.weight.requires_grad


def test_the_self_test_looks_at_people_with_two_pictures_only() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2])
    chosen = some_of_each(labels, 10, seed=0)
    assert chosen is not None and set(labels[chosen]) == {0, 2} and (labels[chosen] == 2).sum() <= 5
    assert some_of_each(np.arange(5), 10, seed=0) is None
    assert isinstance(NetworkTeacher(torch.nn.Identity(), name="", licence="", size=1, embedding_length=1), Teacher)
