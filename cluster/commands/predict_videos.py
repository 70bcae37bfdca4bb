"""`stillhouse predict` with a detector of forged videos: a score for each file, how sure it is, and where in time it looks forged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...platform.errors import BadInput
from ...platform.privacy.validate import finite

if TYPE_CHECKING:
    from ...methods.recognition.naco.predicting import Predicted

# What is asked of a recogniser of faces only, by its option.
OF_PICTURES = {
    "pairs": "--pairs",
    "gallery": "--gallery",
    "embeddings": "--embeddings",
    "least_quality": "--least-quality",
}


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Score every video, and say what must be said beside a score."""
    from ...methods.recognition.naco.predicting import predict_videos

    given = [name for option, name in OF_PICTURES.items() if getattr(options, option) is not None]
    if given:
        raise BadInput(
            f"{', '.join(given)} are for pictures", why=f"{options.model} detects forged videos", mend="leave them out"
        )
    if options.threshold is not None:
        finite(threshold=options.threshold)
    if options.table is not None and (options.landmarks != "files" or len(options.pictures) > 1):
        raise BadInput(
            "--table names landmarks of one video", mend="give one video, and --landmarks files --table NAME.npz"
        )
    if options.landmarks == "files" and options.table is None:
        raise BadInput("--landmarks files without a file", mend="give --table NAME.npz")
    found = predict_videos(
        options.model, options.pictures, landmarks=options.landmarks, table=options.table, threshold=options.threshold,
        frames=options.frames, plots=options.timelines,
    )  # fmt: skip
    for line in _lines(found):
        print(line, file=sys.stderr)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return {
        "model": found.card.to_json(),
        "videos": [asdict(one) for one in found.videos],
        "failed": [asdict(one) for one in found.failed],
        "notes": list(found.notes),
    }


def _lines(found: Predicted) -> Iterable[str]:
    for lost in found.failed:
        yield f"{lost.name}: not scored ({lost.why})"
    for one in found.videos:
        sure = "" if one.low is None else f", 95 % interval over clips {one.low:+.3f} to {one.high:+.3f}"
        yield f"{one.name}: score {one.score:+.3f}{sure}; {one.verdict}"
        seconds = one.frames / one.fps
        yield f"  {one.clips} clips of {one.frames} frames ({seconds:.1f} s); as a probability {one.probability:.3f}, not calibrated"
        if one.plot:
            yield f"  score over time: {one.plot}"
