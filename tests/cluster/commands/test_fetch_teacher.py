"""`stillhouse fetch-teacher`: a made-up package in the place of the real one, from a server on this machine and from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse import __main__ as cli
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.pretrained import fetching
from stillhouse.methods.recognition.pretrained.teacher import load_pretrained
from stillhouse.platform.errors import BadInput
from support.chips import chip
from support.dlib_reference import embedding, made_up_tensors, stored
from support.packages import archive_of, package_of, served


@cache
def made_up() -> tuple[bytes, dict[str, np.ndarray]]:
    manifest, content, tensors = stored(made_up_tensors(0), in_bytes=True)
    members = {
        "package/model/face_recognition_model.bin": content,
        "package/model/face_recognition_model-weights_manifest.json": manifest,
        "package/LICENSE": b"MIT License\n",
        "package/index.js": b"throw 1",
    }
    return archive_of(members), tensors


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    content, _ = made_up()
    source = replace(fetching.SOURCES["dlib"], package=package_of(content))
    monkeypatch.setattr(fetching, "SOURCES", {"dlib": source})
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "npm_config_proxy", "NPM_CONFIG_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return content


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict, str]:
    code = cli.main(["fetch-teacher", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out), said.err


def test_from_a_registry_to_a_teacher(capsys, tmp_path: Path, archive: bytes) -> None:
    to = tmp_path / "new" / "dlib"
    with served(archive) as registry:
        code, said, told = call(capsys, "dlib", "--to", to, "--registry", registry)
    assert code == 0 and said["data"]["licence"] == "CC0-1.0"
    assert "CC0" in told and "MIT" in told and str(to) in told
    assert {path.name for path in to.iterdir()} == {"card.json", "dlib_resnet.safetensors", "LICENSE.package.txt"}
    card = Card.read(to)
    assert card.sha256 == said["data"]["sha256"] and "face-api 1.7.15" in card.source
    teacher = load_pretrained(to)
    wanted = embedding(made_up()[1], chip(1).astype(np.float64))
    with torch.no_grad():
        found = teacher.network(torch.from_numpy(chip(1)).permute(2, 0, 1)[None].float())[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_from_a_file_again_and_again_without_network(capsys, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "faces.tgz").write_bytes(archive)
    for weights in (None, b"half of a fetch"):
        if weights is not None:
            (tmp_path / "dlib" / "dlib_resnet.safetensors").write_bytes(weights)
        code, _, told = call(capsys, "dlib", "--to", tmp_path / "dlib", "--file", tmp_path / "faces.tgz")
        assert code == 0 and "downloading" not in told
    assert load_pretrained(tmp_path / "dlib" / "dlib_resnet.safetensors").name == "dlib ResNet-29"


def test_mistakes_write_nothing(capsys, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "other.tgz").write_bytes(archive[:-1])
    to = tmp_path / "dlib"
    for words, hint, expected in (
        (["facenet", "--to", to], "use dlib", 4),
        (["dlib", "--to", to, "--file", tmp_path / "none.tgz"], "npm pack", 4),
        (["dlib", "--to", to, "--file", tmp_path / "other.tgz"], "another SHA-512", 4),
        (["dlib", "--to", to, "--file", tmp_path / "other.tgz", "--registry", "http://x"], "both given", 4),
        (["dlib", "--to", to, "--registry", "ftp://x"], "no address", 4),
        (["dlib", "--to", to, "--registry", "http://127.0.0.1:9"], "cannot be reached", 2),
    ):
        code, said, _ = call(capsys, *words)
        assert code == expected and hint in json.dumps(said), words
    assert not to.exists()


def test_another_recogniser_is_not_overwritten(capsys, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "faces.tgz").write_bytes(archive)
    to = tmp_path / "run"
    to.mkdir()
    (to / "student.safetensors").write_bytes(b"days of work")
    Card("resnet_small", 16, 128).write(to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    code, said, _ = call(capsys, "dlib", "--to", to, "--file", tmp_path / "faces.tgz")
    assert code == 4 and "another recogniser" in said["error"]["what"]
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before


def test_a_teacher_is_never_downloaded_on_the_way(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fetch-teacher dlib --to"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no recogniser"):
        load_pretrained(tmp_path)
