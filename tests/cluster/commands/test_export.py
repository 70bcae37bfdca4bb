"""`stillhouse export`: results leave a run with their privacy statement, and nothing that is not an export is replaced."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stillhouse import __main__ as cli
from stillhouse.methods.condensation.condensed import FILE, CondensedSet
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.privacy.statement import PrivacyStatement, uncovered
from stillhouse.platform.training.outcome import Outcome

STUDENT = "student.safetensors"
COVERED = PrivacyStatement.of_releases(3.25, 1e-5, releases=(), accounting="data-independent")
RECORD = {"config": {"data": {"name": "digits"}}, "seed": 7, "versions": {"stillhouse": "0.1.0"}}


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    code = cli.main(["export", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out)


def condensed_run(folder: Path, *, channels: int = 1, ipc: int = 2, privacy: PrivacyStatement = COVERED) -> Path:
    folder.mkdir(exist_ok=True)
    images = torch.rand(3 * ipc, channels, 12, 12, generator=torch.Generator().manual_seed(1))
    CondensedSet(images, torch.arange(3).repeat_interleave(ipc), 2, Standard.constant(channels)).write(folder / FILE)
    Outcome("dm", {}, privacy, artefacts={"condensed": FILE, "grid": "images/condensed.png"}).write(folder)
    (folder / "run.json").write_text(json.dumps(RECORD))
    return folder


def student_run(folder: Path) -> Path:
    folder.mkdir()
    save_file({"linear.weight": torch.ones(2, 3)}, folder / STUDENT)
    Outcome("pate", {}, COVERED, artefacts={"student": STUDENT}).write(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_condensed_set_in_all_formats(capsys, tmp_path):
    run, to = condensed_run(tmp_path / "dm-digits-1"), tmp_path / "new" / "out"
    code, said = call(capsys, run, "--to", to)
    assert code == 0 and said["data"]["formats"] == ["npz", "images", "grid", "torch"]
    assert names(to) == {"condensed.npz", "load.py", "images", "grid.png", FILE, "README.txt", "export.json"}
    assert {Path(f) for f in said["data"]["files"]} == {f for f in to.rglob("*") if f.is_file()}
    assert said["data"]["privacy"] == COVERED.line()
    lines = (to / "README.txt").read_text().splitlines()
    assert f"Privacy: {COVERED.line()}" in lines
    assert "Run: dm-digits-1 (method dm, data digits, seed 7, stillhouse 0.1.0)" in lines


def test_people_read_the_statement_too(capsys, tmp_path):
    statement = uncovered("it looked")
    run = condensed_run(tmp_path / "run", privacy=statement)
    assert math.isinf(statement.epsilon)
    assert cli.main(["export", str(run), "--to", str(tmp_path / "out"), "--format", "grid"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "epsilon = inf" in said.err and "it looked" in said.err
    assert "uncovered: it looked" in (tmp_path / "out" / "README.txt").read_text()


@pytest.mark.parametrize("record", [None, "[]", "{}", "torn"])
def test_a_run_without_its_record_is_named_by_its_folder(capsys, tmp_path, record):
    run = condensed_run(tmp_path / "run")
    (run / "run.json").unlink() if record is None else (run / "run.json").write_text(record)
    assert call(capsys, run, "--to", tmp_path / "out", "--format", "torch")[0] == 0
    assert "Run: run (method dm)\n" in (tmp_path / "out" / "README.txt").read_text()


def test_a_student(capsys, tmp_path):
    run, to = student_run(tmp_path / "run"), tmp_path / "out"
    code, said = call(capsys, run, "--to", to)
    assert code == 0 and said["data"]["formats"] == ["torch"]
    assert names(to) == {STUDENT, "README.txt", "export.json"}
    assert torch.equal(load_file(to / STUDENT)["linear.weight"], torch.ones(2, 3))
    text = (to / "README.txt").read_text()
    assert (
        f"Privacy: {COVERED.line()}\n" in text and "linear.weight (2, 3)" in text and "Run: run (method pate)" in text
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--format", "npz"], "cannot be exported as npz"),
        (["--format", "torch,images,grid"], "cannot be exported as images, grid"),
        (["--decoded"], "--decoded is for condensed sets"),
    ],
)
def test_a_student_has_no_images(capsys, tmp_path, words, hint):
    code, said = call(capsys, student_run(tmp_path / "run"), "--to", tmp_path / "out", *words)
    assert code == 4 and hint in said["error"]["what"] and "weights of a student" in said["error"]["why"]
    assert names(tmp_path) == {"run"}


def test_what_the_outcome_does_not_name_is_not_exported_under_its_statement(capsys, tmp_path):
    run = student_run(tmp_path / "run")
    CondensedSet(torch.zeros(1, 1, 8, 8), torch.tensor([0]), 1, Standard.constant(1)).write(run / FILE)
    code, said = call(capsys, run, "--to", tmp_path / "out")
    assert code == 0 and said["data"]["formats"] == ["torch"] and not (tmp_path / "out" / FILE).exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--format", "gird"], "did you mean 'grid'?"),
        (["--format", "npz,pt"], "unknown format 'pt'"),
        (["--format", " ,"], "names no format"),
        (["--format", "torch", "--decoded"], "--decoded changes nothing"),
    ],
)
def test_mistakes_are_explained(capsys, tmp_path, words, hint):
    code, said = call(capsys, condensed_run(tmp_path / "run"), "--to", tmp_path / "out", *words)
    assert code == 4 and hint in said["error"]["what"] and said["error"]["mend"]
    assert names(tmp_path) == {"run"}


def test_pictures_have_one_channel_or_three(capsys, tmp_path):
    run = condensed_run(tmp_path / "run", channels=2)
    code, said = call(capsys, run, "--to", tmp_path / "out", "--format", "grid,npz")
    assert code == 4 and "as grid" in said["error"]["what"] and "2 channels" in said["error"]["why"]
    code, said = call(capsys, run, "--to", tmp_path / "out")
    assert code == 0 and said["data"]["formats"] == ["npz", "torch"]


@pytest.mark.parametrize(
    "state", ["no folder", "a file", "no outcome", "nothing held", "set gone", "set torn", "student torn"]
)
def test_folders_that_are_no_finished_run(capsys, tmp_path, state):
    run = tmp_path / "run"
    if state == "a file":
        run.write_text("")
    elif state == "no outcome":
        (condensed_run(run) / "outcome.json").unlink()
    elif state == "nothing held":
        run.mkdir()
        Outcome("pate", {}, COVERED).write(run)
    elif state == "set gone":
        (condensed_run(run) / FILE).unlink()
    elif state == "set torn":
        (condensed_run(run) / FILE).write_bytes(b"torn")
    elif state == "student torn":
        (student_run(run) / STUDENT).write_bytes(b"torn")
    before = names(tmp_path)
    code, said = call(capsys, run, "--to", tmp_path / "out")
    assert code == 4 and str(run) in said["error"]["what"] and said["error"]["mend"]
    assert names(tmp_path) == before


def test_an_export_replaces_an_export_whole(capsys, tmp_path):
    to = tmp_path / "out"
    to.mkdir()
    assert call(capsys, condensed_run(tmp_path / "run", ipc=9), "--to", to)[0] == 0
    for trace in (to / "__pycache__" / "load.pyc", to / ".export-stopped" / "grid.png", to / "images" / ".DS_Store"):
        trace.parent.mkdir(exist_ok=True)
        trace.touch()
    code, said = call(capsys, condensed_run(tmp_path / "run", ipc=1), "--to", to)
    assert code == 0 and {Path(f) for f in said["data"]["files"]} == {f for f in to.rglob("*") if f.is_file()}
    assert len(list((to / "images").rglob("*.png"))) == 3
    assert call(capsys, student_run(tmp_path / "other"), "--to", to)[0] == 0
    assert names(to) == {STUDENT, "README.txt", "export.json"}


@pytest.mark.parametrize("foreign", ["notes.txt", "images/1/mine.png", "empty/"])
@pytest.mark.parametrize("exported", [False, True])
def test_what_no_export_wrote_is_kept(capsys, tmp_path, foreign, exported):
    run, to = condensed_run(tmp_path / "run"), tmp_path / "out"
    if exported:
        assert call(capsys, run, "--to", to)[0] == 0
    mine = to / foreign
    mine.mkdir(parents=True) if foreign.endswith("/") else mine.parent.mkdir(parents=True, exist_ok=True)
    if not foreign.endswith("/"):
        mine.write_text("mine")
    before = sorted(to.rglob("*"))
    code, said = call(capsys, run, "--to", to, "--format", "npz")
    shown = foreign.rstrip("/") if exported else foreign.split("/")[0]
    assert code == 4 and "is not empty" in said["error"]["what"] and f"no export wrote {shown}," in said["error"]["why"]
    assert "move these out" in said["error"]["mend"] and sorted(to.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"made_by": "me", "files": ["notes.txt"]}', '{"made_by": "stillhouse export"}']
)
def test_another_file_of_the_lists_name_is_no_list(capsys, tmp_path, content):
    to = tmp_path / "out"
    to.mkdir()
    (to / "export.json").write_text(content)
    code, said = call(capsys, condensed_run(tmp_path / "run"), "--to", to)
    assert code == 4 and "no export wrote export.json," in said["error"]["why"]


def test_a_list_that_names_files_elsewhere_removes_nothing_there(capsys, tmp_path):
    to, elsewhere = tmp_path / "out", tmp_path / "elsewhere.txt"
    to.mkdir()
    elsewhere.write_text("mine")
    (to / "export.json").write_text(json.dumps({"made_by": "stillhouse export", "files": ["../elsewhere.txt"]}))
    assert call(capsys, condensed_run(tmp_path / "run"), "--to", to, "--format", "npz")[0] == 0
    assert elsewhere.read_text() == "mine"


def test_the_run_folder_itself_and_a_file_are_no_targets(capsys, tmp_path):
    run = condensed_run(tmp_path / "run")
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert "is not empty" in call(capsys, run, "--to", run)[1]["error"]["what"]
    assert "is a file" in call(capsys, run, "--to", run / FILE)[1]["error"]["what"]
    code, said = call(capsys, run, "--to", run / FILE / "out")
    assert code == 4 and "cannot write to" in said["error"]["what"]
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_an_export_that_fails_leaves_the_earlier_one(capsys, tmp_path, monkeypatch):
    run, to = condensed_run(tmp_path / "run"), tmp_path / "out"
    assert call(capsys, run, "--to", to)[0] == 0
    before = {path: path.read_bytes() for path in to.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    code, said = call(capsys, run, "--to", to)
    assert code == 4 and "No space left" in said["error"]["why"]
    assert {path: path.read_bytes() for path in to.rglob("*") if path.is_file()} == before
