"""DGD and DP-SGD through the whole stack: curator and aggregator charge one ledger, and it holds what the statement says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import Finished, run
from stillhouse.cluster.session import ray_session
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE
from stillhouse.platform.silo.host import TEACHER

BASELINE = [
    "method.baseline.components=60", "method.baseline.dpsgd.batch_size=250", "method.baseline.dpsgd.steps=40",
    "method.baseline.dpsgd.learning_rate=20",
]  # fmt: skip
DGD = [
    "method=dgd", "silos.teachers=8", "privacy=gnmax", "privacy.mechanism.sigma=3", "privacy.target_epsilon=60", "method.queries=30",
    *BASELINE, "method.synthetic=200", "method.generation.steps=60", "method.generation.batch_size=16", "method.generation.width=8",
    "method.vae.epochs=1", "method.vae.latent=6", "method.vae.width=8", "method.student.components=60", "method.student.steps=40",
    "method.student.procedural=100", "method.student.unlabelled_batch=64", "method.student.regulariser_batch=4",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dgd")


@pytest.fixture(scope="module")
def finished(home: Path) -> Finished:
    return run(compose([*DGD, f"root={home}"]))


def test_the_ledger_holds_baseline_moments_and_labels_and_nothing_else(home: Path, finished: Finished) -> None:
    told = finished.outcome.privacy
    assert told.coverage == "covered"
    assert told.neighbouring == ADD_OR_REMOVE
    assert [release.name for release in told.releases] == [
        "baseline classifier by DP-SGD", "joint moments of labels and features", "noisy label of every query answered",
    ]  # fmt: skip
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        budget = ledger.budget("digits")
        assert budget.kind is BudgetKind.RDP
        assert budget.neighbouring == ADD_OR_REMOVE
        # The ledger adds rounded-up integers at fixed orders, so it may stand a little above the plan, never above the cap.
        assert told.epsilon <= budget.spent_epsilon * (1 + 1e-6) <= 60 * (1 + 1e-6)


def test_the_report_shows_the_contact_sheet_and_the_private_baseline(finished: Finished) -> None:
    page = (finished.folder / "report.html").read_text()
    assert "synthetic-0" in page
    assert "as its discriminator sees them" in page
    bars = {bar.label: bar for bar in finished.report.accuracies}
    assert bars["baseline classifier"].standing == "released"


def test_a_second_start_spends_nothing(home: Path, finished: Finished) -> None:
    again = run(compose([*DGD, f"root={home}"]))
    assert any("spent nothing" in line for line in again.report.this_start)
    assert again.outcome == finished.outcome


def test_labels_only_prints_no_finite_total(tmp_path: Path) -> None:
    told = run(compose([*DGD, "method.coverage=labels_only", f"root={tmp_path}", "diagnostics=false"])).outcome.privacy
    assert math.isinf(told.epsilon)
    assert told.coverage == "uncovered"
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").neighbouring == REPLACE_ONE


def test_a_plan_over_the_target_spends_nothing(tmp_path: Path) -> None:
    # It holds one answer, for which teachers are trained, and not what is planned.
    with pytest.raises(BudgetExhausted, match=r"into it with this noise.*nothing was spent"):
        run(compose([*DGD, "privacy.target_epsilon=3", "method.queries=200", f"root={tmp_path}"]))
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").spent_epsilon == 0


def test_a_budget_about_other_neighbours_is_refused(tmp_path: Path) -> None:
    run(
        compose([*DGD, "method.coverage=public_inputs", "method.source=mixed", f"root={tmp_path}", "diagnostics=false"])
    )
    with pytest.raises(BadInput, match="an epsilon for one says nothing of the other"):
        run(compose(["method=dpsgd", *BASELINE, f"root={tmp_path}"]))


def test_dpsgd_needs_no_silos(tmp_path: Path, finished: Finished) -> None:
    plain = run(compose(["method=dpsgd", *BASELINE, "privacy.target_epsilon=8", f"root={tmp_path}"]))
    assert 0.9 * 8 < plain.outcome.privacy.epsilon <= 8
    assert plain.report.spending is None
    assert list(finished.folder.rglob(TEACHER)) and not list(plain.folder.rglob(TEACHER))


def test_an_unknown_score_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="use one of protocol, test"):
        run(compose(["method=dpsgd", "data.score=all", f"root={tmp_path}"]))
