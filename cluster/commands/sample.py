"""`stillhouse sample`: more images from a finished private generator.

They cost nothing: the student was released, and its privacy statement holds for all that follows from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...platform.errors import BadInput
from ...platform.privacy.statement import PrivacyStatement
from ...platform.training.outcome import Outcome
from .export import MANIFEST, SAMPLER, STUDENT, SYNTHETIC, parse_formats, place, run_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="the folder of a run of private diffusion, or of an export of one")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="an empty folder, or that of an export")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="how many (default 1000)")
    parser.add_argument("--labels", metavar="LIST", help="of these classes only, in turn: 0,3,7")
    parser.add_argument("--seed", type=int, default=0, help="other images for another seed (default 0)")
    parser.add_argument("--format", metavar="LIST", help="some of npz,images,grid; default: all")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Sample."""
    # Networks and schedules: their libraries take a while to import.
    from ...methods.diffusion.export import SyntheticSet
    from ...methods.diffusion.sampler import Sampler

    folder = options.folder
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", mend="give the folder of a finished run")
    if options.images < 1 or options.seed < 0:
        raise BadInput(
            f"--images {options.images} --seed {options.seed}", why="at least one image, and seeds from 0 up"
        )
    statement, told = _said(folder)
    sampler, weights = Sampler.read(folder)
    labels = sampler.labels(options.images, options.seed)
    if options.labels is not None:
        chosen = labels.new_tensor(_numbers(options.labels))
        labels = chosen[labels.new_tensor(range(options.images)) % len(chosen)]
    images = sampler.draw(weights, labels, seed=options.seed)
    made = SyntheticSet(images, labels.numpy(), [str(k) for k in range(sampler.classes)], statement)
    formats = made.formats if options.format is None else parse_formats(options.format)
    if missing := [name for name in formats if name not in made.formats]:
        raise BadInput(
            f"images cannot be written as {', '.join(missing)}", mend=f"use some of {','.join(made.formats)}"
        )
    line = f"Sampled: {options.images:,} images, seed {options.seed}"
    files = place(options.to, lambda aside: made.export(aside, formats, told=[*told, line]))
    print(f"{told[-1]}\n{options.images:,} images in {options.to}: {', '.join(formats)}", file=sys.stderr)
    return {
        "folder": str(options.to), "images": options.images, "privacy": statement.line(),
        "files": [str(options.to / name) for name in files],
    }  # fmt: skip


def _said(folder: Path) -> tuple[PrivacyStatement, list[str]]:
    """The statement of a run, or of what an export holds; and lines for the README."""
    # A run that did not end, or ended otherwise, may have left a student and a set that do not belong together.
    if (folder / MANIFEST).is_file():
        from ...methods.diffusion.synthetic import read_synthetic

        if not (folder / SYNTHETIC).is_file():
            raise BadInput(
                f"{folder} does not say what its student costs",
                why=f"this export holds no {SYNTHETIC}, whose privacy statement would go with the images",
                mend="give the folder of the run, or export it with npz among its formats",
            )
        statement = read_synthetic(folder / SYNTHETIC)[3]
        return statement, [f"From the export {folder.resolve().name}", f"Privacy: {statement.line()}"]
    outcome = Outcome.read(folder)
    if not {SAMPLER, STUDENT} <= set(outcome.artefacts.values()):
        raise BadInput(
            f"{folder} holds no diffusion student that can be sampled",
            why=f"its outcome does not name {SAMPLER}",
            mend="give the folder of a finished run of private diffusion, or of an export of one",
        )
    return outcome.privacy, [run_line(folder, outcome), f"Privacy: {outcome.privacy.line()}"]


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdigit() for word in words):
        raise BadInput(f"--labels {text}", why="it is a list of whole numbers", mend="give for example --labels 0,3,7")
    return [int(word) for word in words]
