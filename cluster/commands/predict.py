"""`stillhouse predict`: a trained recogniser on pictures of one's own: embeddings, verification of pairs, identification."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...platform.errors import BadInput
from ...platform.privacy.validate import finite, non_negative

if TYPE_CHECKING:
    from ...methods.recognition.card import Card
    from ...methods.recognition.predicting import Embedded, Identified, Limits, VerifiedPair

MOST_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model", type=Path, help="folder of a finished run, an export or a fetched teacher; or a .onnx file"
    )
    parser.add_argument(
        "pictures",
        type=Path,
        nargs="+",
        help="JPEG or PNG files of one face each, or folders of them; films for a detector",
    )
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="pairs to verify: two paths a line, or a pairs.txt")
    parser.add_argument(
        "--gallery", type=Path, metavar="FOLDER", help="known people, a folder each: say who is on the pictures"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="cosine (of a detector: score) from which two pictures show one person (a film is forged); default: the card's",
    )
    parser.add_argument(
        "--least-quality", type=float, help="length of an embedding below which nothing is said; default: the card's"
    )
    parser.add_argument(
        "--landmarks",
        default="none",
        help="finder of landmarks: none, csv, mediapipe, dlib or opencv; of a detector also files, or crops (films are crops of faces)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="of --landmarks csv: a name and 5 or 68 points a line; of files: an .npz with the points of each frame",
    )
    parser.add_argument(
        "--frames", type=int, help="of a detector: how many frames of a film it looks at; default: the card's"
    )
    parser.add_argument(
        "--timelines",
        type=Path,
        metavar="FOLDER",
        default=Path("timelines"),
        help="of a detector: where scores over time are drawn",
    )
    parser.add_argument("--embeddings", type=Path, metavar="NPZ", help="write names, embeddings and quality")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Load, embed, and say what was asked for."""
    # Help and the checks of arguments do not need torch.
    from ...methods.recognition.naco.card import is_detector

    if options.model.is_dir() and is_detector(options.model):
        from . import predict_videos

        return predict_videos.execute(options)
    from ...methods.recognition.given_pictures import RESIZED, read_given
    from ...methods.recognition.predicting import embed_given, find_pairs, identify_pictures, verify_pairs
    from ...methods.recognition.stored import load_recogniser
    from ...platform.data.landmarks import landmark_finder

    _check(options)
    stored = load_recogniser(options.model)
    card = stored.card
    limits = _limits(options, card)
    finder = landmark_finder(options.landmarks, options.table)
    given = read_given(options.pictures, side=card.aligned, finder=finder)
    pairs = None if options.pairs is None else find_pairs(options.pairs, given)
    notes = _notes(card, limits)
    if resized := given.how.count(RESIZED):
        notes.append(
            f"{resized} of {len(given)} pictures are not of {card.aligned} x {card.aligned} pixels: the middle square was "
            "resized, which is right only for crops of a face; otherwise align them (--landmarks)"
        )
    embedded = embed_given(stored, given)
    result: dict[str, Any] = {
        "model": asdict(card),
        "threshold": limits.threshold,
        "least_quality": limits.least_quality,
        "pictures": _told(embedded, limits),
    }
    _say(_picture_lines(embedded, limits))
    if pairs is not None:
        verified = verify_pairs(embedded, pairs, limits)
        _say(_pair_lines(verified))
        result["pairs"] = [asdict(pair) for pair in verified]
        notes += _judged(verified)
    if options.gallery is not None:
        gallery = embed_given(stored, read_given([options.gallery], side=card.aligned, finder=finder))
        found = identify_pictures(embedded, gallery, limits)
        _say(_identity_lines(found))
        result["identified"] = [asdict(one) for one in found]
        notes += _gallery_notes(gallery, limits)
    if options.embeddings is not None:
        _write(options.embeddings, embedded)
        result["embeddings"] = str(options.embeddings)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return {**result, "notes": notes}


def _check(options: argparse.Namespace) -> None:
    if options.threshold is not None:
        finite(threshold=options.threshold)
        if not -1 <= options.threshold <= 1:
            raise BadInput("the threshold is no cosine", why="cosines lie in -1 .. 1", mend="give one such as 0.3")
    if options.least_quality is not None:
        non_negative(least_quality=options.least_quality)
    if options.gallery is not None and not options.gallery.is_dir():
        raise BadInput(
            f"{options.gallery} is not a folder", mend="give a folder with a folder of pictures for each person"
        )
    if options.frames is not None:
        raise BadInput(
            "--frames is for films", why=f"{options.model} recognises faces on pictures", mend="leave it out"
        )
    if options.embeddings is not None and options.embeddings.suffix != ".npz":
        raise BadInput("--embeddings names no .npz file", mend="give a name that ends in .npz")


def _limits(options: argparse.Namespace, card: Card) -> Limits:
    from ...methods.recognition.predicting import Limits

    threshold = card.threshold if options.threshold is None else options.threshold
    least = card.least_quality if options.least_quality is None else options.least_quality
    return Limits(threshold, least)


def _notes(card: Card, limits: Limits) -> list[str]:
    notes = [f"{card.architecture}, {card.preparation()}; licence of the weights: {card.licence}"]
    if card.trained_on:
        notes.append(f"trained on {card.trained_on}")
    if card.adapted:
        notes.append(f"batch normalisation adapted: {card.adapted}")
    if limits.threshold is None:
        notes.append("the model's card has no threshold: scores are told, nothing is decided (give --threshold)")
    elif card.fmr is not None and limits.threshold == card.threshold:
        notes.append(
            f"at this threshold {card.fmr:g} of the pairs of different people passed for one, on the data it was set on"
        )
    if limits.least_quality is None:
        notes.append("there is no least quality: a picture of no face is scored like any other (give --least-quality)")
    return notes


def _told(embedded: Embedded, limits: Limits) -> list[dict[str, Any]]:
    return [
        {"name": name, "how": how, "quality": quality, "usable": limits.usable(quality)}
        for name, how, quality in zip(embedded.names, embedded.how, embedded.quality.tolist(), strict=True)
    ]


def _picture_lines(embedded: Embedded, limits: Limits) -> Iterable[str]:
    yield f"{len(embedded.names)} pictures, embeddings of {embedded.templates.shape[1]} numbers"
    for one in _told(embedded, limits):
        yield f"  {one['name']}: quality {one['quality']:.2f}, {one['how']}{'' if one['usable'] else ', too poor to decide on'}"


def _pair_lines(pairs: list[VerifiedPair]) -> Iterable[str]:
    yield f"{len(pairs)} pairs"
    for one in pairs:
        truth = "" if one.truth is None else f" (truth: {'same' if one.truth else 'different'})"
        yield f"  {one.first}, {one.second}: {one.score:.3f} {one.verdict}{truth}"


def _identity_lines(found: list[Identified]) -> Iterable[str]:
    yield f"{len(found)} pictures looked for in the gallery"
    for one in found:
        second = "" if one.second is None else f"; then {one.second} {one.second_score:.3f}"
        yield f"  {one.name}: {one.verdict} (likest {one.best} {one.score:.3f}{second})"


def _judged(pairs: list[VerifiedPair]) -> list[str]:
    known = [one for one in pairs if one.truth is not None and one.verdict in ("same", "different")]
    if not known:
        return []
    right = sum((one.verdict == "same") == one.truth for one in known)
    return [f"{right} of the {len(known)} pairs that were decided, and whose truth is known, are right"]


def _gallery_notes(gallery: Embedded, limits: Limits) -> list[str]:
    people = len({name.split("/")[0] for name in gallery.names})
    poor = sum(not limits.usable(quality) for quality in gallery.quality.tolist())
    notes = [f"{poor} of {len(gallery.names)} pictures of the gallery are too poor and were left out"] if poor else []
    if limits.threshold is not None and people > 1:
        notes.append(
            f"the threshold is for one pair: among {people} people a stranger passes up to {people} times as often"
        )
    return notes


def _say(lines: Iterable[str]) -> None:
    lines = iter(lines)
    for line in islice(lines, MOST_SHOWN):
        print(line, file=sys.stderr)
    if more := sum(1 for _ in lines):
        print(f"  and {more} more (all with --json)", file=sys.stderr)


def _write(path: Path, embedded: Embedded) -> None:
    import numpy as np

    from ...platform.training.files import replace

    def fill(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, names=np.array(embedded.names), embeddings=embedded.templates, quality=embedded.quality)

    try:
        replace(path, fill)
    except OSError as error:
        why = f"{type(error).__name__}: {error.strerror or error}"
        raise BadInput(f"cannot write {path}", why=why, mend="give a file in a folder that can be written") from None
