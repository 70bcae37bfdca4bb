"""Does one detector of forged videos tell them apart better than another? A paired bootstrap over the people of the test videos.

    python examples/compare_videos.py RUN --other OTHER                           folders of finished runs (naco ...) on the same data
    python examples/compare_videos.py RUN ... --other OTHER ... --families FS NT  several seeds of each; these families alone

It prints the AUC of videos, a mean over the runs of each side, their difference with its 95 % interval, and each pair of seeds
apart. All runs have to have scored the same videos. The interval says how the difference hangs on the people tested, for these very
trainings; how it hangs on seeds, the single differences show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stillhouse.methods.recognition.naco.card import read_card
from stillhouse.methods.recognition.naco.scoring import ClipScores, video_scores
from stillhouse.methods.recognition.naco.writing import SCORES
from stillhouse.platform.errors import BadInput, StillhouseError
from stillhouse.platform.training.values import load_value
from stillhouse.platform.verification.bootstrap import (
    Difference,
    Groups,
    Statistic,
    auc_of,
    average_of,
    paired_bootstrap,
)
from stillhouse.platform.verification.roc import auc

SAME = ("video", "start", "forged", "identities")


@dataclass(frozen=True)
class Compared:
    """AUC of each run on either side, and the difference of their means."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    difference: Difference


def compare(
    first: Sequence[Path], second: Sequence[Path], families: Collection[str] = (), *, seed: int = 0
) -> Compared:
    """Compare runs on real videos and those forged ones that are of `families` (none: all).

    Raises:
        BadInput: a run kept no scores, runs scored other videos, or no video is of a family.
    """
    held = {folder: load_value(folder / SCORES) for folder in (*first, *second)}
    known: dict[str, Any] = held[first[0]]
    for folder, value in held.items():
        alike = all(np.array_equal(known[name], value[name]) for name in SAME)
        hashed = "content" in known, "content" in value
        alike &= known["families"] == value["families"]
        if not alike or (all(hashed) and known["content"] != value["content"]):
            raise BadInput(
                f"{folder} and {first[0]} scored other videos",
                mend="repeat one on the other's data, with its protocol_seed",
            )
        if any(hashed) and not all(hashed):
            raise BadInput(
                f"whether {folder} and {first[0]} scored the same videos cannot be told",
                why="one of them is of an older version, which kept no hash of their content", mend="repeat that one",
            )  # fmt: skip
    of, forged = np.array(known["families"]), known["forged"]
    unknown = set(families) - set(of[forged])
    if unknown:
        raise BadInput(
            f"no test video is of family {', '.join(sorted(unknown))}",
            mend=f"give some of {', '.join(dict.fromkeys(of[forged]))}",
        )
    chosen = ~forged | np.isin(of, list(families)) if families else np.ones(len(of), bool)
    truth = forged[chosen]

    def scores(folder: Path) -> np.ndarray:
        value = held[folder]
        clips = ClipScores(value["video"], value["start"], value["logit"], len(of), 0)
        return video_scores(clips, read_card(folder).score)[chosen]

    def statistic(folders: Sequence[Path]) -> Statistic:
        return average_of(*(auc_of(scores(folder), truth) for folder in folders))

    people = Groups(known["identities"][chosen])
    sides = (tuple(auc(scores(folder), truth) for folder in folders) for folders in (first, second))
    return Compared(*sides, paired_bootstrap(statistic(first), statistic(second), people, seed=seed))


def main(words: list[str] | None = None) -> int:
    """Compare, and say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--other", type=Path, nargs="+", required=True)
    parser.add_argument("--families", nargs="+", default=())
    options = parser.parse_args(words)
    try:
        found = compare(options.run, options.other, options.families)
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    between = found.difference
    print(
        f"AUC of videos {np.mean(found.first):.3f} and {np.mean(found.second):.3f}: {between.value:+.3f}, "
        f"{100 * between.level:.0f} % interval {between.low:+.3f} to {between.high:+.3f}, p = {between.p:.3g} (over people)"
    )
    if len(found.first) == len(found.second) > 1:
        print("run by run:", ", ".join(f"{a - b:+.3f}" for a, b in zip(found.first, found.second, strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
