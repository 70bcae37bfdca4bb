"""`stillhouse export` of a recogniser: weights and card, an ONNX file, and both after FaceBN."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from stillhouse import __main__ as cli
from stillhouse.cluster.commands.export import CLASSIFIER
from stillhouse.methods.recognition.card import STUDENT, Card
from stillhouse.methods.recognition.classifier import Classifier, read_classifier
from stillhouse.methods.recognition.heads import Head, Margin
from stillhouse.methods.recognition.objects import CARD, FORMAT
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.statement import uncovered
from stillhouse.platform.training.outcome import Outcome
from support.chips import chip
from support.small_recogniser import LENGTH, small_network, write_picture, write_small


def run_folder(folder: Path) -> Path:
    write_small(
        folder, threshold=0.5, fmr=0.01, licence="CC0-1.0", trained_on="noise", teacher="T", teacher_licence="MIT"
    )
    artefacts = {"student": STUDENT, "card": "card.json"}
    Outcome("crrcd", {}, uncovered("learnt without noise"), artefacts=artefacts).write(folder)
    return folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    code = cli.main(["export", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out)


def faces(*seeds: int) -> np.ndarray:
    return np.stack([chip(seed, 112) for seed in seeds]).transpose(0, 3, 1, 2)


def test_weights_with_their_card(capsys, tmp_path: Path) -> None:
    run, to = run_folder(tmp_path / "run"), tmp_path / "out"
    code, said = call(capsys, run, "--to", to)
    assert code == 0 and said["data"]["formats"] == ["torch"]
    assert {path.name for path in to.iterdir()} == {STUDENT, "card.json", "README.txt", "export.json"}
    assert Card.read(to) == Card.read(run)
    np.testing.assert_array_equal(load_recogniser(to).embed(faces(1, 2)), load_recogniser(run).embed(faces(1, 2)))
    text = (to / "README.txt").read_text()
    for told in (
        "learnt without noise",
        "to 8 px by bilinear, antialiased",
        "cosine of 0.5000",
        "CC0-1.0",
        "T (licence: MIT)",
    ):
        assert told in text


@pytest.mark.parametrize("onnx", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_and_graph_after_adaptation(capsys, tmp_path: Path, onnx: bool) -> None:
    run, to = run_folder(tmp_path / "run"), tmp_path / "out"
    for seed in range(12):
        write_picture(tmp_path / "faces" / f"{seed}.png", seed)
    formats = ["torch", "onnx"] if onnx else ["torch"]
    code, said = call(capsys, run, "--to", to, "--format", ",".join(formats), "--adapt", tmp_path / "faces")
    assert code == 0 and said["data"]["formats"] == formats
    stored = load_recogniser(to)
    assert "12 faces" in stored.card.adapted
    # The threshold was set on other scores.
    assert stored.card.threshold is None and "Adapted" in (to / "README.txt").read_text()
    before, after = load_file(run / STUDENT), load_file(to / STUDENT)
    changed = {name for name, one in after.items() if not one.equal(before[name])}
    assert changed and all("running" in name or "num_batches" in name for name in changed)
    if onnx:
        graph = load_recogniser(to / "student.onnx")
        assert graph.card.adapted == stored.card.adapted
        np.testing.assert_allclose(stored.embed(faces(1, 2, 3)), graph.embed(faces(1, 2, 3)), atol=2e-4)
    assert np.abs(stored.embed(faces(1)) - load_recogniser(run).embed(faces(1))).max() > 1e-3


def test_mistakes_are_explained_and_write_nothing(capsys, tmp_path: Path) -> None:
    run, to = run_folder(tmp_path / "run"), tmp_path / "out"
    for words, hint in (
        (["--format", "npz"], "torch,onnx"),
        (["--format", "onx"], "did you mean 'onnx'"),
        (["--decoded"], "condensed"),
        (["--adapt", tmp_path / "nowhere"], "not found"),
    ):
        code, said = call(capsys, run, "--to", to, *words)
        assert code == 4 and hint in json.dumps(said["error"]), words
        assert not to.exists()
    (run / STUDENT).write_bytes(b"other")
    code, said = call(capsys, run, "--to", to)
    assert code == 4 and "SHA-256" in json.dumps(said["error"])


def test_adaptation_is_for_recognisers(capsys, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    Outcome("pate", {}, uncovered("x"), artefacts={"student": STUDENT}).write(run)
    code, said = call(capsys, run, "--to", tmp_path / "out", "--adapt", tmp_path)
    assert code == 4 and "recognisers" in said["error"]["what"]
    code, said = call(capsys, run, "--to", tmp_path / "out", "--format", "onnx")
    assert code == 4 and "cannot be exported as onnx" in said["error"]["what"]


def classifier_run(folder: Path) -> Classifier:
    """As a run on objects leaves it."""
    torch.manual_seed(3)
    network = Classifier(small_network(), Head(Margin("softmax"), length=LENGTH, classes=5)).eval()
    folder.mkdir()
    save_file(network.state_dict(), folder / STUDENT)
    card = {
        "format": FORMAT, "architecture": "resnet_small", "embedding_length": LENGTH, "side": 8, "channels": 3, "classes": 5,
        "head": "softmax", "preparation": "to 8 px", "weights": STUDENT,
    }  # fmt: skip
    (folder / CLASSIFIER).write_text(json.dumps(card))
    artefacts = {"student": STUDENT, "classifier": CLASSIFIER}
    Outcome("crrcd", {}, uncovered("learnt without noise"), artefacts=artefacts).write(folder)
    return network


def test_a_classifier_of_objects(capsys, tmp_path: Path) -> None:
    assert CLASSIFIER == CARD
    network, to = classifier_run(tmp_path / "run"), tmp_path / "out"
    assert call(capsys, tmp_path / "run", "--to", to)[0] == 0
    assert {path.name for path in to.iterdir()} == {STUDENT, CLASSIFIER, "README.txt", "export.json"}
    read, card = read_classifier(to)
    pictures = torch.rand(3, 3, 8, 8)
    assert card["preparation"] == "to 8 px" and torch.equal(read(pictures), network(pictures))
    # A card must belong to its weights.
    (to / CLASSIFIER).write_text((to / CLASSIFIER).read_text().replace('"classes": 5', '"classes": 6'))
    with pytest.raises(BadInput, match="no whole classifier"):
        read_classifier(to)
    (to / CLASSIFIER).write_text("{}")
    with pytest.raises(BadInput, match="no card of a classifier"):
        read_classifier(to)


@pytest.mark.slow
def test_a_classifier_as_a_graph(capsys, tmp_path: Path) -> None:
    network, to = classifier_run(tmp_path / "run"), tmp_path / "out"
    code, said = call(capsys, tmp_path / "run", "--to", to, "--format", "onnx")
    assert code == 0 and said["data"]["formats"] == ["onnx"]
    assert {path.name for path in to.iterdir()} == {"student.onnx", "README.txt", "export.json"}
    session = onnxruntime.InferenceSession(str(to / "student.onnx"))
    for batch in (1, 3, 7):
        pictures = torch.rand(batch, 3, 8, 8)
        with torch.no_grad():
            wanted = network(pictures).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"pictures": pictures.numpy()})[0], wanted, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["stillhouse.classifier"])["classes"] == 5
