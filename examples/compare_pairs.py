"""Is one run of face recognition more accurate than another? A paired bootstrap over the people of their test pairs.

    python examples/compare_pairs.py RUN OTHER                          folders of finished runs (crrcd, kd, aird ...) on the same data
    python examples/compare_pairs.py RUN OTHER --network "student, FaceBN"
    python examples/compare_pairs.py RUN OTHER --kind bare_masked --network recogniser                         of G2D

It prints RUN's accuracy less OTHER's with its 95 % interval. Both runs have to have scored the same pairs: data, protocol_seed and draw
are the same. The interval says how the difference hangs on the test set; it knows of no other seed of training than these two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.writing import SCORES
from stillhouse.platform.errors import BadInput, StillhouseError
from stillhouse.platform.training.values import load_value
from stillhouse.platform.verification.bootstrap import Difference, PeopleOfPairs, Records, mean_of, paired_bootstrap

SAME = ("same", "fold", "first", "second")


def scored(folder: Path, kind: str | None) -> dict[str, Any]:
    """The scores of a run, of one kind of pair where it has several."""
    found: dict[str, Any] = load_value(folder / SCORES)
    if "same" in found and kind is None:
        return found
    kinds = [] if "same" in found else sorted(found)
    if kind not in kinds:
        known = f"one of {', '.join(kinds)}" if kinds else "no --kind"
        raise BadInput(f"{folder} has no pairs of kind {kind}", mend=f"give {known}")
    return dict(found[kind])


def compare(
    first: Path, second: Path, *, network: str, kind: str | None = None, seed: int = 0
) -> tuple[Difference, str]:
    """The first run's accuracy less the second's, and what was drawn: people, or pairs where nobody knows who is who.

    Raises:
        BadInput: a run kept no such scores, or the two were scored on other pairs.
    """
    hashes = {Card.read(folder).data_sha256 for folder in (first, second)} - {""}
    one, other = (scored(folder, kind) for folder in (first, second))
    if len(hashes) > 1 or not all(np.array_equal(one[name], other[name]) for name in SAME):
        raise BadInput(
            "the two runs were scored on other pairs", mend="repeat one on the other's data, with its protocol_seed"
        )
    for folder, value in ((first, one), (second, other)):
        if not isinstance(value.get(network), dict):
            networks = [name for name, held in value.items() if isinstance(held, dict)]
            raise BadInput(f"{folder} has no scores of '{network}'", mend=f"give one of {', '.join(networks)}")
    known = "first_person" in one
    units = PeopleOfPairs(one["first_person"], one["second_person"]) if known else Records(one["same"])
    right = (mean_of(value[network]["correct"]) for value in (one, other))
    return paired_bootstrap(*right, units, seed=seed), "people" if known else "pairs"


def main(words: list[str] | None = None) -> int:
    """Compare, and say it on one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--network", default="student")
    parser.add_argument("--kind")
    options = parser.parse_args(words)
    try:
        found, drawn = compare(options.run, options.other, network=options.network, kind=options.kind)
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(
        f"{100 * found.value:+.2f} points of accuracy, {100 * found.level:.0f} % interval {100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f}, p = {found.p:.3g} (over {drawn})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
