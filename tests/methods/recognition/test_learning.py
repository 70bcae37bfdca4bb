"""The loop: what reaches whom, that a restart ends alike, that the teacher stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition import embedding, learning
from stillhouse.methods.recognition.augmentation import Augmentation, Draw, augmented
from stillhouse.methods.recognition.crrcd.loss import Relation
from stillhouse.methods.recognition.embedding import embed, maps_of, templates
from stillhouse.methods.recognition.kept import weights_hash
from stillhouse.methods.recognition.learning import CachedViews, Distiller, LiveViews, fit_student
from stillhouse.methods.recognition.preparing import NoViews, prepare_teacher
from stillhouse.methods.recognition.seen import Batch, Seen
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training import loop
from stillhouse.platform.training.run import LocalRun

from .few_faces import LITTLE, few_faces, method, silent_run

CRRCD = Terms(kd=0.5, crrcd=2.0, crrcd_settings=Relation(negatives=4, queue=16, dimension=8, hidden=8))
DATA = few_faces()


def prepared(run: LocalRun, terms: Terms = CRRCD, **teacher: Any) -> Any:
    own = method(terms)
    settings = replace(own.teacher, **teacher)
    train = DATA.train
    return prepare_teacher(
        run, settings, terms, own.head, train.pictures, train.identities, classes=train.people, identity=train.content_hash()
    )  # fmt: skip


def fitted(run: LocalRun, made: Any, own: Any) -> learning.Learnt:
    train = DATA.train
    return fit_student(
        run,
        own,
        train.pictures,
        train.identities,
        classes=train.people,
        views=made.views,
        teacher_head=made.head,
        identity="x",
    )


def test_cached_views_are_live_views_of_pictures_and_their_mirror_images(tmp_path: Path) -> None:
    made = prepared(silent_run(tmp_path / "run"))
    assert isinstance(made.views, CachedViews) and made.views.maps == ()
    live = LiveViews(made.teacher, made.teacher.embedding_length, made.teacher.maps)
    numbers, pixels = torch.tensor([3, 0, 17, 8]), torch.from_numpy(DATA.train.read([3, 0, 17, 8]))
    draw = Draw(torch.tensor([True, False, True, False]), torch.zeros(2, 4), torch.ones(4))
    high = augmented(pixels, draw)
    assert torch.allclose(made.views(numbers, draw, high).embedding, live(numbers, draw, high).embedding, atol=1e-5)
    assert not torch.allclose(
        made.views(numbers, draw, high).embedding[0], live(numbers, draw, high.flip(3)).embedding[0], atol=1e-3
    )


def test_the_teacher_is_bit_identical_afterwards_and_never_given_a_gradient(tmp_path: Path) -> None:
    run = silent_run(tmp_path / "run")
    terms = replace(CRRCD, at=100.0)  # looks at maps, so the teacher is asked at every step
    made = prepared(run, terms)
    assert isinstance(made.views, LiveViews)
    before = weights_hash(made.teacher)
    learnt = fitted(run, made, method(terms))
    assert weights_hash(made.teacher) == before
    assert all(parameter.grad is None for parameter in made.teacher.parameters())
    assert not made.teacher.training
    assert learnt.trained.means["at"] > 0


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kill the training after so many steps, a checkpoint after each."""
    original = loop.train

    def arrange(step: int) -> None:
        def impatient(run: Any, *args: Any, **kwargs: Any) -> Any:
            after = kwargs.get("after_step") or (lambda number: None)

            def count(number: int) -> None:
                after(number)
                if number == step and run.restore("student-killed") is None:
                    run.checkpoint({"killed": True}, "student-killed")
                    raise KeyboardInterrupt

            return original(run, *args, **{**kwargs, "after_step": count, "checkpoint_seconds": 0.0, "check_every": 1})

        monkeypatch.setattr(learning, "train", impatient)

    return arrange


def test_a_killed_training_ends_as_an_uninterrupted_one(tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    own = method(CRRCD, recipe=replace(LITTLE, epochs=4, augmentation=Augmentation()))
    whole_run = silent_run(tmp_path / "whole")
    whole = fitted(whole_run, prepared(whole_run), own)
    run = silent_run(tmp_path / "killed")
    made = prepared(run)
    stop_at(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(run, made, own)
    resumed = fitted(run, made, own)
    assert resumed.trained.resumed_at == 4  # the checkpoint before the step at which it was killed
    assert weights_hash(resumed.student) == weights_hash(whole.student)
    assert weights_hash(resumed.head) == weights_hash(whole.head)
    assert resumed.trained.means == pytest.approx(whole.trained.means)


def test_batches_of_people_end_alike_after_a_kill_too(tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    recipe = replace(LITTLE, epochs=3, people_per_batch=4, pictures_per_person=3)
    own = method(Terms(instance=1.0, relation=1.0), recipe=recipe)
    whole_run = silent_run(tmp_path / "whole")
    whole = fitted(whole_run, prepared(whole_run, own.terms), own)
    run = silent_run(tmp_path / "killed")
    made = prepared(run, own.terms)
    stop_at(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(run, made, own)
    assert weights_hash(fitted(run, made, own).student) == weights_hash(whole.student)


def test_terms_are_given_what_the_teacher_and_the_student_see_of_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of both embeddings belong together, and labels and logits to them."""
    run = silent_run(tmp_path / "run")
    made = prepared(run, Terms(kd=0.5))
    seen: list[Batch] = []
    forward = Distiller.forward

    def look(self: Distiller, *args: Any) -> Any:
        found = forward(self, *args)
        assert self._last is not None
        seen.append(self._last)
        return found

    monkeypatch.setattr(Distiller, "forward", look)
    fitted(run, made, method(Terms(kd=0.5)))
    rows = embed(run, made.teacher, DATA.train.pictures, lambda pictures: pictures)
    for batch in seen:
        assert batch.labels.tolist() == DATA.train.identities[batch.indices.numpy()].tolist()
        distances = np.abs(rows[batch.indices.numpy()] - batch.teacher.embedding.numpy()[:, None]).max(2)
        assert (distances.min(1) < 1e-5).all()
        assert torch.allclose(made.head(batch.teacher.embedding), batch.teacher_logits)
        assert not batch.teacher.embedding.requires_grad and not batch.teacher_logits.requires_grad
    progress = [batch.progress for batch in seen]
    assert progress == [step / len(seen) for step in range(len(seen))]


def test_labels_alone_ask_no_teacher(tmp_path: Path) -> None:
    run = silent_run(tmp_path / "run")
    made = prepared(run, Terms())
    assert isinstance(made.views, NoViews) and made.head is None
    learnt = fitted(run, made, method())
    assert learnt.trained.means["loss"] == pytest.approx(learnt.trained.means["class"])
    assert not (tmp_path / "shared" / "recognition" / "teacher-embeddings").exists()


@pytest.mark.slow
def test_a_student_learns_to_tell_the_people_apart(tmp_path: Path) -> None:
    run = silent_run(tmp_path / "run")
    own = method(Terms(kd=0.5), recipe=replace(LITTLE, epochs=30))
    made = prepared(run, Terms(kd=0.5))
    learnt = fitted(run, made, own)
    low = templates(embed(run, learnt.student, DATA.train.pictures, own.degradation), flip=False)
    with torch.no_grad():
        answers = learnt.head(torch.from_numpy(low)).argmax(1).numpy()
    assert (answers == DATA.train.identities).mean() > 0.7  # a chance of one in eight


def test_two_starts_and_two_runs_share_a_teacher(tmp_path: Path) -> None:
    first, second = (silent_run(tmp_path / name) for name in ("first", "second"))
    one, two = prepared(first), prepared(second)
    assert one.identity == two.identity
    assert second.reused == ["teacher", "teacher-embeddings"]
    other = silent_run(tmp_path / "other", seed=1)
    assert prepared(other).identity != one.identity and other.reused == []


def test_maps_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    run = silent_run(tmp_path / "run")
    made = prepared(run, Terms(at=1.0), cache=True)
    live = LiveViews(made.teacher, made.teacher.embedding_length, made.teacher.maps)
    assert isinstance(made.views, CachedViews) and made.views.maps == live.maps != ()
    numbers, pixels = torch.tensor([3, 0, 17, 8]), torch.from_numpy(DATA.train.read([3, 0, 17, 8]))
    draw = Draw(torch.tensor([True, False, True, False]), torch.zeros(2, 4), torch.ones(4))
    high = augmented(pixels, draw)
    kept, asked = made.views(numbers, draw, high), live(numbers, draw, high)
    assert len(kept.maps) == len(asked.maps)
    for one, other in zip(kept.maps, asked.maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)  # half precision has eleven bits
    assert fitted(run, made, method(Terms(at=1.0))).trained.means["at"] > 0
    again = silent_run(tmp_path / "again")
    prepared(again, Terms(at=1.0, sp=1.0), cache=True)
    assert "teacher-maps" in again.reused


def test_maps_that_memory_or_half_precision_cannot_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, huge = silent_run(tmp_path / "run"), torch.full((1, 1, 1, 1), 1e5)
    with pytest.raises(BadInput, match="above 65,504"):
        maps_of(run, lambda pictures: Seen(pictures, (huge.expand(len(pictures), -1, -1, -1),)), DATA.train.pictures)
    monkeypatch.setattr(embedding, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match="would take"):
        prepared(run, Terms(at=1.0), cache=True)
