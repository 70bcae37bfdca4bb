"""The private form as a method: it holds no record, asks before it buys, buys once, and its result follows from what it bought."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from stillhouse.methods.condensation import Condensation
from stillhouse.methods.condensation.condensed import FILE, CondensedSet
from stillhouse.methods.condensation.evaluation import Evaluation
from stillhouse.methods.condensation.formation import compose, decode
from stillhouse.methods.condensation.private import PrivatePixels, Release
from stillhouse.methods.condensation.recipe import Recipe
from stillhouse.methods.condensation.releases import TERMS, prepare
from stillhouse.methods.condensation.standard import Standard
from stillhouse.methods.labelled import LabelledData
from stillhouse.methods.private import PrivateWork
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import budget_cap, event_cost
from stillhouse.platform.privacy.events import Event, GaussianEvent
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun, Run

DELTA = 1e-4
RECORDS = 200
DM = Condensation(
    algorithm="dm_dp", dp=True, loss="mean", initial="class_means", ipc=1, factor=2, iterations=6,
    release=Release(encoders=1, frequencies=32), evaluation=Evaluation(repeats=1, recipe=Recipe(steps=2)),
)  # fmt: skip
M3D = replace(DM, algorithm="m3d_dp", loss="gaussian")
MEANS = replace(DM, algorithm="dp_class_means", loss="gaussian", factor=1, iterations=0)
BOUGHT = {
    "dm_dp": ["mean image of each class, and pixel variances", "mean embeddings of each class"],
    "m3d_dp": ["mean image of each class, and pixel variances", "mean embeddings of each class"],
    "dp_class_means": ["mean image of each class, and pixel variances"],
}


class Owner:
    """All records in one place and a budget of Gaussian releases; says what was done, in order."""

    def __init__(self, *, epsilon: float = 8.0) -> None:
        self.private = load("digits").private.take(range(RECORDS))
        (self.left,) = budget_cap(TERMS.kind, epsilon=epsilon, delta=DELTA)
        self.did: list[str] = []
        self.charged: list[Event] = []
        self.dies_at = ""

    @property
    def records(self) -> int:
        return len(self.private)

    def refuse_unless_affordable(self, events: Sequence[tuple[str, Event]], *, mend: str) -> None:
        self.did.append("asked")
        if sum(event_cost(TERMS.kind, event)[0] for _, event in events) > self.left:
            raise BudgetExhausted("it does not fit", why="nothing was spent", mend=mend)

    def release(self, work: PrivateWork, run: Run) -> Any:
        for _, event in work.events(self.records):
            self.left -= event_cost(TERMS.kind, event)[0]
            assert self.left >= 0
            self.charged.append(event)
        self.did.append(work.purpose)
        if work.purpose == self.dies_at:
            raise MemoryError("a crash after the charge")
        return work.compute(self.private, run)


def data_of(owner: Owner | None, *, epsilon: float = 8.0, delta: float = DELTA) -> LabelledData:
    score = load("digits").score.take(range(60))
    return LabelledData(
        train=None, test=score, protocol="test", identity="digits-test", shared=Path("nowhere"), epsilon=epsilon, delta=delta,
        curator=owner,
    )  # fmt: skip


def finish(method: Condensation, data: LabelledData, folder: Path, *, seed: int = 0) -> Outcome:
    return execute(method, data, LocalRun(folder, seed=seed, reporter=Silent()))


def images_of(folder: Path) -> torch.Tensor:
    return CondensedSet.read(folder / FILE).images


@pytest.mark.parametrize("method", [DM, M3D, MEANS], ids=lambda method: method.algorithm)
def test_a_set_is_condensed_from_what_was_asked_for_then_bought(method: Condensation, tmp_path: Path) -> None:
    owner = Owner()
    outcome = finish(method, data_of(owner), tmp_path)
    assert owner.did == ["asked", *BOUGHT[method.algorithm]]
    told = outcome.privacy
    assert (told.coverage, told.neighbouring, told.delta) == ("covered", ADD_OR_REMOVE, DELTA)
    assert [release.name for release in told.releases] == BOUGHT[method.algorithm]
    assert [release.event_json for release in told.releases] == [event.to_json() for event in owner.charged]
    assert 0.999 * 8 < told.epsilon <= 8
    assert told.epsilon == plan_epsilon(owner.charged, DELTA) == outcome.metrics["epsilon"].value
    assert all(0 < release.epsilon_conversion <= told.epsilon for release in told.releases)
    made = CondensedSet.read(tmp_path / FILE)
    assert made.images.shape == (10, 1, 8, 8) and made.images.min() >= 0 and made.images.max() <= 1
    # Neither a standardisation by records nor a look at records, to audit or to compare with.
    assert made.standard == Standard.constant(1)
    assert not outcome.baselines and not [name for name in outcome.metrics if "membership" in name]
    assert method.charges and method.budget_terms(epsilon=8, delta=DELTA) == TERMS
    assert method.preparations(data_of(owner)) == []


@pytest.mark.parametrize("method", [DM, MEANS], ids=lambda method: method.algorithm)
def test_a_second_start_finds_the_releases_and_pays_nothing(method: Condensation, tmp_path: Path) -> None:
    owner = Owner()
    first = finish(method, data_of(owner), tmp_path)
    images, did = images_of(tmp_path), list(owner.did)
    shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    shutil.rmtree(tmp_path / "networks")
    (kept,) = tmp_path.rglob("releases/*.safetensors")
    with safe_open(kept, "pt") as file:
        # An event's relation is named in the ledger and in the statement. Stages of older runs do not have it.
        assert "squared_sensitivity" in file.metadata()["inputs"] and "holds_for" not in file.metadata()["inputs"]
    again = finish(method, data_of(owner), tmp_path)
    assert owner.did == did and again.metrics == first.metrics and again.privacy == first.privacy
    assert torch.equal(images_of(tmp_path), images)


def test_what_is_done_with_a_release_costs_nothing_more(tmp_path: Path) -> None:
    owner = Owner()
    finish(DM, data_of(owner), tmp_path)
    did = list(owner.did)
    finish(replace(DM, iterations=3, ipc=2, factor=1, learning_rate=0.1), data_of(owner), tmp_path)
    assert owner.did == did


def test_a_crash_before_the_releases_are_kept_is_paid_for_again(tmp_path: Path) -> None:
    owner = Owner(epsilon=30.0)
    owner.dies_at = BOUGHT["dm_dp"][1]
    with pytest.raises(MemoryError):
        finish(DM, data_of(owner), tmp_path)
    assert not (tmp_path / FILE).exists()
    owner.dies_at = ""
    finish(DM, data_of(owner), tmp_path)
    assert owner.did == ["asked", *BOUGHT["dm_dp"]] * 2
    assert len(owner.charged) == 4


def test_a_crash_that_used_up_the_budget_ends_it(tmp_path: Path) -> None:
    owner = Owner()
    owner.dies_at = BOUGHT["dm_dp"][0]
    with pytest.raises(MemoryError):
        finish(DM, data_of(owner), tmp_path)
    owner.dies_at = ""
    with pytest.raises(BudgetExhausted):
        finish(DM, data_of(owner), tmp_path)
    assert owner.did == ["asked", BOUGHT["dm_dp"][0], "asked"]


def test_a_plan_over_the_budget_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    owner = Owner(epsilon=7.9)
    before = owner.left
    with pytest.raises(BudgetExhausted, match=r"method\.release\.sigma"):
        finish(DM, data_of(owner), tmp_path)
    assert owner.did == ["asked"] and owner.left == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_noise_that_is_given_is_held_against_the_budget_too(tmp_path: Path) -> None:
    owner = Owner(epsilon=1.0)
    loud = replace(DM, release=replace(DM.release, sigma=20.0))
    with pytest.raises(BudgetExhausted):
        finish(replace(DM, release=replace(DM.release, sigma=0.5)), data_of(owner, epsilon=1.0), tmp_path)
    assert owner.did == ["asked"]
    told = finish(loud, data_of(owner, epsilon=1.0), tmp_path).privacy
    # What it cost is said, not what it might have: the target is 1, and both together are one release of noise 20.
    assert told.epsilon == pytest.approx(plan_epsilon([GaussianEvent(20.0)], DELTA))


def test_two_kinds_of_release_of_the_same_noise_are_not_taken_for_one_another(tmp_path: Path) -> None:
    # Arms of a study share a folder; with one release each, these two cost the same.
    owner = Owner(epsilon=30.0)
    finish(replace(M3D, initial="noise"), data_of(owner), tmp_path)
    finish(MEANS, data_of(owner), tmp_path)
    assert owner.charged[0] == owner.charged[1]
    assert [name for name in owner.did if name != "asked"] == BOUGHT["m3d_dp"][::-1]


@pytest.mark.parametrize(
    "other",
    [
        "another epsilon",
        "another draw",
        "another seed",
    ],
)
def test_what_was_condensed_from_another_release_is_not_taken_over(other: str, tmp_path: Path) -> None:
    owner = Owner(epsilon=100.0)
    finish(DM, data_of(owner), tmp_path)
    images = images_of(tmp_path)
    if other == "another draw":
        shutil.rmtree(tmp_path / "stages")
    seed, epsilon = int(other == "another seed"), 1.0 if other == "another epsilon" else 8.0
    finish(DM, data_of(owner, epsilon=epsilon), tmp_path, seed=seed)
    assert len(owner.charged) == 4
    assert not torch.equal(images_of(tmp_path), images)


def test_a_set_is_not_judged_by_what_another_releases_set_scored(tmp_path: Path) -> None:
    owner = Owner(epsilon=100.0)
    finish(MEANS, data_of(owner, epsilon=50.0), tmp_path)
    run = LocalRun(tmp_path, reporter=Silent())
    execute(MEANS, data_of(owner, epsilon=0.5), run)
    (judged,) = (tmp_path / "networks").glob("*")
    assert len(list((judged / "stages" / "scores").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("factor", [1, 2])
def test_the_start_is_class_means_one_to_a_tile(factor: int, tmp_path: Path) -> None:
    owner = Owner(epsilon=1e6)
    asked = replace(DM, factor=factor, ipc=40, release=replace(DM.release, sigma=1e-3))
    start = prepare(asked, data_of(owner), LocalRun(tmp_path, reporter=Silent())).start
    assert start.shape == (10, 40, 1, 8, 8)
    assert start.min() >= 0 and start.max() <= 1
    flat = owner.private.images / 255
    means = np.stack([flat[owner.private.labels == k].mean(0) for k in range(10)])
    for k in range(10):
        tiles = decode(start[k], factor)
        seen = decode(compose(torch.from_numpy(means[k]).float().expand(factor**2, 1, 8, 8), factor), factor)[0]
        assert torch.corrcoef(torch.stack([tiles.mean(0).flatten(), seen.flatten()]))[0, 1] > 0.97
        # Around the mean, not the mean: no two of them are alike.
        assert tiles.std(0).mean() > 0.02


def test_noise_is_a_start_that_costs_nothing(tmp_path: Path) -> None:
    owner = Owner()
    run = LocalRun(tmp_path, reporter=Silent())
    made = prepare(replace(DM, initial="noise"), data_of(owner), run)
    assert owner.did == ["asked", BOUGHT["dm_dp"][1]]
    torch.manual_seed(5)
    other = prepare(replace(DM, initial="noise"), data_of(Owner()), LocalRun(tmp_path / "other", reporter=Silent()))
    assert torch.equal(made.start, other.start)
    assert made.membership is None and made.full_data is None


def test_the_curator_is_given_bounded_work_and_no_more(tmp_path: Path) -> None:
    # What crosses to the owner: two works with their noise. What comes back: sums of one shape, whatever the records are.
    owner = Owner()
    run = LocalRun(tmp_path, reporter=Silent())
    prepare(DM, data_of(owner), run)
    (kept,) = (tmp_path / "stages" / "releases").glob("*.safetensors")
    pixels = PrivatePixels(owner.charged[0].sigma)  # type: ignore[attr-defined]
    assert pixels.events(3) == pixels.events(RECORDS) == [(pixels.purpose, owner.charged[0])]
    assert owner.private.content_hash().encode() not in kept.read_bytes()


def test_without_a_curator_or_a_delta_nothing_is_released(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all records in one place"):
        finish(DM, data_of(None), tmp_path)
    owner = Owner()
    for method in (DM, replace(DM, release=replace(DM.release, sigma=20.0))):
        with pytest.raises(BadInput, match="delta must lie strictly between 0 and 1"):
            finish(method, data_of(owner, delta=0.0), tmp_path)
    assert owner.did == []


def test_a_method_without_dp_gets_no_records_from_a_curator(tmp_path: Path) -> None:
    owner = Owner()
    with pytest.raises(BadInput, match=r"looks at records.*method\.dp=true"):
        finish(replace(DM, dp=False, initial="first"), data_of(owner), tmp_path)
    assert owner.did == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"encoder": "middle"}, "experts learn from records"),
        ({"encoder": "middle", "calibration": True}, "experts learn from records"),
        ({"full_data": True}, "experts learn from records"),
        ({"initial": "random"}, "records would be in what is released"),
        ({"initial": "first"}, "records would be in what is released"),
        ({"initial": "herding"}, "records would be in what is released"),
        ({"initial": "nowhere"}, "the starts are"),
        ({"loss": "poly2"}, "no private form"),
        ({"loss": "linear"}, "no private form"),
        ({"loss": "median"}, "loss is 'median'"),
        ({"initial": "noise", "iterations": 0}, "nothing would be learnt"),
        ({"pixels": False}, "steps on pixels"),
        ({"dp": False}, "initial is 'class_means'"),
    ],
)
def test_settings_that_would_show_records_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        replace(DM, **wrong)
