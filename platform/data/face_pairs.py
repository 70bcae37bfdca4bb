"""Pairs of pictures that are verified: made from a set of faces, read from a pairs.txt, written to one.

Three dialects are read:
- LFW's: a first line with the number of folds and of genuine pairs in each (or the latter alone: one fold), then fold by fold the
  genuine pairs, `person 1 4`, and as many impostor pairs, `person 1 other 3`;
- MFR2's: the same lines in any order, without the first line and without folds;
- paths: a first line `#first second same fold`, then tab-separated paths of two pictures, 1 or 0, and the fold from 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import BadInput
from .face_folder import REFUSE, picture_number
from .faces import FaceImages, FacePairs
from .picture_files import some_of

PATHS = "#first\tsecond\tsame\tfold"
EXPECTED = "a line is `person 1 4` (two pictures of one person) or `person 1 other 3` (of two people)"


@dataclass(frozen=True)
class ReadPairs:
    """Pairs from a file, which dialect it was in, and how many pairs were left out because a picture is missing."""

    pairs: FacePairs
    dialect: str
    left_out: int


def make_pairs(faces: FaceImages, *, folds: int = 10, genuine: int = 150, impostor: int = 150, seed: int) -> FacePairs:
    """Draw pairs in folds of different people: nobody is in two folds.

    Genuine pairs are of two media (two videos, two sessions), where media are known: of one medium they would be trivial. They go round
    the people of the fold, so that none with many pictures prevails. For an impostor pair two people are drawn, then a picture of each.
    No pair comes twice.

    Args:
        faces: whose pictures are paired.
        folds: how many.
        genuine: pairs of one person in each fold.
        impostor: pairs of two people in each fold.
        seed: decides all that is drawn.

    Raises:
        BadInput: a fold does not have that many pairs.
    """
    if min(folds, genuine, impostor) < 1:
        raise BadInput(f"{folds} folds of {genuine} + {impostor} pairs", mend="use whole numbers from 1")
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(faces.people), folds)
    of_person = [np.flatnonzero(faces.identities == one) for one in range(faces.people)]
    first, second, same = [], [], []
    for number, people in enumerate(parts):
        one = _genuine([of_person[who] for who in people], faces.media, genuine, rng, fold=number)
        two = _impostor([of_person[who] for who in people], impostor, rng, fold=number)
        first += [one[:, 0], two[:, 0]]
        second += [one[:, 1], two[:, 1]]
        same.append(np.repeat([True, False], [genuine, impostor]))
    fold = np.repeat(np.arange(folds), genuine + impostor)
    return FacePairs(np.concatenate(first), np.concatenate(second), np.concatenate(same), fold)


def _genuine(
    pictures: Sequence[np.ndarray], media: np.ndarray | None, wanted: int, rng: np.random.Generator, *, fold: int
) -> np.ndarray:
    waiting = []
    for own in pictures:
        left, right = np.triu_indices(len(own), 1)
        pairs = np.stack([own[left], own[right]], 1)
        if media is not None:
            pairs = pairs[media[pairs[:, 0]] != media[pairs[:, 1]]]
        waiting.append(rng.permutation(pairs)[:wanted])
    there = sum(map(len, waiting))
    if sum(len(pairs) for pairs in waiting) < wanted:
        across = "" if media is None else " of two media"
        raise BadInput(
            f"fold {fold} has {there} genuine pairs{across}, {wanted} are wanted",
            why=f"it has {len(pictures)} people with {sum(map(len, pictures))} pictures",
            mend="ask for fewer pairs or fewer folds, or use more people",
        )
    # The k-th pairs of all people come before anybody's k + 1st.
    turn = np.concatenate([np.arange(len(pairs)) for pairs in waiting])
    return np.concatenate(waiting)[np.argsort(turn, kind="stable")[:wanted]]


def _impostor(pictures: Sequence[np.ndarray], wanted: int, rng: np.random.Generator, *, fold: int) -> np.ndarray:
    counts = np.array([len(own) for own in pictures])
    possible = (int(counts.sum()) ** 2 - int((counts**2).sum())) // 2
    if possible < wanted:
        raise BadInput(
            f"fold {fold} has {possible} impostor pairs, {wanted} are wanted",
            why=f"it has {len(pictures)} people with {int(counts.sum())} pictures",
            mend="ask for fewer pairs or fewer folds, or use more people",
        )
    if possible <= 4 * wanted:
        everyone, who = np.concatenate(pictures), np.repeat(np.arange(len(pictures)), counts)
        left, right = np.triu_indices(len(everyone), 1)
        other = who[left] != who[right]
        pairs = np.stack([everyone[left[other]], everyone[right[other]]], 1)
        return rng.permutation(pairs)[:wanted]
    chosen: dict[tuple[int, int], None] = {}
    while len(chosen) < wanted:
        one, two = rng.choice(len(pictures), 2, replace=False)
        pair = int(rng.choice(pictures[one])), int(rng.choice(pictures[two]))
        chosen.setdefault((min(pair), max(pair)))
    return np.array(list(chosen), dtype=np.int64)


def read_pairs(path: Path, faces: FaceImages, *, missing: str = REFUSE, folds: int = 10, seed: int = 0) -> ReadPairs:
    """Read a pairs.txt in any of the three dialects.

    Args:
        path: the file.
        faces: whose pictures it names.
        missing: "refuse", or "leave_out" pairs of which a picture is not there.
        folds: into so many a file without folds is dealt, genuine and impostor pairs evenly, by `seed`; people may then be in several.
        seed: see there.

    Raises:
        BadInput: the file cannot be read, a line is none of a pair (it is named), pictures are not there (they are), or there are more
            or fewer pairs than the first line says.
    """
    try:
        lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a text file of pairs") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not numbered:
        raise BadInput(f"{path} names no pairs", why=EXPECTED)
    head = numbered[0][1].split()
    if numbered[0][1].startswith("#"):
        found, dialect, fold = _by_paths(path, numbered, faces), "paths", None
    elif len(head) <= 2 and all(word.isdigit() for word in head):
        fold = _lfw_folds(path, [int(word) for word in head], len(numbered) - 1)
        found, dialect = _by_numbers(path, numbered[1:], faces), "lfw"
        _check_halves(path, found, fold)
    else:
        found, dialect, fold = _by_numbers(path, numbered, faces), "mfr2", None
    return _resolved(path, found, dialect, fold, missing=missing, folds=folds, seed=seed)


@dataclass(frozen=True)
class _Line:
    number: int
    pictures: tuple[int | None, int | None]
    called: tuple[str, str]
    same: bool
    fold: int = 0


def _by_numbers(path: Path, numbered: Sequence[tuple[int, str]], faces: FaceImages) -> list[_Line]:
    where: dict[tuple[str, int], list[int]] = defaultdict(list)
    for picture, name in enumerate(faces.names):
        number = picture_number(name)
        if number is not None:
            where[PurePosixPath(name).parts[0], number].append(picture)
    found = []
    for line, text in numbered:
        fields = text.split("\t") if "\t" in text else text.split()
        if len(fields) not in (3, 4):
            raise BadInput(f"line {line} of {path} has {len(fields)} fields", why=EXPECTED, mend="correct the line")
        person, other = fields[0], fields[0] if len(fields) == 3 else fields[2]
        words = fields[1], fields[-1]
        if not all(word.isdigit() for word in words):
            raise BadInput(
                f"line {line} of {path} has something else where the number of a picture belongs", why=EXPECTED
            )
        keys = (person, int(words[0])), (other, int(words[1]))
        if len(fields) == 4 and person == other:
            raise BadInput(
                f"line {line} of {path} names the same person twice",
                why="a line of four fields is of two people",
                mend="write the person once, and two numbers",
            )
        if any(len(where.get(key, ())) > 1 for key in keys):
            raise BadInput(
                f"line {line} of {path} names a number that several pictures of the person end with",
                mend="give the pairs by paths (see the documentation of face_pairs)",
            )
        one, two = (where[key][0] if where.get(key) else None for key in keys)
        called = f"{keys[0][0]} {keys[0][1]}", f"{keys[1][0]} {keys[1][1]}"
        found.append(_Line(line, (one, two), called, len(fields) == 3))
    return found


def _by_paths(path: Path, numbered: Sequence[tuple[int, str]], faces: FaceImages) -> list[_Line]:
    if numbered[0][1].lstrip("#").split() != PATHS.lstrip("#").split():
        raise BadInput(f"the first line of {path} begins with #, but is not `{PATHS.replace(chr(9), ' ')}`")
    where = {name: picture for picture, name in enumerate(faces.names)}
    found = []
    for line, text in numbered[1:]:
        fields = text.split("\t")
        if len(fields) != 4 or fields[2] not in ("0", "1") or not fields[3].isdigit():
            raise BadInput(
                f"line {line} of {path} is not two paths, 0 or 1, and a fold",
                why=f"it has {len(fields)} fields",
                mend="separate the four by tabs",
            )
        one, two = where.get(fields[0]), where.get(fields[1])
        same = fields[2] == "1"
        told = None if one is None or two is None else faces.identities[one] == faces.identities[two]
        if faces.identified and told is not None and same != told:
            raise BadInput(
                f"line {line} of {path} says {'one person' if same else 'two people'}, the folders of the two pictures say otherwise",
                mend="correct the line, or move the pictures",
            )
        found.append(_Line(line, (one, two), (fields[0], fields[1]), same, fold=int(fields[3])))
    return found


def _lfw_folds(path: Path, head: Sequence[int], there: int) -> np.ndarray:
    folds, each = (1, head[0]) if len(head) == 1 else (head[0], head[1])
    if folds * each * 2 != there or not there:
        raise BadInput(
            f"{path} names {there} pairs",
            why=f"its first line speaks of {folds} x {each} genuine and as many impostor pairs",
            mend="fetch the file again, or correct its first line",
        )
    return np.repeat(np.arange(folds), 2 * each)


def _check_halves(path: Path, found: Sequence[_Line], fold: np.ndarray) -> None:
    genuine = np.bincount(fold, weights=[line.same for line in found])
    wrong = np.flatnonzero(2 * genuine != np.bincount(fold))
    if len(wrong):
        raise BadInput(
            f"fold {wrong[0]} of {path} has {int(genuine[wrong[0]])} genuine pairs of {int((fold == wrong[0]).sum())}",
            why="its first line makes them half of every fold",
            mend="fetch the file again",
        )


def _resolved(
    path: Path, found: Sequence[_Line], dialect: str, fold: np.ndarray | None, *, missing: str, folds: int, seed: int
) -> ReadPairs:
    for line in found:
        if line.called[0] == line.called[1]:
            raise BadInput(f"line {line.number} of {path} pairs a picture with itself", mend="remove the line")
    absent: dict[str, int] = {}
    kept = []
    for index, line in enumerate(found):
        lost = [name for name, picture in zip(line.called, line.pictures, strict=True) if picture is None]
        for name in lost:
            absent.setdefault(name, line.number)
        if not lost:
            kept.append(index)
    if absent and missing == REFUSE:
        told = some_of([f"{name} (line {line})" for name, line in absent.items()])
        raise BadInput(
            f"{path} names {len(absent)} pictures that are not there, in {len(found) - len(kept)} of {len(found)} pairs",
            why=told,
            mend="fetch the pictures, or leave these pairs out by data.missing=leave_out",
        )
    if not kept:
        raise BadInput(
            f"of the {len(found)} pairs in {path} none has both pictures", mend="give the folder they belong to"
        )
    first, second = (np.array([found[index].pictures[side] for index in kept], dtype=np.int64) for side in (0, 1))
    same = np.array([found[index].same for index in kept])
    if dialect == "paths":
        fold = np.array([found[index].fold for index in kept])
    elif fold is not None:
        fold = fold[kept]
    else:
        fold = dealt(same, folds, seed)
    # A fold all of whose pairs were left out is no fold.
    fold = np.unique(fold, return_inverse=True)[1].reshape(-1)
    return ReadPairs(FacePairs(first, second, same, fold), dialect, len(found) - len(kept))


def dealt(same: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal pairs into folds, genuine and impostor pairs evenly, by a seed: int64 (m,).

    >>> np.bincount(dealt(np.array([True] * 6 + [False] * 4), 2, seed=0)).tolist()
    [5, 5]
    """
    fold = np.empty(len(same), np.int64)
    rng = np.random.default_rng(seed)
    for kind in (True, False):
        order = rng.permutation(np.flatnonzero(same == kind))
        fold[order] = np.arange(len(order)) % folds
    return fold


def write_pairs(path: Path, faces: FaceImages, pairs: FacePairs, *, dialect: str = "paths") -> None:
    """Write pairs in the dialect "paths", which takes any names, or "lfw", which takes pictures numbered within their person's folder.

    Raises:
        BadInput: these pairs cannot be said in LFW's dialect.
    """
    if dialect == "paths":
        rows = [
            f"{faces.names[one]}\t{faces.names[two]}\t{int(same)}\t{fold}"
            for one, two, same, fold in zip(pairs.first, pairs.second, pairs.same, pairs.fold, strict=True)
        ]
        if any("\t" in name for name in faces.names):
            raise BadInput("a picture's name holds a tab", mend="rename it: tabs separate the columns")
        path.write_text("\n".join([PATHS, *rows]) + "\n", encoding="utf-8")
    elif dialect == "lfw":
        path.write_text("\n".join(_lfw_rows(faces, pairs)) + "\n", encoding="utf-8")
    else:
        raise BadInput(f"unknown dialect {dialect!r}", mend="use paths or lfw")


def _lfw_rows(faces: FaceImages, pairs: FacePairs) -> list[str]:
    why = "LFW's dialect has as many genuine as impostor pairs in every fold, and names pictures by the number their name ends with"
    counts = {(fold, same): 0 for fold in range(pairs.folds) for same in (True, False)}
    for fold, same in zip(pairs.fold.tolist(), pairs.same.tolist(), strict=True):
        counts[fold, same] += 1
    each = counts[0, True] if counts else 0
    keys = [(PurePosixPath(name).parts[0], picture_number(name)) for name in faces.names]
    if set(counts.values()) != {each} or not each or len(set(keys)) != len(keys) or any(n is None for _, n in keys):
        raise BadInput("these pairs cannot be written in LFW's dialect", why=why, mend="use the dialect paths")
    if any("\t" in person for person, _ in keys):
        raise BadInput("a person's name holds a tab", mend="rename the folder: tabs separate the columns")
    rows = [f"{pairs.folds}\t{each}"]
    for index in np.lexsort((~pairs.same, pairs.fold)).tolist():
        (person, one), (other, two) = keys[pairs.first[index]], keys[pairs.second[index]]
        rows.append(f"{person}\t{one}\t{two}" if pairs.same[index] else f"{person}\t{one}\t{other}\t{two}")
    return rows
