"""Before a student learns: the teacher is read or trained, tested, and asked once about all training pictures where that suffices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...platform.data.degradation import Degradation
from ...platform.data.faces import Pictures
from ...platform.errors import BadInput
from ...platform.training.run import Run
from ...platform.verification.roc import auc
from ...platform.verification.scores import unit
from .embedding import embed, maps_of
from .heads import Head, Margin
from .kept import kept_beside, weights_hash
from .learning import CachedViews, LiveViews, Views
from .preprocessing import Preprocessing, check_preprocessing
from .seen import Seen
from .teacher import CentredTeacher, NetworkTeacher, Teacher, TeacherSettings, frozen
from .teacher_files import read_teacher
from .teacher_training import fitted_head, trained_teacher
from .terms import Terms

MOST_OF_ONE = 5  # pictures of one person in the self-test


@dataclass(frozen=True, eq=False)
class Prepared:
    """The teacher, frozen, on the run's device; as `shown`, centred if the settings say so; what it shows the student; its classifier,
    if a term compares answers.

    `classifier` is one on its embeddings, if it has or was given one, also where no term looks at it. `weights` (JSON)
    changes with its weights and preprocessing, `identity` also with how it is asked.
    """

    teacher: Teacher
    shown: nn.Module
    views: Views
    head: Head | None
    classifier: Head | None
    weights: Any
    identity: Any
    notes: tuple[str, ...]


class NoViews:
    """For a student that learns from labels alone: the teacher is not asked."""

    maps: tuple[int, ...] = ()
    embedding_length = 1

    def __call__(self, numbers: Tensor, draw: Any, pictures: Tensor) -> Seen:
        """An embedding that says nothing."""
        return Seen(pictures.new_zeros(len(pictures), 1))


def prepare_teacher(
    run: Run, settings: TeacherSettings, terms: Terms, margin: Margin, pictures: Pictures, labels: np.ndarray, *, classes: int,
    identity: str, looked_at: bool = False,
) -> Prepared:  # fmt: skip
    """Make ready what a student learns from.

    Args:
        run: the run.
        settings: which teacher.
        terms: what will be compared.
        margin: of the student's head: the teacher's answers, where a classifier has to be fitted, have the same scale.
        pictures, labels, classes: the training set in high resolution.
        identity: hash of the training set.
        looked_at: whether more than these terms looks at it.

    Raises:
        BadInput: the teacher cannot be read, is not what the settings say, or shows no maps where a term looks at them.
    """
    if classes < 2:
        raise BadInput(
            "the training set shows one person", why="there is nobody to tell apart", mend="give more people"
        )
    own_head: Head | None = None
    notes: list[str] = []
    if settings.source == "train":
        made, own_head = trained_teacher(run, settings, pictures, labels, classes=classes, identity=identity)
        module: nn.Module = made
    else:
        channels = pictures.read([0]).shape[1]
        module = read_teacher(settings, side=pictures.size[0], channels=channels)
    module = frozen(module, run.device)
    assert isinstance(module, Teacher)
    teacher: Teacher = module
    if isinstance(module, NetworkTeacher) and settings.source != "train" and settings.check:
        notes += _self_test(run, module, pictures, labels, settings.check)
    which = {"weights": weights_hash(module), "size": teacher.size, "name": teacher.name}
    if isinstance(module, NetworkTeacher):
        which["preprocessing"] = module.preprocessing.in_words()

    def embedded() -> np.ndarray:
        inputs = {"teacher": which, "data": identity}
        found = kept_beside(run, "teacher-embeddings", lambda: embed(run, teacher, pictures, lambda p: p), inputs)
        return np.asarray(found)

    centre: np.ndarray | None = None
    if settings.centred and (terms.names or looked_at):
        centre = embedded().mean((0, 1), dtype=np.float64).astype(np.float32)
        module = frozen(CentredTeacher(teacher, torch.from_numpy(centre)), run.device)
        notes.append(
            "what is learnt of the teacher's embeddings is learnt of them less their mean over the training pictures"
        )
    how = {"teacher": which, "centred": centre is not None}
    if not terms.names:
        return Prepared(teacher, module, NoViews(), None, _still(own_head, run), which, how, tuple(notes))
    cached = not terms.needs_maps if settings.cache is None else settings.cache
    answers = needs_answers(terms)
    embeddings = None
    if cached or (answers and own_head is None):
        embeddings = embedded() if centre is None else embedded() - centre
    head = own_head if answers else None
    if answers and head is None:
        assert embeddings is not None
        fitted = embeddings
        head = fitted_head(
            fitted, labels, classes=classes, settings=margin, steps=settings.head_steps, seed=run.seed_for("teacher head")
        )  # fmt: skip
    views: Views
    if cached:
        assert embeddings is not None
        maps: tuple[np.ndarray, ...] = ()
        if terms.needs_maps and teacher.maps:
            inputs = {"teacher": which, "data": identity}
            maps = tuple(kept_beside(run, "teacher-maps", lambda: maps_of(run, teacher, pictures), inputs))
        views = CachedViews(embeddings, run.device, maps)
        what = "embeddings and maps" if maps else "embeddings"
        notes.append(f"the teacher's {what} of training pictures and their mirror images were computed once")
    else:
        views = LiveViews(module, teacher.embedding_length, teacher.maps)
    how = {**how, "cached": cached, "head": "own" if own_head is not None else settings.head_steps}
    still = _still(head if own_head is None else own_head, run)
    return Prepared(teacher, module, views, still if answers else None, still, which, how, tuple(notes))


def _still(head: Head | None, run: Run) -> Head | None:
    return None if head is None else head.to(run.device).eval().requires_grad_(False)


def needs_answers(terms: Terms) -> bool:
    """Whether a term compares the answers of both classifiers."""
    return bool(terms.kd) or bool(terms.instance and terms.aird_settings.logit)


def check_sizes(degradation: Degradation, size: tuple[int, ...]) -> None:
    """Refuse pictures of (height, width) that are not square, or smaller than low resolution. (Of one size: plain distillation.)"""
    height, width = size
    if height != width or degradation.size > height:
        raise BadInput(
            f"pictures of {height} x {width} for a degradation to {degradation.size} pixels",
            why="high resolution is square, and not smaller than low resolution",
            mend="set method.degradation.size to less, or give larger pictures",
        )


def _self_test(run: Run, teacher: NetworkTeacher, pictures: Pictures, labels: np.ndarray, count: int) -> list[str]:
    chosen = some_of_each(labels, count, seed=run.seed_for("self-test"))
    if chosen is None:
        return ["the teacher's preprocessing was not tested: nobody has two pictures"]
    who = labels[chosen]
    first, second = np.triu_indices(len(chosen), 1)
    given = teacher.preprocessing

    def separation(how: Preprocessing) -> float:
        teacher.preprocessing = how
        try:
            rows = unit(embed(run, teacher, pictures, lambda p: p, numbers=chosen)[:, 0])
        finally:
            teacher.preprocessing = given
        return auc((rows[first] * rows[second]).sum(1), who[first] == who[second])

    with torch.no_grad():
        return [check_preprocessing(given, separation)[1]]


def some_of_each(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray | None:
    """Numbers of at most `count` pictures, two to five of each person while they last; None if nobody has two."""
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for person in generator.permutation(np.unique(labels)):
        own = np.flatnonzero(labels == person)
        if len(own) >= 2 and len(chosen) + 2 <= count:
            most = min(MOST_OF_ONE, count - len(chosen))
            chosen += generator.permutation(own)[:most].tolist()
    people = len(np.unique(labels[chosen])) if chosen else 0
    return np.array(chosen, np.int64) if people >= 2 else None
