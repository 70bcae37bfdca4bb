"""What a finished recogniser says of pictures: whether two show one person, who of a gallery is on them, or that it cannot tell.

>>> limits = Limits(threshold=0.5, least_quality=1.0)
>>> limits.verdict(0.7, quality=2.0), limits.verdict(0.4, quality=2.0), limits.verdict(0.9, quality=0.5)
('same', 'different', 'abstain')
>>> Limits(None, None).verdict(0.7, quality=2.0)
'no threshold'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...platform.data.face_pairs import read_pairs
from ...platform.data.faces import FaceImages
from ...platform.data.picture_files import some_of
from ...platform.errors import BadInput
from ...platform.verification.scores import pair_scores, unit
from .given_pictures import NO_FACE, GivenPictures
from .stored import Stored

SAME, DIFFERENT, ABSTAIN, UNDECIDED = "same", "different", "abstain", "no threshold"
UNKNOWN = "unknown"
PIECE = 256


@dataclass(frozen=True)
class Limits:
    """From which cosine on two pictures show one person, and below which quality nothing is said. None: there is no such limit."""

    threshold: float | None
    least_quality: float | None

    def usable(self, quality: float) -> bool:
        """Whether something may be said of a picture; one without a face has no quality (0)."""
        return quality > 0 and (self.least_quality is None or quality >= self.least_quality)

    def verdict(self, score: float, *, quality: float) -> str:
        """The word for a pair; `quality` is that of the worse picture."""
        if not self.usable(quality):
            return ABSTAIN
        if self.threshold is None:
            return UNDECIDED
        return SAME if score >= self.threshold else DIFFERENT


@dataclass(frozen=True, eq=False)
class Embedded:
    """Pictures and their templates (n, D), and quality (n,): the template's length, 0 where no face was found."""

    names: Sequence[str]
    how: Sequence[str]
    templates: np.ndarray
    quality: np.ndarray


@dataclass(frozen=True)
class VerifiedPair:
    """What is said of a pair; `truth` is what the file of pairs said, if it said anything."""

    first: str
    second: str
    score: float
    quality: float
    verdict: str
    truth: bool | None


@dataclass(frozen=True)
class Identified:
    """Who is likest to the person on a picture, and how much; the next best of the gallery beside.

    `verdict` is the name, `unknown` (below the threshold), `abstain`, or `no threshold`.
    """

    name: str
    best: str
    score: float
    second: str | None
    second_score: float | None
    verdict: str


def embed_given(stored: Stored, given: GivenPictures) -> Embedded:
    """Embed pictures.

    Raises:
        BadInput: an embedding is not finite.
    """
    parts = [
        stored.embed(given.pictures.read(np.arange(start, min(start + PIECE, len(given)))))
        for start in range(0, len(given), PIECE)
    ]
    templates = np.concatenate(parts)
    strange = [given.names[row] for row in np.flatnonzero(~np.isfinite(templates).all(1)).tolist()]
    if strange:
        raise BadInput(f"embeddings of {some_of(strange)} are not finite", mend="check the model's weights")
    quality = np.linalg.norm(templates.astype(np.float64), axis=1)
    quality[[how == NO_FACE for how in given.how]] = 0.0
    return Embedded(tuple(given.names), given.how, templates, quality)


def verify_pairs(
    embedded: Embedded, pairs: Sequence[tuple[int, int, bool | None]], limits: Limits
) -> list[VerifiedPair]:
    """Score pairs (numbers of two pictures, and whether both are one person if that is known)."""
    first, second = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    scores = pair_scores(embedded.templates, first, second)
    quality = np.minimum(embedded.quality[first], embedded.quality[second])
    return [
        VerifiedPair(
            embedded.names[one], embedded.names[other], score, worse, limits.verdict(score, quality=worse), truth
        )
        for (one, other, truth), score, worse in zip(pairs, scores.tolist(), quality.tolist(), strict=True)
    ]


def identify_pictures(embedded: Embedded, gallery: Embedded, limits: Limits) -> list[Identified]:
    """Look for each picture's person in a gallery, whose pictures lie in a folder for each person.

    A person's score is the best over the person's pictures; those below the least quality are left out.

    Raises:
        BadInput: the gallery's pictures do not lie so, or none is good enough.
    """
    if loose := [name for name in gallery.names if "/" not in name]:
        raise BadInput(
            "the gallery holds pictures that lie in no person's folder",
            why=some_of(loose),
            mend="give each person a folder",
        )
    kept = np.array([limits.usable(quality) for quality in gallery.quality.tolist()])
    if not kept.any():
        raise BadInput(
            "no picture of the gallery is good enough", mend="give better pictures, or lower --least-quality"
        )
    people, who = np.unique([name.split("/")[0] for name in gallery.names], return_inverse=True)
    enrolled, who = unit(gallery.templates[kept]), who.reshape(-1)[kept]
    cosines = unit(embedded.templates) @ enrolled.T
    scores = np.full((len(cosines), len(people)), -np.inf)
    for person in np.unique(who):
        scores[:, person] = cosines[:, who == person].max(1)
    return [
        _identified(name, row, people, quality, limits)
        for name, row, quality in zip(embedded.names, scores, embedded.quality.tolist(), strict=True)
    ]


def _identified(name: str, row: np.ndarray, people: np.ndarray, quality: float, limits: Limits) -> Identified:
    order = np.argsort(-row, kind="stable")
    best, score = str(people[order[0]]), float(row[order[0]])
    others = [other for other in order[1:2] if np.isfinite(row[other])]
    second, second_score = (str(people[others[0]]), float(row[others[0]])) if others else (None, None)
    verdict = limits.verdict(score, quality=quality)
    return Identified(name, best, score, second, second_score, {SAME: best, DIFFERENT: UNKNOWN}.get(verdict, verdict))


def find_pairs(path: Path, given: GivenPictures) -> list[tuple[int, int, bool | None]]:
    """The pairs that a file names, as numbers of pictures.

    Either each line has two paths (separated by a tab, or by blanks), and the truth is not known, or the file is of one of the
    dialects of `platform.data.face_pairs`, in which people are folders.

    Raises:
        BadInput: the file cannot be read, is of no such form, or names pictures that were not given.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a text file of pairs") from None
    split = [line.split("\t") if "\t" in line else line.split() for line in lines]
    if split and all(len(fields) == 2 for fields in split):
        numbers = {name: number for number, name in enumerate(given.names)}
        if missing := dict.fromkeys(name for fields in split for name in fields if name not in numbers):
            raise BadInput(
                f"{path} names {len(missing)} pictures that were not given",
                why=some_of(list(missing)),
                mend="write paths as they lie below the folder of pictures",
            )
        return [(numbers[one], numbers[other], None) for one, other in split]
    people, identities = np.unique([name.split("/")[0] for name in given.names], return_inverse=True)
    names = tuple(str(one) for one in people)
    faces = FaceImages(given.pictures, identities.reshape(-1), tuple(given.names), people_names=names)
    found = read_pairs(path, faces).pairs
    return [
        (int(one), int(other), bool(same))
        for one, other, same in zip(found.first, found.second, found.same, strict=True)
    ]
