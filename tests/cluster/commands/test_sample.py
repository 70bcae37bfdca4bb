"""`stillhouse sample`, and `stillhouse export` of synthetic sets: images leave with the statement of the run that they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse import __main__ as cli
from stillhouse.methods.diffusion.sampler import FILE, STUDENT, Sampler
from stillhouse.methods.diffusion.synthetic import read_synthetic, write_synthetic
from stillhouse.platform.diffusion.networks import Network, fresh
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.privacy.statement import PrivacyStatement
from stillhouse.platform.training.outcome import Outcome

COVERED = PrivacyStatement.of_releases(3.25, 1e-5, releases=(), accounting="data-independent")
NETWORK = Network(hidden=8)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    code = cli.main([*map(str, words), "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, json.loads(said.out)


def generator_run(folder: Path, *, student: bool = True, shares: tuple[float, ...] | None = None) -> Path:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)
    write_synthetic(folder / "synthetic.npz", images, np.arange(6) % 3, ["a", "b", "c"], COVERED)
    artefacts = {"synthetic": "synthetic.npz", "student_grid": "images/student.png"}
    if student:
        sampler = Sampler(NETWORK, Schedule(), 4, (1, 8, 8), 3, shares)
        sampler.write(folder, fresh(NETWORK, (1, 8, 8), 3, 1).state_dict(), {})
        artefacts |= {"student": STUDENT, "sampler": FILE}
    Outcome("dpsad", {}, COVERED, artefacts=artefacts).write(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_synthetic_set_in_all_formats(capsys, tmp_path):
    run, to = generator_run(tmp_path / "run"), tmp_path / "out"
    code, said = call(capsys, "export", run, "--to", to)
    assert code == 0 and said["data"]["formats"] == ["npz", "images", "grid", "torch"]
    assert names(to) == {"synthetic.npz", "images", "grid.png", STUDENT, FILE, "README.txt", "export.json"}
    images, labels, classes, statement = read_synthetic(to / "synthetic.npz")
    assert statement == COVERED and classes == ["a", "b", "c"] and images.shape == (6, 1, 8, 8)
    assert names(to / "images") == {"a", "b", "c"}
    for number, label in enumerate(labels.tolist()):
        picture = np.asarray(Image.open(to / "images" / classes[label] / f"{number}.png"))
        assert np.array_equal(picture, images[number, 0])
    readme = (to / "README.txt").read_text()
    assert f"Privacy: {COVERED.line()}" in readme and "stillhouse sample" in readme


def test_a_set_without_a_network_is_exported_as_images(capsys, tmp_path):
    run = generator_run(tmp_path / "run", student=False)
    code, said = call(capsys, "export", run, "--to", tmp_path / "out")
    assert code == 0 and said["data"]["formats"] == ["npz", "images", "grid"]
    code, said = call(capsys, "export", run, "--to", tmp_path / "other", "--format", "torch")
    assert code != 0 and "no network that makes them" in said["error"]["why"] and not (tmp_path / "other").exists()
    assert call(capsys, "export", run, "--to", tmp_path / "other", "--decoded")[0] != 0


@pytest.mark.parametrize("exported", [False, True])
def test_more_images_cost_nothing_and_keep_the_statement(exported, capsys, tmp_path):
    source = generator_run(tmp_path / "run")
    if exported:
        assert call(capsys, "export", source, "--to", tmp_path / "export")[0] == 0
        source = tmp_path / "export"
    code, said = call(capsys, "sample", source, "--to", tmp_path / "a", "--images", 7)
    assert code == 0 and said["data"]["privacy"] == COVERED.line()
    images, labels, _, statement = read_synthetic(tmp_path / "a" / "synthetic.npz")
    assert images.shape == (7, 1, 8, 8) and statement == COVERED and labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert f"Privacy: {COVERED.line()}" in (tmp_path / "a" / "README.txt").read_text()
    # By its seed, and by nothing else.
    found = {}
    for name, seed in (("again", 0), ("other", 1)):
        assert call(capsys, "sample", source, "--to", tmp_path / name, "--images", 7, "--seed", seed)[0] == 0
        found[name] = read_synthetic(tmp_path / name / "synthetic.npz")[0]
    assert np.array_equal(found["again"], images) and not np.array_equal(found["other"], images)


def test_labels_may_be_chosen_or_follow_their_shares(capsys, tmp_path):
    run = generator_run(tmp_path / "run", shares=(0.0, 1.0, 0.0))
    assert call(capsys, "sample", run, "--to", tmp_path / "a", "--images", 5, "--format", "npz")[0] == 0
    assert names(tmp_path / "a") == {"synthetic.npz", "README.txt", "export.json"}
    assert read_synthetic(tmp_path / "a" / "synthetic.npz")[1].tolist() == [1] * 5
    assert call(capsys, "sample", run, "--to", tmp_path / "b", "--images", 5, "--labels", "2,0")[0] == 0
    assert read_synthetic(tmp_path / "b" / "synthetic.npz")[1].tolist() == [2, 0, 2, 0, 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--labels", "7"), "a label of no class"), (("--labels", "a"), "--labels a"), (("--images", "0"), "--images 0"),
        (("--format", "onnx"), "cannot be written as onnx"), (("--format", "nzp"), "unknown format 'nzp'"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(words, says, capsys, tmp_path):
    code, said = call(capsys, "sample", generator_run(tmp_path / "run"), "--to", tmp_path / "out", *words)
    assert code != 0 and says in said["error"]["what"] and not (tmp_path / "out").exists()


def test_folders_that_cannot_be_sampled_are_refused(capsys, tmp_path):
    run = generator_run(tmp_path / "images", student=False)
    code, said = call(capsys, "sample", run, "--to", tmp_path / "out")
    assert code != 0 and "no diffusion student" in said["error"]["what"]
    other = generator_run(tmp_path / "other")
    (other / STUDENT).write_bytes((other / STUDENT).read_bytes()[:-4] + b"\0\1\2\3")
    code, said = call(capsys, "sample", other, "--to", tmp_path / "out")
    assert code != 0 and "is not the file that" in said["error"]["why"]
    # An export without the arrays has no statement to hand on.
    assert (
        call(capsys, "export", generator_run(tmp_path / "run"), "--to", tmp_path / "torch", "--format", "torch")[0] == 0
    )
    code, said = call(capsys, "sample", tmp_path / "torch", "--to", tmp_path / "out")
    assert code != 0 and "does not say what its student costs" in said["error"]["what"]
    assert call(capsys, "sample", tmp_path / "nowhere", "--to", tmp_path / "out")[0] != 0
    # A run that did not end: its files may be of two runs, and no statement is known to be theirs.
    broken = generator_run(tmp_path / "broken")
    (broken / "outcome.json").unlink()
    code, said = call(capsys, "sample", broken, "--to", tmp_path / "out")
    assert code != 0 and "outcome.json does not exist" in said["error"]["what"] and not (tmp_path / "out").exists()
