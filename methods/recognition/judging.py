"""What a recogniser of faces is worth: verification by folds, errors at fixed rates, identification, from embeddings of test faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...platform.data.degradation import LEAST_SIZE
from ...platform.data.faces import FaceData, FaceImages
from ...platform.data.shifts import LEVELS, SHIFTS
from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive_int, probability
from ...platform.training.outcome import Metric
from ...platform.verification.calibration import conformal_threshold
from ...platform.verification.folds import Verification, identities_in_several_folds, verify
from ...platform.verification.identification import Identification, OpenSetPoint, identify, open_set
from ...platform.verification.quality import (
    Abstention,
    RejectCurve,
    abstention_threshold,
    error_versus_reject,
    pair_quality,
)
from ...platform.verification.roc import OperatingPoint, Roc, measurable
from ...platform.verification.scores import pair_scores
from .aird.face_bn import FEWEST, SURE

ADAPT = ("none", "mix", "replace", "online")
SHIFTED = ("both", "probes")
RANKS = (1, 5, 20)
OPEN_FAR = 0.1  # share of unknown probes that may find somebody
CONFIDENCE = 0.95  # with which the threshold of a card holds its rate


@dataclass(frozen=True)
class Judging:
    """How a student is judged.

    Args:
        flip: an embedding is the sum of those of a picture and of its mirror image.
        fars: rates at which TAR is told, as far as there are impostor pairs enough (ten over the rate).
        fmr: rate that the card's threshold holds on impostors to come, with confidence .95, as far as there are test pairs enough.
        abstain_error: share of wrong decisions, by the card's threshold, below which the card's least quality keeps those that are
            still made, with confidence .95; None: the card sets no least quality.
        shifts: names of `platform.data.shifts.SHIFTS` under which the student is also scored; `level` is their strength, 1 .. 5.
        shifted: what is under a shift: both pictures of a pair, or probes (its second picture, and whoever is looked for) alone; FaceBN
            then takes statistics of either side by itself.
        adapt: FaceBN: none; mix, replace or online take over statistics of unlabelled test faces, as many as `adapt_faces` at most.
        prior: of mix: the training's statistics count as so many faces.
        guard: of mix and replace: a quantile, such as 0.95, of what resampled faces show; layers that shift less stay as they are.
        adapt_curve: of mix: numbers of faces for which accuracy after FaceBN is told as well, without and under each shift.
        resolutions: pixels a side at which teacher and student are also scored, on pictures brought down to them and up again.
        show_pairs: pairs of test pictures that the report shows with their scores; 0: it shows no face.
    """

    flip: bool = True
    fars: tuple[float, ...] = (0.1, 0.01, 0.001)
    fmr: float = 0.01
    abstain_error: float | None = None
    shifts: tuple[str, ...] = ()
    level: int = 4
    shifted: str = "both"
    adapt: str = "none"
    prior: float = 64.0
    guard: float | None = None
    adapt_faces: int = 2000
    adapt_curve: tuple[int, ...] = ()
    resolutions: tuple[int, ...] = ()
    show_pairs: int = 6

    def __post_init__(self) -> None:
        for name in ("fars", "shifts", "adapt_curve", "resolutions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for far in (*self.fars, self.fmr):
            probability(far=far)
        if self.abstain_error is not None:
            probability(abstain_error=self.abstain_error)
        if unknown := [name for name in self.shifts if name not in SHIFTS]:
            raise BadInput(f"no shift is called {unknown[0]!r}", mend=f"use some of {', '.join(SHIFTS)}")
        if self.level not in range(1, LEVELS + 1):
            raise BadInput(f"level is {self.level!r}", why=f"it is a whole number, 1 .. {LEVELS}")
        if self.shifted not in SHIFTED:
            raise BadInput(f"shifted is {self.shifted!r}", mend=f"use one of {', '.join(SHIFTED)}")
        if self.adapt not in ADAPT:
            raise BadInput(f"adapt is {self.adapt!r}", mend=f"use one of {', '.join(ADAPT)}")
        if self.adapt != "mix" and self.adapt_curve:
            raise BadInput(f"adapt_curve with adapt={self.adapt}", why="only a mixture serves any number of faces")
        if self.guard is not None:
            probability(guard=self.guard)
            if self.adapt == "none":
                raise BadInput("FaceBN has a guard, and is not used", mend="set method.judging.adapt=mix")
            if self.adapt == "online":
                raise BadInput(
                    "a guard with adapt=online",
                    why="it judges one sample of faces, not a stream of them",
                    mend="leave it out",
                )
        non_negative(prior=self.prior)
        positive_int(adapt_faces=self.adapt_faces)
        positive_int(**{f"adapt_curve[{i}]": count for i, count in enumerate(self.adapt_curve)})
        positive_int(**{f"resolutions[{i}]": side for i, side in enumerate(self.resolutions)})
        if low := [side for side in self.resolutions if side < LEAST_SIZE]:
            raise BadInput(f"resolutions holds {low[0]}", why=f"pictures are brought to {LEAST_SIZE} pixels at least")
        for name, faces in (("adapt_faces", self.adapt_faces), *(("adapt_curve", faces) for faces in self.adapt_curve)):
            if faces < self.fewest:
                raise BadInput(f"{name} is {faces}", why=self.fewest_in_words, mend=f"use {self.fewest} or more")
        if isinstance(self.show_pairs, bool) or not isinstance(self.show_pairs, int) or self.show_pairs < 0:
            raise BadInput(f"show_pairs is {self.show_pairs!r}", why="it is a whole number from 0 up")

    @property
    def fewest(self) -> int:
        """How many faces FaceBN needs."""
        return max(FEWEST.get(self.adapt, 1), 1 if self.guard is None else SURE)

    @property
    def fewest_in_words(self) -> str:
        """The same, for an error."""
        return f"adapt={self.adapt}{'' if self.guard is None else ' with a guard'} needs {self.fewest} faces at least"


@dataclass(frozen=True, eq=False)
class Judged:
    """What the test says of one way to embed.

    Args:
        scores: cosines (m,) of the pairs.
        verification: by folds.
        identification: where it is possible.
        quality: of the pairs (m,), that of the worse picture; None where the embeddings' lengths tell nothing.
        strangers: what is found when every second person is not enrolled; None: too few probes of theirs.
    """

    scores: np.ndarray
    verification: Verification
    identification: Identification | None
    quality: np.ndarray | None = None
    strangers: OpenSetPoint | None = None

    def rejecting(self) -> RejectCurve | None:
        """Wrong decisions among the pairs that are kept when those of least quality are left out; None: nothing to be seen."""
        if self.quality is None or self.verification.correct.all():
            return None
        return error_versus_reject(~self.verification.correct, self.quality)

    def least_quality(self, same: np.ndarray, threshold: float, error: float) -> Abstention:
        """The quality from which on decisions are wrong in a share of `error` at most, with confidence .95.

        Args:
            same: the truth (m,).
            threshold: the one that decides in use. Those learnt for the folds are others, and so are their mistakes.
            error: the share.

        Raises:
            BadInput: none is, or too few pairs show it.
        """
        if self.quality is None:
            raise BadInput("no quality of the pictures", why="all embeddings have one length, which tells nothing")
        return abstention_threshold((self.scores >= threshold) != same, self.quality, error=error)

    def metrics(self, fars: tuple[float, ...]) -> dict[str, Metric]:
        """Figures by name; `accuracy` is the mean over folds, `deviation` their sample standard deviation."""
        found = self.verification
        metrics = {
            "accuracy": Metric(found.mean, "fraction", "higher"),
            "deviation": Metric(found.deviation, "fraction, over folds"),
            "eer": Metric(found.eer, "fraction of pairs", "lower"),
            "auc": Metric(found.auc, "area under the ROC curve", "higher"),
        }
        for far in measurable(fars, found.roc.negatives):
            metrics[f"tar_at_far_{far:g}"] = Metric(found.at_far(far).tar, "fraction of genuine pairs", "higher")
        if self.identification is not None:
            for rank in RANKS:
                if rank < self.identification.entries:
                    metrics[f"rank{rank}"] = Metric(self.identification.rate(rank), "fraction of probes", "higher")
        if self.strangers is not None:
            unit = "fraction of probes of every second person, found and believed; the others are not enrolled"
            metrics[f"dir_at_far_{self.strangers.far:g}"] = Metric(self.strangers.dir, unit, "higher")
        return metrics


def check_pairs(data: FaceData) -> None:
    """Refuse pairs that cannot be verified, whatever their scores: none, fewer than two folds, folds of one kind."""
    pairs = data.pairs
    if not len(pairs):
        raise BadInput(f"{data.name}: no pairs to verify", mend="give data.pairs, or let pairs be drawn")
    verify(np.zeros(len(pairs)), pairs.same, pairs.fold)


def judge(embeddings: np.ndarray, data: FaceData, gallery: Gallery | None, probes: np.ndarray | None = None) -> Judged:
    """From embeddings (n, D) of all test pictures; `probes` (n, D): as they are where they ask, if that is otherwise.

    Raises:
        BadInput: pairs that cannot be verified (`check_pairs`), or embeddings that are not finite or nil.
    """
    pairs = data.pairs
    # Below one another: a picture has the row of its side.
    rows, below = (embeddings, 0) if probes is None else (np.concatenate([embeddings, probes]), len(embeddings))
    scores = pair_scores(rows, pairs.first, pairs.second + below)
    found = strangers = None
    if gallery is not None:
        people = data.test.identities
        asked = rows[gallery.probes + below], people[gallery.probes]
        found = identify(rows[gallery.enrolled], people[gallery.enrolled], *asked)
        half = gallery.enrolled[::2]
        unknown = int((~np.isin(people[gallery.probes], people[half])).sum())
        if measurable((OPEN_FAR,), unknown):
            (strangers,) = open_set(rows[half], people[half], *asked, (OPEN_FAR,))
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    told = not np.allclose(lengths, lengths.mean(), rtol=1e-5, atol=0)
    quality = pair_quality(lengths, pairs.first, pairs.second + below) if told else None
    return Judged(scores, verify(scores, pairs.same, pairs.fold), found, quality, strangers)


def card_point(roc: Roc, fmr: float) -> OperatingPoint | None:
    """What the threshold of a card does on the pairs that it is set on.

    On impostors to come it lets `fmr` pass at most, with confidence .95, if pairs are independent. None: too few impostors.
    """
    if not measurable((fmr,), roc.negatives):
        return None
    return roc.at(conformal_threshold(roc.negative_scores, fmr, confidence=CONFIDENCE).threshold)


def people_in_several_folds(data: FaceData) -> int:
    """How many people of the test pairs are in more than one fold; 0 where nobody knows who is who."""
    if not data.test.identified:
        return 0
    pairs, who = data.pairs, data.test.identities
    return len(identities_in_several_folds(who[pairs.first], who[pairs.second], pairs.fold))


def said_of_folds(data: FaceData) -> list[str]:
    """A note where folds share people: a file of pairs may be dealt so, and is scored all the same."""
    shared = people_in_several_folds(data)
    note = f"{shared:,} people of the test pairs are in several folds: thresholds are learnt on people whom they are applied to"
    return [note] if shared else []


@dataclass(frozen=True, eq=False)
class Gallery:
    """Numbers of test pictures: one enrolled for each person, and the probes, which are of other media than that one."""

    enrolled: np.ndarray
    probes: np.ndarray

    @classmethod
    def of(cls, test: FaceImages) -> Gallery | None:
        """The first picture of everybody who has some of another medium as well; None if fewer than two have, or nobody is known."""
        if not test.identified:
            return None
        media = np.arange(len(test)) if test.media is None else np.asarray(test.media)
        enrolled, probes = [], []
        for person in range(test.people):
            own = np.flatnonzero(test.identities == person)
            others = own[media[own] != media[own[0]]]
            if len(others):
                enrolled.append(own[0])
                probes.append(others)
        return cls(np.array(enrolled), np.concatenate(probes)) if len(enrolled) > 1 else None


def prefixed(metrics: Mapping[str, Metric], prefix: str) -> dict[str, Metric]:
    """The metrics under longer names."""
    return {f"{prefix}{name}": metric for name, metric in metrics.items()}
