"""Methods on data of a kind of their own, from a user's files to the report: a crowd's answers, noisy multi-labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from stillhouse import __main__ as cli
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import run
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.report import Report

SHORT = ["method.warm_up=1", "method.epochs=2", "method.milestones=[]", "method.groups=2", "method.meta_size=20"]
FEW = ["method.first.epochs=6", "method.sample_epoch=6", "method.student.epochs=2", "method.sample_epochs=3"]


def write(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Two classes on a line, 60 items; five people, the last of whom says the opposite."""
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(-1, 0.3, 40), random.normal(1, 0.3, 40)])
    names = [f"i{n}" for n in range(80)]
    truth = ["no"] * 40 + ["yes"] * 40
    order = random.permutation(80)
    test, train = order[:20], order[20:]
    write(tmp_path / "features.csv", [["item", "x"], *([names[i], values[i]] for i in range(80))])
    write(tmp_path / "test.csv", [["item", "label"], *([names[i], truth[i]] for i in test)])
    said = [["item", "annotator", "label"]]
    for place, i in enumerate(train):
        for person in {place % 5, (place + 1) % 5}:
            wrong = person == 4
            said.append([names[i], f"person {person}", truth[i] if not wrong else {"no": "yes", "yes": "no"}[truth[i]]])
    write(tmp_path / "answers.csv", said)
    return tmp_path


def test_a_crowds_own_files_become_a_classifier_and_lists(crowd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "method=ccc", "data=crowd_csv", f"data.root={crowd}", f"root={crowd / 'runs'}", *SHORT, "--json"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)["data"]
    folder = Path(told["folder"])
    report = Report.read(folder)
    assert [sheet.title for sheet in report.sheets][-2:] == ["Corrected labels", "Suspicious labels"]
    assert any(sheet.title == "Annotators" for sheet in report.sheets)
    assert report.privacy.coverage == "uncovered" and any(p.path.endswith(".svg") for p in report.pictures)
    assert "data:image/svg+xml" in (folder / "report.html").read_text()
    # Pseudonyms everywhere: no file of the run names a person.
    for file in folder.rglob("*"):
        assert file.is_dir() or b"person 4" not in file.read_bytes(), file
    assert "person 4" not in said.err


def test_a_users_own_multi_labels_become_rates_and_a_student(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    factors = random.normal(size=(700, 2))
    features = np.concatenate([factors, random.normal(size=(700, 3))], axis=1)
    clean = np.stack([factors[:, 0] > 0.5, factors[:, 0] > 0, factors[:, 1] > 0, factors.sum(1) > 0], axis=1).astype(
        int
    )
    noisy = np.where(random.random(clean.shape) < 0.15, 1 - clean, clean)
    for name, part, labels in (("", slice(0, 500), noisy), ("test_", slice(500, 700), clean)):
        write(tmp_path / f"{name}features.csv", [list("abcde"), *features[part].tolist()])
        write(tmp_path / f"{name}labels.csv", [["p", "q", "r", "s"], *labels[part].tolist()])
    finished = run(
        compose(
            ["method=multilabel_t", "data=multilabel_csv", f"data.root={tmp_path}", f"root={tmp_path / 'runs'}", *FEW]
        )
    )
    metrics = finished.outcome.metrics
    assert {"student_map", "student_of1", "student_cf1", "classes_refused"} <= set(metrics)
    assert "transition_error" not in metrics  # Nobody knows the rates of a user's own labels.
    titles = [sheet.title for sheet in finished.report.sheets]
    assert titles[0] == "Figures" and "Transition" in titles
    assert not finished.report.accuracies


def test_silos_elsewhere_are_refused(crowd: Path) -> None:
    words = ["method=crowd_majority", "data=crowd_csv", f"data.root={crowd}", f"root={crowd / 'runs'}"]
    with pytest.raises(BadInput, match="only votes leave a silo"):
        run(compose([*words, "silos.address=127.0.0.1:1"]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"features\.csv does not exist"):
        run(compose(["method=ccc", "data=crowd_csv", f"data.root={tmp_path}", f"root={tmp_path / 'runs'}"]))
