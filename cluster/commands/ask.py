"""`stillhouse ask`: an analyst puts public images to an ensemble and gets noisy labels, each of them charged."""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...platform.aggregator.client import Analyst
from ...platform.errors import BadInput
from ...platform.privacy.statement import epsilon_up
from ..config.choices import build_mechanism
from .endpoint import add_endpoint_arguments, endpoint_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--images", type=Path, required=True, help="npz file with `images`, uint8 (n, channels, height, width)"
    )
    parser.add_argument(
        "--mechanism",
        nargs="+",
        required=True,
        metavar="KEY=VALUE",
        help="e.g. name=confident_gnmax threshold=200 sigma1=150 sigma2=40",
    )
    parser.add_argument(
        "--ensemble",
        required=True,
        help="name of the ensemble (that of the data set, unless the operator chose another)",
    )
    parser.add_argument("--out", type=Path, required=True, help="npz file for `labels`: -1 where there is none")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds to wait for the answers")
    add_endpoint_arguments(parser)


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Ask, write the labels, say what it cost."""
    out: Path = options.out
    # Before anything is bought: labels that cannot be written are paid for all the same.
    if out.suffix != ".npz":
        raise BadInput(f"--out {out} names no .npz file", mend="give a name that ends in .npz")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent} for --out", mend="make it, or give another --out")
    if not options.images.is_file():
        raise BadInput(f"no file {options.images}", mend="write public images with numpy.savez(file, images=...)")
    try:
        images = np.load(options.images, allow_pickle=False)["images"]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, IndexError, KeyError) as error:
        raise BadInput(
            f"{options.images} holds no `images` that can be read",
            why=type(error).__name__,
            mend="write it with numpy.savez(file, images=...)",
        ) from None
    analyst = Analyst(endpoint_of(options))
    answers = analyst.ask(
        images, build_mechanism(options.mechanism), ensemble=options.ensemble, wait_seconds=options.wait
    )
    np.savez(out, labels=answers.labels)
    counts = dict(Counter(answers.statuses))
    free = int(np.sum(answers.from_store))
    spent = epsilon_up(answers.spent_epsilon, cap=answers.epsilon_cap)
    print(
        f"{counts.get('answered', 0)} of {len(images)} answered ({free} from the store, free); "
        f"spent so far on this data set: epsilon {spent} at delta {answers.delta:g}, {answers.neighbouring}",
        file=sys.stderr,
    )
    return {
        "asked": len(images),
        "statuses": counts,
        "from_store": free,
        "cost_nano_rho": answers.cost_nano_rho,
        "spent_epsilon": answers.spent_epsilon,
        "delta": answers.delta,
        "neighbouring": answers.neighbouring,
        "file": str(out),
    }
