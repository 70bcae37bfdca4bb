"""What is kept of a run, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import Resolved, compose
from stillhouse.cluster.record import write_record
from stillhouse.cluster.study.kept import keep, keep_failure, look, make_room
from stillhouse.platform.errors import RunFailed
from stillhouse.platform.privacy.statement import public
from stillhouse.platform.training.outcome import Metric, Outcome

ME = {"config": "1", "data": "2"}


def finished(home: Path, *more: str, accuracy: float = 0.5) -> tuple[Path, Outcome]:
    """A run folder as a run leaves it."""
    resolved = resolve(home, *more)
    write_record(resolved.folder, resolved)
    (resolved.folder / "images").mkdir(exist_ok=True)
    (resolved.folder / "images" / "sheet.png").write_bytes(b"picture")
    (resolved.folder / "student.safetensors").write_bytes(str(accuracy).encode())
    artefacts = {"student": "student.safetensors", "sheet": "images/sheet.png"}
    outcome = Outcome("pate", {"student_accuracy": Metric(accuracy, "fraction")}, public(), artefacts=artefacts)
    outcome.write(resolved.folder)
    return resolved.folder, outcome


def resolve(home: Path, *more: str) -> Resolved:
    return compose([f"root={home}", "name=shared", *more])


def test_a_result_is_found_again_by_its_identity_alone(tmp_path: Path) -> None:
    folder, outcome = finished(tmp_path)
    kept = tmp_path / "arms" / "a" / "seed-3"
    assert look(kept, 3, ME).state == "missing"
    keep(folder, kept, ME, seconds=2.5, found=("labels",))
    trial = look(kept, 3, ME)
    assert (trial.state, trial.outcome, trial.seconds, trial.found, trial.seed) == (
        "done",
        outcome,
        2.5,
        ("labels",),
        3,
    )
    for other in ({**ME, "config": "9"}, {**ME, "data": "9"}):
        assert look(kept, 3, other).state == "missing"
    assert not [f.name for f in kept.parent.iterdir() if f != kept]


def test_a_later_arm_does_not_touch_what_was_kept(tmp_path: Path) -> None:
    first, _ = finished(tmp_path, accuracy=0.5)
    keep(first, tmp_path / "one", ME, seconds=1, found=())
    assert not (first / "images").exists() and not (first / "outcome.json").exists()
    second, _ = finished(tmp_path, "method.epochs=2", accuracy=0.9)
    keep(second, tmp_path / "two", ME, seconds=1, found=())
    assert first == second
    assert (tmp_path / "one" / "student.safetensors").read_bytes() == b"0.5"
    assert (tmp_path / "two" / "student.safetensors").read_bytes() == b"0.9"
    assert (tmp_path / "one" / "images" / "sheet.png").exists()


def test_a_failure_is_kept_with_its_reason_and_gives_way_to_a_result(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    (folder / "outcome.json").unlink()
    kept = tmp_path / "kept"
    keep_failure(folder, kept, ME, RunFailed("it broke", why="a test"), seconds=1)
    trial = look(kept, 0, ME)
    assert (trial.state, trial.trouble, trial.outcome) == ("failed", "RunFailed: it broke: a test", None)
    folder, outcome = finished(tmp_path)
    keep(folder, kept, ME, seconds=1, found=())
    assert look(kept, 0, ME).outcome == outcome


@pytest.mark.parametrize(("more", "stays"), [([], True), (["method.epochs=2"], False)])
def test_what_another_arm_left_half_done_is_removed_and_ones_own_stays(
    tmp_path: Path, more: list[str], stays: bool
) -> None:
    folder, _ = finished(tmp_path)
    make_room(folder, resolve(tmp_path, *more))
    assert (folder / "images").exists() == (folder / "outcome.json").exists() == stays
    assert (folder / "student.safetensors").exists()
