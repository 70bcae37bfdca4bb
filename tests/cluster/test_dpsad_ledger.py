"""Every way to a private generator through the whole stack, on a real ledger: what it charges, that a second start pays nothing, and
that what does not fit is refused before anything is computed or asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stillhouse.cluster.budget import ledger_url
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import run
from stillhouse.cluster.session import ray_session
from stillhouse.methods.diffusion.synthetic import read_synthetic
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.events import event_from_json
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE

EPSILON = 20.0
SMALL = [
    "data=digits", "data.score=test", "diagnostics=false", f"privacy.target_epsilon={EPSILON}", "cluster.num_cpus=3",
    "method.judging.images=20", "method.judging.evaluation.repeats=1", "method.judging.evaluation.networks=[cnn]",
    "method.judging.evaluation.recipe.steps=2", "method.judging.proxy.steps=2",
]  # fmt: skip
SILOS = [
    "silos=diffusion", "silos.teachers=6", "silos.per_actor=3", "silos.teacher.hidden=16", "silos.teacher.steps=10",
    "silos.teacher.critic_width=8", "silos.deadline_seconds=200", "method.student.hidden=16", "method.rungs=2",
    "method.distillation.steps=3", "method.distillation.batch_size=10",
]  # fmt: skip
DPSGD = ["method.dpsgd.steps=4", "method.student.hidden=16", "method.rungs=2", "method.draws=2"]
TEACHER = ["method.teacher.hidden=16", "method.teacher_images=30", "method.distillation.steps=3"]
# The relation that each one's epsilon is about, and how many entries of the ledger it is charged as.
ROUTES = {
    "dp_mean_images": ([], ADD_OR_REMOVE, 1),
    "dp_merf": (["method.steps=20", "method.frequencies=100"], ADD_OR_REMOVE, 1),
    "dpsad_v1": (DPSGD, ADD_OR_REMOVE, 1),
    "dpsad_dp_teacher": ([*DPSGD, *TEACHER], ADD_OR_REMOVE, 1),
    "dpsad": ([*SILOS, "method.queries=40", "method.distillation.critic.width=8"], REPLACE_ONE, 2),
    "dpsad_v3": (SILOS, REPLACE_ONE, 3),
    "dpsad_v2": (SILOS, REPLACE_ONE, 3),
}
BY_ONE = ("dp_mean_images", "dpsad_v1")


def routes() -> list[object]:
    return [name if name in BY_ONE else pytest.param(name, marks=pytest.mark.slow) for name in ROUTES]


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(num_cpus=3):
        yield


@pytest.mark.parametrize("method", routes())
def test_what_a_private_generator_charges(method: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("diffusers")
    more, relation, entries = ROUTES[method]
    if more[:1] == SILOS[:1]:
        request.getfixturevalue("session")
    settings = [f"method={method}", *SMALL, *more, f"root={tmp_path}"]
    finished = run(compose(settings))
    told = finished.outcome.privacy
    assert (told.coverage, told.neighbouring, told.delta) == ("covered", relation, 1e-4)
    assert 0.98 * EPSILON < told.epsilon <= EPSILON
    assert read_synthetic(finished.folder / "synthetic.npz")[3].epsilon == told.epsilon

    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        budget = ledger.budget("digits")
        charges = [json.loads(entry.body) for entry in ledger.entries("digits") if entry.what == "charge"]
    assert len(charges) == entries and budget.neighbouring == relation
    # The statement's releases, priced again from nothing, are its epsilon; the ledger rounds charges up and never down.
    events = [event_from_json(dict(release.event_json)) for release in told.releases]
    assert told.epsilon == pytest.approx(plan_epsilon(events, told.delta), rel=1e-9)
    assert told.epsilon <= budget.spent_epsilon * (1 + 1e-9)
    assert budget.spent_epsilon <= budget.epsilon

    again = run(compose(settings))
    assert again.outcome == finished.outcome
    other = compose([*settings, "seed=1"])
    with pytest.raises(BudgetExhausted):
        run(other)
    assert not (other.folder / "outcome.json").exists() and not (other.folder / "synthetic.npz").exists()
    with Ledger(ledger_url(other)) as ledger:
        assert ledger.budget("digits").spent_epsilon == budget.spent_epsilon
        assert [entry.what for entry in ledger.entries("digits")].count("charge") == entries
