"""Private condensation through the whole stack: what the ledger holds, what is refused, and that other condensations leave it alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.budget import ledger_url
from stillhouse.cluster.config.compose import Resolved, compose
from stillhouse.cluster.run import Finished, run
from stillhouse.cluster.study import runner
from stillhouse.cluster.study.plan import make_plan
from stillhouse.cluster.study.spending import StudyBudget, budgets
from stillhouse.methods.condensation.releases import noises
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.ledger.records import Charge
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.events import GaussianEvent, event_from_json
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE

TINY = ["data=digits", "method.ipc=1", "method.evaluation.repeats=1", "method.evaluation.recipe.steps=2"]
DM = ["method=dm_dp", "method.iterations=12", "method.release.encoders=1", "privacy.target_epsilon=8", *TINY]
REAL = ["method=random_real", "method.audit=20", *TINY]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def finished(home: Path) -> Finished:
    return run(compose([*DM, f"root={home}"]))


def test_the_ledger_holds_the_two_releases_and_nothing_else(home: Path, finished: Finished) -> None:
    told = finished.outcome.privacy
    assert (told.coverage, told.neighbouring, told.delta) == ("covered", ADD_OR_REMOVE, 1e-4)
    assert 0.999 * 8 < told.epsilon <= 8
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        budget = ledger.budget("digits")
        charges = [json.loads(entry.body) for entry in ledger.entries("digits") if entry.what == "charge"]
    assert (budget.kind, budget.neighbouring, budget.epsilon) == (BudgetKind.GAUSSIAN, ADD_OR_REMOVE, 8)
    assert [charge["purpose"] for charge in charges] == [release.name for release in told.releases] == [
        "mean image of each class, and pixel variances", "mean embeddings of each class",
    ]  # fmt: skip
    events = [event_from_json(dict(release.event_json)) for release in told.releases]
    assert told.epsilon == plan_epsilon(events, 1e-4)
    # The ledger adds rounded-up integers: a hair above the plan, never above the cap.
    assert told.epsilon <= budget.spent_epsilon <= 8
    assert finished.report.ledger is not None and not finished.report.spending
    assert "epsilon" in (finished.folder / "report.html").read_text()


def test_nothing_in_the_run_folder_is_named_after_the_records(home: Path, finished: Finished) -> None:
    # Any plain hash of them would tell a guessed data set from its neighbour.
    plain = load("digits").private.content_hash()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert plain[:12] not in str(path)
        content = path.read_bytes()
        assert plain.encode() not in content and bytes.fromhex(plain) not in content, path
    assert not (home / "shared").exists()


def test_a_second_start_spends_nothing(home: Path, finished: Finished) -> None:
    again = run(compose([*DM, f"root={home}"]))
    assert any("spent nothing" in line for line in again.report.this_start)
    assert again.outcome == finished.outcome


def test_another_seed_on_a_spent_budget_is_refused_before_anything_is_computed(home: Path, finished: Finished) -> None:
    other = compose([*DM, f"root={home}", "seed=1"])
    with Ledger(ledger_url(other)) as ledger:
        before = ledger.position()
    with pytest.raises(BudgetExhausted, match="nothing was spent") as refused:
        run(other)
    assert refused.value.exit_code == 6
    with Ledger(ledger_url(other)) as ledger:
        assert ledger.position() == before
    assert other.folder != finished.folder
    assert {path.name for path in other.folder.rglob("*") if path.is_file()} == {"run.json", "config.yaml", "log.jsonl"}


def test_a_budget_about_other_neighbours_is_refused(tmp_path: Path) -> None:
    resolved = compose([*DM, f"root={tmp_path}"])
    with Ledger(ledger_url(resolved)) as ledger:
        ledger.grant("digits", epsilon=100, delta=1e-4, neighbouring=REPLACE_ONE, by="officer")
    with pytest.raises(BadInput, match="an epsilon for one says nothing of the other"):
        run(resolved)


def test_separate_owners_cannot_do_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="works on the images themselves"):
        run(compose([*DM, f"root={tmp_path}", "silos.address='localhost:1'"]))


@pytest.mark.parametrize("score", ["protocol", "test"])
def test_a_run_that_promises_nothing_touches_no_ledger(tmp_path: Path, score: str) -> None:
    told = run(compose([*REAL, f"root={tmp_path}", f"data.score={score}"]))
    assert told.outcome.privacy.coverage == "uncovered"
    assert told.report.ledger is None
    assert any("charges no ledger" in line for line in told.report.this_start)
    assert [path for path in tmp_path.rglob("*") if "ledger" in path.name or path.suffix == ".db"] == []
    # Pool and score set together, once: no image is counted twice.
    assert "scored on all 797 test images" in told.report.protocol


def test_a_run_that_charges_nothing_has_no_budget_to_be_granted(tmp_path: Path) -> None:
    private, real = (compose([*some, f"root={tmp_path}"]) for some in (DM, REAL))
    budget = StudyBudget([real, private])
    budget.grant(real)
    assert list(tmp_path.iterdir()) == [] == budgets(real)
    budget.grant(private)
    budget.grant(real)
    (found,) = budgets(real)
    assert (found.kind, found.neighbouring) == (BudgetKind.GAUSSIAN, ADD_OR_REMOVE)
    assert found.epsilon == pytest.approx(8, rel=1e-6) and found.spent_epsilon == 0


def test_a_study_of_runs_that_charge_nothing_needs_no_ledger(tmp_path: Path) -> None:
    runs = [compose([*REAL, f"root={tmp_path}", f"seed={seed}"]) for seed in (0, 1)]
    budget = StudyBudget(runs, limit=1.0)
    for each in runs:
        budget.grant(each)
    assert budgets(runs[0]) == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mate", "epsilon"),
    [
        (["method=dpsgd"], 1.0),
        (["method=dpsgd"], 4.8),
        (["method=dpsgd"], 7.4),
        (["method=pate", "privacy=lnmax"], 7.4),
        (["method=pate", "privacy=gnmax"], 4.8),
    ],
)
def test_two_releases_that_use_a_budget_up_fit_beside_every_other_arm(
    tmp_path: Path, mate: list[str], epsilon: float
) -> None:
    # A wider kind of budget rounds each release up by itself: one billionth too many, and the run would be refused.
    target = f"privacy.target_epsilon={epsilon}"
    runs = [compose([*DM, f"root={tmp_path}", target, f"seed={seed}"]) for seed in (0, 1)]
    budget = StudyBudget([*runs, compose(["data=digits", *mate, f"root={tmp_path}", target])])
    for each in runs:
        budget.grant(each)
        buy(each)
        with pytest.raises(BudgetExhausted):
            buy(each, again="once more")
    (found,) = budgets(runs[0])
    assert found.neighbouring == ADD_OR_REMOVE
    # A hair more where kinds of accounting meet: the exact conversion of Gaussian releases is tighter than that of a curve.
    assert found.spent_epsilon <= 2 * epsilon * 1.01


def buy(resolved: Resolved, again: str = "") -> None:
    """Charge what the run would."""
    privacy = resolved.config.privacy
    found = noises(resolved.method, epsilon=privacy.target_epsilon, delta=privacy.target_delta)
    key = f"{resolved.config.seed}{again}"
    with Ledger(ledger_url(resolved)) as ledger:
        ledger.charge_all(
            [Charge("digits", f"{key}/{i}", GaussianEvent(s), "a test") for i, s in enumerate(found) if s is not None]
        )


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., runner.Comparison]:
    """Run a study of these arms, each given by its overrides; condensing needs no Ray session."""
    monkeypatch.setattr(runner, "ray_session", lambda **_: contextlib.nullcontext())

    def compare(said: list[str], **arms: list[str]) -> runner.Comparison:
        lines = [f"  {name}: {{overrides: [{', '.join(own)}]}}" for name, own in arms.items()]
        path = tmp_path / "small.yaml"
        path.write_text("\n".join([f"common: [{', '.join(TINY)}]", "arms:", *lines]), encoding="utf-8")
        return runner.compare(make_plan(path, [f"root={tmp_path}"]), say=said.append)

    return compare


def test_a_study_without_any_charge_is_compared_without_a_ledger(
    tmp_path: Path, compared: Callable[..., runner.Comparison]
) -> None:
    said: list[str] = []
    comparison = compared(said, random=["method=random_real", "method.audit=0"], herding=["method=herding"])
    assert [t.state for arm in comparison.arms for t in arm.trials] == ["done", "done"]
    assert comparison.ledger == () == comparison.remarks
    assert not (tmp_path / "small" / "ledger.db").exists()
    assert not [line for line in said if "granted" in line]


def test_a_study_of_private_and_other_arms_spends_on_the_private_ones(
    tmp_path: Path, compared: Callable[..., runner.Comparison]
) -> None:
    said: list[str] = []
    private = ["method=dp_class_means", "privacy.target_epsilon=3"]
    comparison = compared(
        said, random=["method=random_real"], private=private, more=[*private[:1], "privacy.target_epsilon=5"]
    )
    assert [t.state for arm in comparison.arms for t in arm.trials] == ["done"] * 3
    (line,) = comparison.ledger
    assert ADD_OR_REMOVE in line
    told = {arm.name: arm.done[0].privacy for arm in comparison.arms}
    assert told["random"].coverage == "uncovered"
    assert 2.99 < told["private"].epsilon <= 3 and 4.99 < told["more"].epsilon <= 5
    with Ledger(f"sqlite:///{tmp_path / 'small' / 'ledger.db'}") as ledger:
        assert 5 < ledger.budget("digits").spent_epsilon <= 8
    assert [line for line in said if "granted" in line]
