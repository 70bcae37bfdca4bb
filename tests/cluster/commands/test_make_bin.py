"""`stillhouse make-bin`: pictures keep their bytes, folds follow one another, and what would be lost is told or refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from stillhouse import __main__ as cli
from stillhouse.platform.data.insightface_bin import bin_faces, read_bin
from stillhouse.platform.data.picture_files import Exact
from support.face_files import PEOPLE, write_lfw_like


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict, str]:
    code = cli.main(["make-bin", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out), said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten folds of one genuine and one impostor pair, as in LFW's own file."""
    write_lfw_like(tmp_path / "faces", 4)
    lines = ["10\t1"]
    for fold in range(10):
        name, other = PEOPLE[fold % 6], PEOPLE[(fold + 1) % 6]
        lines += [f"{name}\t{1 + fold // 6}\t{3 + fold // 6}", f"{name}\t1\t{other}\t{1 + fold % 4}"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_pairs_are_packed_with_the_files_own_bytes(capsys, folder: Path) -> None:
    out = folder / "new" / "x.bin"
    code, said, told = call(capsys, folder / "faces", "--pairs", folder / "pairs.txt", "--out", out, "--size", 12)
    assert code == 0 and said["data"]["pairs"] == 20 and said["data"]["genuine"] == 10 and said["data"]["notes"] == []
    assert "20 pairs, 10 of them genuine" in told
    pictures, same = pickle.loads(out.read_bytes())
    assert same == [True, False] * 10
    raw = (folder / "faces" / "Blaise_Pascal" / "Blaise_Pascal_0003.png").read_bytes()
    assert pictures[5] == raw
    _, pairs = bin_faces(out, prepare=Exact(12))
    assert pairs.fold.tolist() == np.repeat(np.arange(10), 2).tolist() and pairs.same.tolist() == same


def test_pictures_of_another_size_are_refused_or_resized(capsys, folder: Path) -> None:
    words = (folder / "faces", "--pairs", folder / "pairs.txt", "--out", folder / "x.bin", "--size", 16)
    code, said, _ = call(capsys, *words)
    assert code == 4 and "12 x 12 pixels instead of 16 x 16" in said["error"]["why"] and not (folder / "x.bin").exists()
    code, _, _ = call(capsys, *words, "--resize")
    assert code == 0 and bin_faces(folder / "x.bin", prepare=Exact(16))[0].size == (16, 16)


def test_missing_pictures_are_refused_or_left_out_and_folds_are_told(capsys, folder: Path) -> None:
    (folder / "faces" / "Dido" / "Dido_0001.png").unlink()
    words = (folder / "faces", "--pairs", folder / "pairs.txt", "--out", folder / "x.bin", "--size", 12)
    code, said, _ = call(capsys, *words)
    assert code == 4 and "Dido 1" in said["error"]["why"] and "that are not there" in said["error"]["what"]
    code, said, _ = call(capsys, *words, "--leave-out")
    assert code == 0 and len(read_bin(folder / "x.bin")) == said["data"]["pairs"] < 20
    assert any("left out" in note for note in said["data"]["notes"]) and any(
        "not the folds" in note for note in said["data"]["notes"]
    )


def test_a_file_is_not_replaced_unasked(capsys, folder: Path) -> None:
    words = (folder / "faces", "--pairs", folder / "pairs.txt", "--out", folder / "x.bin", "--size", 12)
    (folder / "x.bin").write_bytes(b"precious")
    code, said, _ = call(capsys, *words)
    assert code == 4 and "is there already" in said["error"]["what"] and (folder / "x.bin").read_bytes() == b"precious"
    assert call(capsys, *words, "--force")[0] == 0 and len(read_bin(folder / "x.bin")) == 20
    code, said, _ = call(capsys, folder / "nowhere", "--pairs", folder / "pairs.txt", "--out", folder / "y.bin")
    assert code == 4 and "is not there" in said["error"]["what"]
