"""The main job in small: teachers as actors, the aggregator as a process, the ledger, the student; then the same again for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.missing_votes import FILE, MissingVotes
from stillhouse.cluster.run import Finished, run
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.simulation import naming_key, partition
from stillhouse.platform.errors import BadInput, BudgetExhausted, ConfigError
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.report.report import Report
from stillhouse.platform.silo.host import TEACHER

SMALL = ["silos.teachers=8", "method.queries=60", "method.epochs=80", "privacy=gnmax", "privacy.mechanism.sigma=2"]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def start(home: Path, *more: str) -> Finished:
    return run(compose([*SMALL, f"root={home}", *more]))


def entries(home: Path) -> int:
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        return ledger.position()[0]


@pytest.fixture(scope="module")
def first(home: Path) -> Finished:
    return start(home)


def test_the_run_ends_with_a_student_a_statement_and_a_report(first: Finished) -> None:
    bars = {a.label: a for a in first.report.accuracies}
    assert set(bars) == {"mean teacher", "noiseless ensemble", "student", "non-private reference"}
    assert bars["student"].value > 0.5 and bars["student"].standing == "released"
    assert bars["mean teacher"].standing == bars["noiseless ensemble"].standing == "diagnostic"
    assert bars["noiseless ensemble"].value >= bars["mean teacher"].value
    statement = first.outcome.privacy
    assert (
        statement.coverage == "covered" and statement.delta == 1e-4 and "one teacher's vote" in statement.neighbouring
    )
    # 60 answers with sigma 2: mu^2 = 60 * 2 / 4.
    assert sum(r.event_json["count"] for r in statement.releases) == 60
    assert statement.epsilon == pytest.approx(first.report.spending.epsilon[-1])  # type: ignore[union-attr]
    page = (first.folder / "report.html").read_text()
    assert "simulation only" in page and "disjoint" in page


def test_the_run_folder_says_how_it_was_made(first: Finished) -> None:
    record = json.loads((first.folder / "run.json").read_text())
    assert record["overrides"][0] == "silos.teachers=8"
    assert record["config"]["silos"]["teachers"] == 8
    assert record["versions"]["stillhouse"] and record["seed"] == 0
    assert record["ledger"][0] == 2  # one grant, one charge
    assert (first.folder / "student.safetensors").exists() and (first.folder / "config.yaml").exists()
    assert Report.read(first.folder) == first.report


def test_a_second_run_finds_its_stages_and_spends_nothing(home: Path, first: Finished) -> None:
    before = entries(home)
    second = start(home)
    assert entries(home) == before
    assert second.outcome == first.outcome
    assert any("spent nothing" in line for line in second.report.this_start)
    assert any("labels" in line for line in second.report.this_start)
    assert all("one teacher's vote" in line for line in second.report.this_start if "epsilon" in line)


def test_votes_that_were_missing_are_told_in_the_report(home: Path, first: Finished) -> None:
    resolved = compose([*SMALL, f"root={home}"])
    private = resolved.config.data.load(seed=0, key=naming_key(home)).private
    roster = partition(
        private, resolved.config.silos, resolved.teacher, seed=0, folder=first.folder, key=naming_key(home)
    )
    record = MissingVotes(first.folder, roster.ensemble, 8)
    record.note(private.images[:3], resolved.mechanism, [6, 6, 8])
    told = [note for note in start(home).report.notes if "votes of" in note]
    (first.folder / FILE).unlink()
    assert [note.split(";")[0] for note in told] == ["2 queries were decided by the votes of 6 of 8 silos"]
    assert not any("votes of" in note for note in first.report.notes)


def test_with_its_folder_gone_the_answers_are_in_the_store(home: Path, first: Finished) -> None:
    before = entries(home)
    shutil.rmtree(first.folder)
    again = start(home)
    assert entries(home) == before
    assert again.outcome.metrics["student_accuracy"] == first.outcome.metrics["student_accuracy"]
    assert any("came from the store" in note for note in again.outcome.notes)


def test_a_full_budget_is_refused_before_anything_is_drawn(home: Path, first: Finished, tmp_path: Path) -> None:
    with pytest.raises(BudgetExhausted, match="grant"):
        start(tmp_path, "privacy.target_epsilon=0.5")
    assert entries(tmp_path) == 1  # the grant
    assert list(first.folder.rglob(TEACHER)) and not list(tmp_path.rglob(TEACHER))


def test_a_budget_that_ends_half_way_leaves_a_student_of_what_was_answered(tmp_path: Path) -> None:
    half = start(tmp_path, "privacy.target_epsilon=20", "method.batch_queries=20")
    answered = half.outcome.metrics["answered"].value
    assert 0 < answered < 60
    assert half.outcome.privacy.epsilon <= 20
    assert any("the budget ended the questions" in note for note in half.outcome.notes)


def test_mistakes_are_found_before_anything_starts(home: Path) -> None:
    with pytest.raises(ConfigError):
        start(home, "silos.techers=3")


def test_a_folder_used_again_with_other_settings_gets_figures_of_its_own(home: Path) -> None:
    one = start(home, "name=shared")
    other = start(home, "name=shared", "method.epochs=1")
    reference = [{a.label: a.value for a in f.report.accuracies}["non-private reference"] for f in (one, other)]
    assert reference[0] > reference[1] + 0.1


@pytest.mark.slow
def test_the_method_trains_in_a_worker_beside_the_silos(home: Path, first: Finished) -> None:
    """One Ray Train worker fits beside the actors; more workers than there is room for are refused at once."""
    beside = start(home, "cluster.workers=1", "name=worker")
    bars = {a.label: a.value for a in beside.report.accuracies}
    assert bars["student"] > 0.5 and beside.outcome.privacy.coverage == "covered"
    with pytest.raises(BadInput, match="silo actors and the training want"):
        start(home, "cluster.workers=2", "name=crowded")
