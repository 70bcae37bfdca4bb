"""`stillhouse predict` from end to end, on generated pictures; the figures are those of the stored network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from stillhouse import __main__ as cli
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.onnx_file import METADATA
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.platform.data.resampling import Resampler
from support.small_recogniser import LENGTH, write_picture, write_small

NAMES = ("ann/1", "ann/2", "bob/1", "cat/1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_small(folder, threshold=0.5, fmr=0.01, licence="CC0-1.0", trained_on="noise")
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    for number, name in enumerate(NAMES):
        write_picture(folder / f"{name}.png", number)
    return folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict, str]:
    code = cli.main(["predict", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out), said.err


def expected(model: Path, people: Path) -> np.ndarray:
    pictures = np.stack([np.asarray(Image.open(people / f"{name}.png")) for name in NAMES])
    return load_recogniser(model).embed(pictures.transpose(0, 3, 1, 2)).astype(np.float64)


def test_pictures_are_embedded(capsys, model: Path, people: Path, tmp_path: Path) -> None:
    code, said, told = call(capsys, model, people, "--embeddings", tmp_path / "out.npz")
    wanted = expected(model, people)
    assert code == 0 and "CC0-1.0" in told and "trained on noise" in told and "no least quality" in told
    for name, one, template in zip(NAMES, said["data"]["pictures"], wanted, strict=True):
        assert one == {
            "name": f"{name}.png", "how": "as it is", "quality": pytest.approx(np.linalg.norm(template)), "usable": True,
        }  # fmt: skip
    with np.load(tmp_path / "out.npz") as kept:
        assert kept["names"].tolist() == [f"{name}.png" for name in NAMES]
        np.testing.assert_allclose(kept["embeddings"], wanted, atol=1e-6)
        assert kept["embeddings"].shape == (4, LENGTH)


def test_pairs_and_people(capsys, model: Path, people: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("ann 1 2\nann 1 bob 1\n")
    unit = expected(model, people)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    threshold = float(cosines[0, 1] + cosines[0, 2]) / 2
    words = (model, people, "--pairs", tmp_path / "pairs.txt", "--gallery", people, "--threshold", threshold)
    code, said, told = call(capsys, *words)
    assert code == 0
    pairs = said["data"]["pairs"]
    assert [one["score"] for one in pairs] == [pytest.approx(cosines[0, 1]), pytest.approx(cosines[0, 2])]
    assert [one["verdict"] for one in pairs] == [
        ("same" if cosines[0, j] >= threshold else "different") for j in (1, 2)
    ]
    assert sorted(one["verdict"] for one in pairs) == ["different", "same"]
    right = 2 if cosines[0, 1] > cosines[0, 2] else 0
    assert f"{right} of the 2 pairs that were decided" in told
    # Each picture is in the gallery itself, so its person is the best match.
    for name, one in zip(NAMES, said["data"]["identified"], strict=True):
        assert one["best"] == one["verdict"] == name.split("/")[0] and one["score"] == pytest.approx(1)
        assert one["second"] not in (None, one["best"]) and one["second_score"] < 1
    assert "among 3 people a stranger passes up to 3 times as often" in told


def test_poor_pictures_are_abstained_from(capsys, model: Path, people: Path, tmp_path: Path) -> None:
    lengths = np.linalg.norm(expected(model, people), axis=1)
    between = float(np.sort(lengths)[:2].mean())
    poor = int(np.argmin(lengths))
    (tmp_path / "pairs.txt").write_text(
        "".join(f"{NAMES[poor]}.png {one}.png\n" for one in NAMES if one != NAMES[poor])
    )
    code, said, told = call(capsys, model, people, "--pairs", tmp_path / "pairs.txt", "--least-quality", between)
    assert code == 0 and {one["verdict"] for one in said["data"]["pairs"]} == {"abstain"}
    assert [one["usable"] for one in said["data"]["pictures"]] == [number != poor for number in range(4)]
    assert told.count("too poor to decide on") == 1


def test_pictures_of_other_sizes_are_taken_and_said(capsys, model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "wide.png", 1, size=(160, 120))
    write_picture(tmp_path / "exact.png", 2)
    code, said, told = call(capsys, model, tmp_path / "wide.png", tmp_path / "exact.png")
    assert code == 0 and [one["how"] for one in said["data"]["pictures"]] == ["resized", "as it is"]
    assert "1 of 2 pictures are not of 112 x 112 pixels" in told and "--landmarks" in told


def test_landmarks_from_a_table_and_pictures_without_a_face(capsys, model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "known.png", 1, size=(160, 120))
    write_picture(tmp_path / "other.png", 2, size=(160, 120))
    (tmp_path / "points.csv").write_text("known.png,60,40,100,41,80,60,65,85,98,84\n")
    (tmp_path / "pairs.txt").write_text("known.png other.png\n")
    words = (
        model,
        tmp_path,
        "--landmarks",
        "csv",
        "--table",
        tmp_path / "points.csv",
        "--pairs",
        tmp_path / "pairs.txt",
    )
    code, said, _ = call(capsys, *words)
    assert code == 0 and [one["how"] for one in said["data"]["pictures"]] == ["aligned", "no face found"]
    assert said["data"]["pairs"][0]["verdict"] == "abstain"


def test_without_a_threshold_scores_only(capsys, people: Path, tmp_path: Path) -> None:
    write_small(tmp_path / "model")
    (tmp_path / "pairs.txt").write_text("ann/1.png ann/2.png\n")
    code, said, told = call(capsys, tmp_path / "model", people, "--pairs", tmp_path / "pairs.txt")
    assert code == 0 and said["data"]["pairs"][0]["verdict"] == "no threshold" and "give --threshold" in told


def test_an_onnx_file_is_a_model_too(capsys, people: Path, tmp_path: Path) -> None:
    """A graph made by hand, whose embedding is the prepared picture itself."""
    batch = onnx.helper.make_tensor_value_info("pictures", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])
    found = onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", 192])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["pictures"], ["embedding"])], "g", [batch], [found]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    card = Card("flat", 8, 192, resampler=Resampler("area"), flipped=False)
    model.metadata_props.add(key=METADATA, value=json.dumps(card.to_json()))
    onnx.save(model, tmp_path / "flat.onnx")
    code, said, _ = call(capsys, tmp_path / "flat.onnx", people, "--embeddings", tmp_path / "out.npz")
    assert code == 0 and said["data"]["model"]["architecture"] == "flat"
    pixels = np.stack([np.asarray(Image.open(people / f"{name}.png")) for name in NAMES]).transpose(0, 3, 1, 2)
    wanted = pixels.reshape(4, 3, 8, 14, 8, 14).mean((3, 5)).reshape(4, 192) / 255
    with np.load(tmp_path / "out.npz") as kept:
        np.testing.assert_allclose(kept["embeddings"], wanted, atol=1e-5)


def test_mistakes_are_explained(capsys, model: Path, people: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pairs.txt").write_text("ann/1.png dora/1.png\n")
    write_picture(tmp_path / "gallery" / "loose.png", 1)
    for words, hint in (
        ((tmp_path / "nowhere", people), "does not exist"),
        ((tmp_path / "empty", people), "holds no recogniser"),
        ((model, tmp_path / "nowhere.png"), "not found"),
        ((model, tmp_path / "empty"), "no pictures"),
        ((model, tmp_path / "text.png"), "cannot be read as JPEG or PNG"),
        ((model, people, "--pairs", tmp_path / "pairs.txt"), "dora/1.png"),
        ((model, people, "--pairs", tmp_path / "none.txt"), "cannot read"),
        ((model, people, "--gallery", tmp_path / "pairs.txt"), "not a folder"),
        ((model, people, "--gallery", tmp_path / "gallery"), "no person's folder"),
        ((model, people, "--threshold", "2"), "no cosine"),
        ((model, people, "--threshold", "nan"), "finite"),
        ((model, people, "--least-quality", "-1"), "at least 0"),
        ((model, people, "--landmarks", "eyes"), "eyes"),
        ((model, people, "--landmarks", "csv"), "table"),
        ((model, people, "--embeddings", tmp_path / "out.csv"), ".npz"),
        ((model, people, "--embeddings", tmp_path / "text.png" / "out.npz"), "cannot write"),
        ((model,), "required"),
    ):
        code, said, _ = call(capsys, *words)
        assert code == 4 and hint in json.dumps(said["error"], ensure_ascii=False), (words, said)


def test_many_lines_are_cut_short_for_people_only(capsys, model: Path, people: Path, tmp_path: Path) -> None:
    names = [f"{name}.png" for name in NAMES]
    lines = [f"{one} {other}" for one in names for other in names if one != other] * 4
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    code, said, told = call(capsys, model, people, "--pairs", tmp_path / "pairs.txt")
    assert code == 0 and len(said["data"]["pairs"]) == 48
    assert "and 9 more" in told and told.count(" 0.") + told.count(" -0.") + told.count(" 1.") < 48
