"""Batches on disk: what comes back, who may write, what is never there."""

from __future__ import annotations

import os
import sqlite3
import uuid

import numpy as np
import pytest
from sqlalchemy import NullPool, create_engine, text
from stillhouse.platform.aggregator.batches import Batch, BatchState, Progress, Result
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.errors import BadInput, LedgerDoubt, TimedOut
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax, InteractiveGNMax
from support.engine_house import House, batch, images, votes

CAREFUL = ConfidentGNMax(threshold=6, sigma1=4.0, sigma2=2.0)
CURIOUS = InteractiveGNMax(threshold=3, sigma1=4.0, sigma2=2.0, confidence=0.9)


class OnServer(House):
    def __init__(self, folder, url):
        super().__init__(folder)
        self.server_url = url

    @property
    def url(self):
        return self.server_url

    def ledger(self, **options):
        return super().ledger(high_water=self.folder / "mark", **options)

    def grant(self):
        self.ledger().grant("scans", epsilon=200.0, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")


def store(house):
    return BatchStore(house.ledger().engine)


def test_a_batch_comes_back_as_it_was(house):
    batches = [
        batch("a", CAREFUL, 1, 2, deadline=3.5),
        batch("b", CURIOUS, 7, student=np.array([[0.1, 0.2, 0.7]])),
    ]
    for one in batches:
        store(house).add(one)
        back = store(house).batch(one.id)
        assert back.hash == one.hash and back.deadline == one.deadline
        assert back.images.tolist() == one.images.tolist()
        assert back.mechanism == one.mechanism
        assert (back.student is None) == (one.student is None)
    assert store(house).result("a").state is BatchState.OPEN
    assert store(house).known_hash("c") is None


def test_progress_comes_back_as_it_was():
    for progress in (
        Progress(),
        Progress(2, ("x", "y"), {"y": 1, "x": 0}, ("y",), 17, 5),
        Progress(plan=(), chosen=()),
    ):
        assert Progress.from_text(progress.to_text()) == progress


def test_who_writes_on_top_of_what_was_not_read_is_refused(house):
    first, second = store(house), store(house)
    first.add(batch("a", CAREFUL, 1))
    read = second.progress("a")
    kept = first.keep_progress("a", Progress(plan=("x",)))
    with pytest.raises(TimedOut, match="another aggregator"):
        second.keep_progress("a", read)
    with pytest.raises(TimedOut, match="another aggregator"):
        second.finish("a", Result.without_answers(BatchState.FAILED, 1), read)
    assert first.progress("a") == kept
    first.finish("a", Result.without_answers(BatchState.FAILED, 1), kept)
    with pytest.raises(TimedOut):
        first.keep_progress("a", kept)


def test_after_a_take_over_the_earlier_one_writes_no_more(house):
    house.grant()
    old, new = house.engine(), house.engine()
    old.recover()
    old.submit(batch("a", CAREFUL, 1))
    [waiting] = new.recover()
    spent = house.spent()
    for work in (
        lambda: old.submit(batch("b", CAREFUL, 2)),
        lambda: old.evaluate("a", votes(waiting.images)),
        lambda: old.fail("a", "late"),
    ):
        with pytest.raises(LedgerDoubt, match="took over"):
            work()
    assert house.spent() == spent, "nothing was charged by the one that is out"
    assert new.evaluate("a", votes(waiting.images)).labels.tolist() == [1]
    other = house.engine(ensemble="second")
    other.recover()
    assert new.submit(batch("c", CAREFUL, 4)) is None, "another ensemble is another matter"


def test_a_batch_that_has_ended_lets_its_images_go(house):
    house.grant()
    engine = house.engine()
    pixels = images(0xABCDEF12).tobytes()
    engine.submit(batch("a", GNMax(2.0), 0xABCDEF12))
    held = "SELECT count(*) FROM aggregator_batches WHERE images = ?"
    with sqlite3.connect(house.folder / "ledger.db") as connection:
        assert connection.execute(held, (pixels,)).fetchone() == (1,)
        engine.evaluate("a", np.zeros((3, 1), np.int64))
        assert connection.execute(held, (pixels,)).fetchone() == (0,)


def test_votes_and_histograms_are_nowhere_on_disk(house):
    """All that is kept of 7 : 3 votes is one noisy label and a decision."""
    house.grant()
    engine = house.engine()
    engine.submit(batch("a", CAREFUL, 1))
    engine.evaluate("a", np.array([[1]] * 7 + [[0]] * 3))
    with sqlite3.connect(house.folder / "ledger.db") as connection:
        row = connection.execute("SELECT images, student, progress, result FROM aggregator_batches").fetchone()
    assert row[:2] == (None, None)
    assert "7" not in row[3] and "[1]" in row[3], "labels, statuses, cost"
    kept = Progress.from_text(row[2])
    assert list(kept.decisions.values()) == [1] and kept.cost == CAREFUL.check_event().nano_rho()


@pytest.mark.postgres
def test_postgres(tmp_path):
    """The same code on a server: asked, killed half-way, taken over, answered, asked again."""
    server = os.environ.get("STILLHOUSE_TEST_POSTGRES")
    if not server:
        pytest.skip("STILLHOUSE_TEST_POSTGRES names no server")
    schema = f"aggregator_{uuid.uuid4().hex}"
    admin = create_engine(server, poolclass=NullPool)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    house = OnServer(tmp_path, f"{server}?options=-csearch_path%3D{schema}")
    try:
        house.grant()
        old = house.engine()
        old.recover()
        assert old.submit(batch("a", CAREFUL, 1, 5, 2)) is None
        new = house.engine()
        [waiting] = new.recover()
        with pytest.raises(LedgerDoubt, match="took over"):
            old.evaluate("a", votes(waiting.images))
        assert new.evaluate("a", votes(waiting.images)).labels.tolist() == [1, -1, 2]
        assert new.submit(batch("b", CAREFUL, 5, 2)).labels.tolist() == [-1, 2]
        assert house.ledger().verify().ok
    finally:
        house.close()
        with admin.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


class TestContent:
    def test_a_prediction_has_one_spelling(self):
        """Floats of 32 bits and of 64, with a negative zero: one query. A cache keyed by float bytes would pay thrice."""
        row = np.array([[0.7, 0.2, 0.1]])
        spellings = [row, row.astype(np.float32), np.asfortranarray(row)]
        assert len({batch("a", CURIOUS, 1, student=s).contents for s in spellings}) == 1
        zeros = [np.array([[1.0, zero, 0.0]]) for zero in (0.0, -0.0)]
        assert len({batch("a", CURIOUS, 1, student=s).contents for s in zeros}) == 1
        assert batch("a", CURIOUS, 1, student=row).contents != batch("a", CURIOUS, 1, student=zeros[0]).contents

    def test_what_is_hashed_is_what_is_used(self):
        student = batch("a", CURIOUS, 1, student=np.array([[1 / 3, 1 / 3, 1 / 3]])).student
        assert (student * 2**24 == np.rint(student * 2**24)).all()

    def test_a_mechanism_that_does_not_look_at_a_student_ignores_it(self):
        plain = batch("a", CAREFUL, 1)
        assert batch("a", CAREFUL, 1, student=np.full((1, 3), 1 / 3)).hash == plain.hash

    def test_memory_layout_does_not_matter(self):
        images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
        turned = np.asfortranarray(images)
        options = {"id": "a", "dataset": "scans", "ensemble": "first", "mechanism": CAREFUL, "deadline": 0.0}
        assert Batch(images=images, **options).contents == Batch(images=turned, **options).contents

    def test_keys_tell_data_sets_ensembles_and_mechanisms_apart(self):
        batches = [
            batch("a", CAREFUL, 1),
            batch("a", GNMax(2.0), 1),
            batch("a", CAREFUL, 1, ensemble="second"),
            batch("a", CAREFUL, 1, dataset="films"),
        ]
        assert len({key for one in batches for key in one.keys.values()}) == 4

    @pytest.mark.parametrize(
        "change",
        [
            {"images": np.zeros((1, 1, 2, 2))},
            {"images": np.zeros((0, 1, 2, 2), np.uint8)},
            {"images": np.zeros((1, 2, 2), np.uint8)},
            {"id": ""},
            {"id": "a" * 201},
            {"id": "a\n"},
            {"mechanism": CURIOUS},
            {"mechanism": CURIOUS, "student": np.full((2, 3), 1 / 3)},
            {"mechanism": CURIOUS, "student": np.array([[1.5, -0.5, 0.0]])},
            {"mechanism": CURIOUS, "student": np.array([[np.nan, 0.5, 0.5]])},
        ],
    )
    def test_what_is_no_batch(self, change):
        good = {"id": "a", "dataset": "scans", "ensemble": "first", "mechanism": CAREFUL, "deadline": 0.0}
        with pytest.raises(BadInput):
            Batch(**{"images": np.zeros((1, 1, 2, 2), np.uint8), **good, **change})
