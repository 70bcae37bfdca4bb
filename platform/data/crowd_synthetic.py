"""Crowds made by a rule: who labels how much, who labels what, and how each of them errs.

Workloads are long-tailed, as in real crowds: annotator r is asked with a weight w_r ~ Beta(a, b), and an item gets 1 + Poisson answers
by different annotators drawn by these weights (independent and correlated noise as Zhang et al., AAAI 2024, describe it in their
abstract; the numbers are ours, since theirs are not public). Four kinds of annotators:

- expert: right in 75 to 90 % of a class, otherwise any other class;
- ring: right in 40 to 55 %, otherwise mostly (90 %) the next class;
- lookalike: right in 40 to 55 %, otherwise mostly one class that looks alike;
- spammer: any class, whatever the item is.

Correlated noise: the ring, the lookalike and the spamming annotators each have a leader, whose answer to an item a follower copies with
probability rho, whether or not the leader was asked about it.

>>> settings = CrowdSettings(annotators=20, mean_labels=2.0, noise="correlated", rho=0.6)
>>> crowd = synthetic_crowd(np.arange(500) % 10, 10, settings, seed=0)
>>> crowd.answers.n_items, int(crowd.answers.answers_per_item().min())
(500, 1)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from ..privacy.validate import non_negative, positive
from .crowd import CrowdAnswers

KINDS = ("expert", "ring", "lookalike", "spammer")
EXPERT, RING, LOOKALIKE, SPAMMER = range(4)
SHARES = (0.25, 0.30, 0.20, 0.25)
# Fashion-MNIST's classes that look alike: T-shirt and shirt, trouser and bag, pullover and coat, ...
FASHION_LOOKALIKES = (6, 8, 4, 4, 2, 7, 0, 9, 1, 5)
LEAST_WEIGHT = 1e-3  # so that everybody may be asked
FAVOURITE = 0.9  # of a flipper's errors, the share that goes to one class
CHUNK = 2**22  # random keys held at a time


@dataclass(frozen=True)
class CrowdSettings:
    """Settings of a synthetic crowd.

    Args:
        annotators: R, at least three times `mean_labels`, so that items need not share all of them.
        beta_a: with `beta_b` the shape of the workloads: (0.5, 3) is long-tailed, (2, 2) is even.
        beta_b: see `beta_a`.
        mean_labels: labels an item has on average, at least 1; exactly 1 for all at 1.
        noise: independent, or correlated: followers copy their leader.
        rho: probability with which a follower copies (correlated noise only).
        lookalikes: for each class the one it is mistaken for; empty: the class half-way round.
    """

    annotators: int = 100
    beta_a: float = 0.5
    beta_b: float = 3.0
    mean_labels: float = 2.5
    noise: str = "independent"
    rho: float = 0.0
    lookalikes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        positive(beta_a=self.beta_a, beta_b=self.beta_b)
        non_negative(mean_labels=self.mean_labels, rho=self.rho)
        if self.mean_labels < 1:
            raise BadInput(f"mean_labels is {self.mean_labels}", why="every item has a label", mend="give 1 or more")
        if isinstance(self.annotators, bool) or not isinstance(self.annotators, int):
            raise BadInput(f"annotators is {type(self.annotators).__name__}", mend="give a whole number")
        if self.annotators < 3 * self.mean_labels:
            raise BadInput(
                f"{self.annotators} annotators for {self.mean_labels} labels an item",
                why="an item's labels come from different annotators, and there would often be too few",
                mend=f"use at least {int(np.ceil(3 * self.mean_labels))} annotators",
            )
        if self.noise not in ("independent", "correlated"):
            raise BadInput(f"unknown noise '{self.noise}'", mend="use independent or correlated")
        if not 0 <= self.rho <= 1:
            raise BadInput(f"rho is {self.rho}", why="it is a probability", mend="give 0 to 1")
        if self.noise == "independent" and self.rho:
            raise BadInput(
                f"rho is {self.rho} with independent noise", why="nobody copies then", mend="use noise correlated"
            )
        object.__setattr__(self, "lookalikes", tuple(self.lookalikes))


@dataclass(frozen=True, eq=False)
class SyntheticCrowd:
    """The answers, and all that a test or a diagnosis may want to know of how they came about.

    Args:
        answers: sorted by item, then annotator.
        weights: workload weights (R,), before normalisation: Beta draws + 0.001.
        kinds: for each annotator the place in `KINDS`, int64 (R,).
        confusions: each annotator's own matrix (R, C, C), rows the true class.
        leaders: for each annotator whom they follow, or -1, int64 (R,).
        rho: probability with which followers copy.
        copied: bool (M,), which answers are copies.
        followed: int64 (M,), what the leader's answer was, or -1.
    """

    answers: CrowdAnswers
    weights: np.ndarray
    kinds: np.ndarray
    confusions: np.ndarray
    leaders: np.ndarray
    rho: float
    copied: np.ndarray
    followed: np.ndarray

    def marginal_confusions(self) -> np.ndarray:
        """(R, C, C): how each annotator answers, copies included. This is what an estimate of single annotators can find."""
        follows = self.leaders >= 0
        share = np.where(follows, self.rho, 0.0)[:, None, None]
        own: np.ndarray = (1 - share) * self.confusions
        copied: np.ndarray = share * self.confusions[np.where(follows, self.leaders, 0)]
        return own + copied


def synthetic_crowd(truth: np.ndarray, classes: int, settings: CrowdSettings, *, seed: int) -> SyntheticCrowd:
    """Draw a crowd that labels items of these classes. The same seed gives the same crowd.

    Weights, kinds and who is asked do not depend on the noise: with one seed, independent and correlated crowds differ in the copies
    only.

    Args:
        truth: int (N,), the items' classes.
        classes: C, at least three (a ring and a look-alike of two classes are the same).
        settings: of the crowd.
        seed: of everything that is drawn.
    """
    truth = np.asarray(truth, dtype=np.int64)
    if classes < 3:
        raise BadInput(f"a synthetic crowd for {classes} classes", why="its kinds differ from three classes up")
    if not len(truth) or truth.min() < 0 or truth.max() >= classes:
        raise BadInput(f"true classes are none, or not in 0 .. {classes - 1}")
    lookalike = _lookalikes(settings.lookalikes, classes)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence([seed, 0xC0DE]).spawn(5)]
    of_weights, of_kinds, of_asking, of_answers, of_copies = streams

    count = settings.annotators
    weights = of_weights.beta(settings.beta_a, settings.beta_b, count) + LEAST_WEIGHT
    kinds = of_kinds.choice(len(KINDS), size=count, p=SHARES)
    confusions = _confusions(kinds, classes, lookalike, of_kinds)
    leaders = _leaders(kinds) if settings.noise == "correlated" else np.full(count, -1)

    items, annotators = _asked(len(truth), weights, settings.mean_labels, of_asking)
    labels = _drawn(confusions, annotators, truth[items], of_answers)
    follows = leaders[annotators] >= 0
    followed = np.full(len(items), -1, dtype=np.int64)
    copied = follows & (of_copies.random(len(items)) < settings.rho)
    for leader in np.unique(leaders[leaders >= 0]):
        # The leader's answer to every item: those they were asked about are the answers that they gave.
        everything = _drawn(confusions, np.full(len(truth), leader), truth, of_answers)
        own = annotators == leader
        everything[items[own]] = labels[own]
        led = leaders[annotators] == leader
        followed[led] = everything[items[led]]
    labels = np.where(copied, followed, labels)
    answers = CrowdAnswers(items, annotators, labels, len(truth), count, classes)
    return SyntheticCrowd(answers, weights, kinds, confusions, leaders, settings.rho, copied, followed)


def _lookalikes(given: tuple[int, ...], classes: int) -> np.ndarray:
    if not given:
        return (np.arange(classes) + classes // 2) % classes
    lookalike = np.array(given, dtype=np.int64)
    if len(lookalike) != classes or lookalike.min() < 0 or lookalike.max() >= classes:
        raise BadInput(f"{len(lookalike)} lookalikes for {classes} classes", mend="name one class for each class")
    if (lookalike == np.arange(classes)).any():
        raise BadInput("a class is its own lookalike", mend="name another class for each class")
    return lookalike


def _confusions(kinds: np.ndarray, classes: int, lookalike: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(R, C, C): each annotator's accuracy in each class is drawn, what is left of a row goes where the kind says."""
    expert = generator.uniform(0.75, 0.9, (len(kinds), classes))
    flipper = generator.uniform(0.4, 0.55, (len(kinds), classes))
    here = np.arange(classes)
    evenly = (1 - np.eye(classes)) / (classes - 1)
    matrices = np.full((len(kinds), classes, classes), 1 / classes)
    for kind, right, wrong in (
        (EXPERT, expert, evenly),
        (RING, flipper, _mostly((here + 1) % classes)),
        (LOOKALIKE, flipper, _mostly(lookalike)),
    ):
        chosen = kinds == kind
        rate = right[chosen][:, :, None]
        matrices[chosen] = rate * np.eye(classes) + (1 - rate) * wrong
    return matrices


def _mostly(favourite: np.ndarray) -> np.ndarray:
    """Rows of errors: nine tenths on the favourite, the rest evenly on the other wrong classes."""
    classes = len(favourite)
    rows = np.full((classes, classes), (1 - FAVOURITE) / (classes - 2))
    rows[np.arange(classes), np.arange(classes)] = 0.0
    rows[np.arange(classes), favourite] = FAVOURITE
    return rows


def _leaders(kinds: np.ndarray) -> np.ndarray:
    """Everybody but experts follows the first of their kind, who follows nobody."""
    leaders = np.full(len(kinds), -1, dtype=np.int64)
    for kind in (RING, LOOKALIKE, SPAMMER):
        members = np.flatnonzero(kinds == kind)
        leaders[members[1:]] = members[:1].repeat(len(members[1:]))
    return leaders


def _asked(
    n_items: int, weights: np.ndarray, mean_labels: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Who is asked about what: item and annotator numbers (M,), sorted.

    The k smallest of exponential times divided by the weights are a draw without replacement by the weights (Efraimidis and Spirakis,
    2006), for all items at once.
    """
    counts = np.minimum(1 + generator.poisson(mean_labels - 1, n_items), len(weights))
    places: list[np.ndarray] = []
    rows = max(1, CHUNK // len(weights))
    for start in range(0, n_items, rows):
        wanted = counts[start : start + rows]
        times = generator.exponential(size=(len(wanted), len(weights))) / weights
        rank = np.argsort(np.argsort(times, axis=1), axis=1)
        item, annotator = np.nonzero(rank < wanted[:, None])
        places.append(np.stack([item + start, annotator]))
    items, annotators = np.concatenate(places, axis=1)
    return items, annotators


def _drawn(
    confusions: np.ndarray, annotators: np.ndarray, truth: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """One answer for each annotator and true class, by inversion."""
    steps = np.cumsum(confusions, axis=2)[annotators, truth]
    steps[:, -1] = 1.0  # rounding must not leave a draw without an answer
    below: np.ndarray = generator.random(len(annotators))[:, None] >= steps
    return np.asarray(below.sum(axis=1))
