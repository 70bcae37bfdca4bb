"""What a recogniser is worth with and without masks, on faces that nothing was trained on.

Bare pairs are verified as they come (U-U), with a mask put on the second face (U-M: enrolled bare, seen masked) and on both (M-M).
Where the data say which faces really wear masks, their own pairs are verified beside it; where nobody knows which do, all pairs are
verified together and that is all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ....platform.data.faces import FaceData, FaceImages
from ....platform.errors import BadInput
from ....platform.training.outcome import Metric
from ....platform.training.run import Run
from ....platform.verification.folds import Verification, verify
from ....platform.verification.identification import identify
from ....platform.verification.masked import MaskedRow, mask_kinds, verify_masked
from ....platform.verification.roc import measurable
from ....platform.verification.scores import unit
from ..embedding import Network, Prepare, embed, templates

WORDS = {"U-U": "bare", "U-M": "bare_masked", "M-M": "masked"}
ALL = "all"  # pairs of whatever kind together
RANKS = (1, 5, 20)


@dataclass(frozen=True, eq=False)
class Scored:
    """One kind of pair, pair by pair.

    Args:
        numbers: int64 (n,), of the pairs among those of the data.
        scores: cosines (n,).
        verification: of them, with thresholds of their own.
    """

    numbers: np.ndarray
    scores: np.ndarray
    verification: Verification


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found on one kind of masks.

    Args:
        rows: of verification, one for each kind of pair.
        whole: verification of all pairs together; None for synthetic masks, where a pair occurs three times.
        ranks: share of masked probes whose person is among the first 1, 5 and 20 of a bare gallery of more people; empty: there are no
            such probes.
        scored: the pairs of each kind by its word: bare, bare_masked, masked; all, of real masks.
        without_rows: why there are no rows, where there are none.
    """

    rows: tuple[MaskedRow, ...]
    whole: Verification | None
    ranks: dict[int, float]
    scored: Mapping[str, Scored]
    without_rows: str = ""

    def metrics(self) -> dict[str, Metric]:
        """By name: `bare_accuracy`, `bare_masked_fnmr`, `masked_eer`, `rank1`..."""
        found: dict[str, Metric] = {}
        for row in self.rows:
            name = WORDS[row.kind]
            found[f"{name}_accuracy"] = Metric(row.own.mean, "fraction", "higher")
            found[f"{name}_fold_deviation"] = Metric(row.own.deviation, "s.d. over folds")
            found[f"{name}_fmr"] = Metric(row.fmr, "fraction, at the threshold of bare pairs", "lower")
            found[f"{name}_fnmr"] = Metric(row.fnmr, "fraction, at the threshold of bare pairs", "lower")
            found[f"{name}_eer"] = Metric(row.own.eer, "fraction of errors", "lower")
        if self.whole is not None:
            found["accuracy"] = Metric(self.whole.mean, "fraction", "higher")
        for rank, share in self.ranks.items():
            found[f"rank{rank}"] = Metric(share, "fraction of masked probes, bare gallery", "higher")
        return found

    def table(self, whose: str) -> list[list[str]]:
        """Rows for a CSV file (`COLUMNS`)."""
        lines = [
            [
                whose, row.kind, str(row.pairs), _percent(row.own.mean), _percent(row.own.deviation), _percent(row.accuracy),
                _percent(row.fmr), _percent(row.fnmr), _percent(row.own.eer), _percent(row.tar.get(0.01)),
            ]
            for row in self.rows
        ]  # fmt: skip
        if (whole := self.whole) is not None:
            tar = whole.at_far(0.01).tar if measurable((0.01,), whole.roc.negatives) else None
            lines.append([
                whose, ALL, str(len(whole.correct)), _percent(whole.mean), _percent(whole.deviation), "", "", "",
                _percent(whole.eer), _percent(tar),
            ])  # fmt: skip
        return lines


COLUMNS = (
    "what", "pairs of", "number", "accuracy %", "s.d. over folds", "accuracy at U-U threshold %", "FMR at it %", "FNMR at it %",
    "EER %", "TAR at FAR 1e-2 %",
)  # fmt: skip


def embeddings(run: Run, network: Network, faces: FaceImages, prepare: Prepare, *, mirror: bool) -> np.ndarray:
    """Unit embeddings (n, D) of faces; `mirror`: of a face and its mirror image together."""
    return unit(templates(embed(run, network, faces.pictures, prepare), flip=mirror), "embeddings")


def judge_synthetic(data: FaceData, bare: np.ndarray, masked: np.ndarray) -> Judged:
    """From embeddings (n, D) of the test faces as they are and with synthetic masks on.

    Pairs with a face that really wears a mask are left out: its bare side is not known.

    Raises:
        BadInput: too few pairs of bare faces.
    """
    pairs, real = data.pairs, really_masked(data.test)
    kept = ~(real[pairs.first] | real[pairs.second])
    if not kept.any():
        raise BadInput("no pair of bare faces in the test set", why="synthetic masks are put on bare faces")
    numbers = np.flatnonzero(kept)
    first, second = pairs.first[kept], pairs.second[kept]
    sides = (("U-U", bare, bare), ("U-M", bare, masked), ("M-M", masked, masked))
    scores = [(left[first] * right[second]).sum(1) for _, left, right in sides]
    kinds = np.repeat([kind for kind, _, _ in sides], len(first))
    folds = np.unique(pairs.fold[kept], return_inverse=True)[1]
    rows = verify_masked(np.concatenate(scores), np.tile(pairs.same[kept], 3), np.tile(folds, 3), kinds)
    scored = {WORDS[row.kind]: Scored(numbers, one, row.own) for row, one in zip(rows, scores, strict=True)}
    return Judged(rows, None, ranks(data.test, bare, masked, gallery=~real, probes=~real), scored)


def judge_real(data: FaceData, embedded: np.ndarray) -> Judged:
    """From embeddings (n, D) of the test faces, some of which really wear masks.

    All pairs together are verified, and the kinds of pairs one by one if it is known which they are and there are enough of each.

    Raises:
        BadInput: the pairs cannot be verified.
    """
    pairs, real = data.pairs, really_masked(data.test)
    scores = (embedded[pairs.first] * embedded[pairs.second]).sum(1)
    whole = verify(scores, pairs.same, pairs.fold)
    scored = {ALL: Scored(np.arange(len(pairs)), scores, whole)}
    if not data.test.wearers_known:
        return Judged((), whole, {}, scored)
    kinds = mask_kinds(real[pairs.first], real[pairs.second])
    rows, why = tuple[MaskedRow, ...](), ""
    try:
        rows = verify_masked(scores, pairs.same, pairs.fold, kinds)
    except BadInput as error:  # There are few real pairs; what is measured of them all together stands.
        why = str(error)
    return Judged(rows, whole, ranks(data.test, embedded, embedded, gallery=~real, probes=real), scored, why)


def ranks(
    faces: FaceImages, enrolled: np.ndarray, asked: np.ndarray, *, gallery: np.ndarray, probes: np.ndarray
) -> dict[int, float]:
    """Rank-1, rank-5 and rank-20 rates, as far as more people are enrolled.

    Enrolled is each person's first picture out of `gallery` (n,); asked are those of `probes` (n,).

    Not asked is the enrolled picture itself, and none of its medium, in which it would look the same.
    """
    able = np.flatnonzero(gallery)
    people, first = np.unique(faces.identities[able], return_index=True)
    if len(people) < 2:
        return {}
    chosen = able[first]
    place = np.searchsorted(people, faces.identities).clip(max=len(people) - 1)
    known = people[place] == faces.identities
    media = np.arange(len(faces)) if faces.media is None else np.asarray(faces.media)
    questions = np.flatnonzero(
        probes & known & (media != media[chosen[place]]) & ~np.isin(np.arange(len(faces)), chosen)
    )
    if not len(questions):
        return {}
    found = identify(enrolled[chosen], people, asked[questions], faces.identities[questions])
    return {rank: found.rate(rank) for rank in RANKS if rank < found.entries}


def really_masked(faces: FaceImages) -> np.ndarray:
    """Whether each face (n,) wears a mask, of faces of whom that is known."""
    return np.zeros(len(faces), bool) if faces.masked is None else np.asarray(faces.masked, dtype=bool)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
