"""`stillhouse export`: the result of a finished run in a folder of its own, with its privacy statement beside it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ...methods.condensation.condensed import FILE as CONDENSED
from ...methods.condensation.export import FORMATS as OF_IMAGES
from ...methods.condensation.export import README, export, formats_of, read_checked
from ...methods.recognition.card import FILE as CARD
from ...methods.recognition.card import Card
from ...platform.errors import BadInput
from ...platform.training.files import read_json, write_json
from ...platform.training.outcome import Outcome
from ..config.choices import nearest
from ..record import RECORD

SYNTHETIC = "synthetic.npz"
SAMPLER = "sampler.json"  # beside a diffusion student: what `stillhouse sample` draws by
STUDENT = "student.safetensors"
GRAPH = "student.onnx"
CLASSIFIER = "classifier.json"  # beside a student of objects: what the ONNX graph is made by
FORMATS = (*OF_IMAGES, "onnx")
# What an export wrote: only these files are replaced by the next one.
MANIFEST = "export.json"
MADE_BY = "stillhouse export"
ASIDE = ".export-"
# Made by looking at an export, not by its owner.
TRACES = ("__pycache__", ".DS_Store")
MOST_NAMED = 3

Fill = Callable[[Path], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="the run folder")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="an empty folder, or that of an export")
    parser.add_argument(
        "--format",
        metavar="LIST",
        help=f"some of {','.join(FORMATS)}; default: all that the run holds, but onnx only if named",
    )
    parser.add_argument(
        "--decoded",
        action="store_true",
        help="of a condensed set: the training images that the stored ones are cut into",
    )
    parser.add_argument(
        "--adapt",
        type=Path,
        metavar="PICTURES",
        help="of a recogniser: adapt batch normalisation to these faces (FaceBN)",
    )


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Export."""
    wanted = None if options.format is None else parse_formats(options.format)
    folder, to = options.folder, options.to
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", mend="give the folder of a finished run")
    outcome = Outcome.read(folder)
    told = [run_line(folder, outcome), f"Privacy: {outcome.privacy.line()}"]
    # The outcome's own artefacts: another file may be left from a run with another privacy statement.
    held = set(outcome.artefacts.values())
    if options.adapt is not None and not {CARD, STUDENT} <= held:
        raise BadInput(f"--adapt is for recognisers, and {folder} holds none", mend="leave --adapt out")
    if CONDENSED in held:
        formats, fill = _condensed(folder, wanted, decoded=options.decoded, told=told)
    elif SYNTHETIC in held:
        formats, fill = _synthetic(
            folder, wanted, decoded=options.decoded, told=told, sampler={SAMPLER, STUDENT} <= held
        )
    elif {CARD, STUDENT} <= held:
        formats, fill = _recogniser(folder, wanted, options.adapt, decoded=options.decoded, told=told)
    elif STUDENT in held:
        formats, fill = _student(folder, wanted, decoded=options.decoded, told=told, graph=CLASSIFIER in held)
    else:
        raise BadInput(
            f"{folder} holds nothing to export",
            why=f"its outcome names none of {CONDENSED}, {SYNTHETIC} and {STUDENT}",
            mend="give the folder of a finished run of condensation, private generation, recognition, PATE, DGD or DP-SGD",
        )
    files = place(to, fill)
    print(f"{told[1]}\nexported to {to}: {', '.join(formats)} ({len(files)} files)", file=sys.stderr)
    return {
        "folder": str(to),
        "formats": list(formats),
        "privacy": outcome.privacy.line(),
        "files": [str(to / name) for name in files],
    }


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of a list with commas, each once.

    >>> parse_formats("npz, grid,npz")
    ('npz', 'grid')
    """
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise BadInput("--format names no format", mend=f"use some of {','.join(FORMATS)}, or leave it out")
    for word in words:
        if word not in FORMATS:
            raise BadInput(
                f"unknown format '{word}'{nearest(word, list(FORMATS))}", mend=f"use some of {','.join(FORMATS)}"
            )
    return words


def place(to: Path, fill: Fill) -> list[str]:
    """Let `fill` write into an empty folder aside, then put that in the place of what an earlier export left in `to`.

    Raises:
        BadInput: `to` holds what no export wrote, or cannot be written.
    """
    try:
        _refuse_foreign(to)
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=ASIDE, dir=to) as name:
            aside = Path(name)
            fill(aside)
            files = sorted(p.relative_to(aside).as_posix() for p in aside.rglob("*") if p.is_file())
            write_json(aside / MANIFEST, {"made_by": MADE_BY, "files": files})
            # In this order, whatever lies in the folder is listed there at every moment: a stopped export can be repeated.
            for old in to.iterdir():
                if old != aside and old.name != MANIFEST:
                    _remove(old)
            (aside / MANIFEST).replace(to / MANIFEST)
            for new in aside.iterdir():
                new.replace(to / new.name)
    except OSError as error:
        raise BadInput(
            f"cannot write to {to}",
            why=f"{type(error).__name__}: {error.strerror or error}",
            mend="give --to a folder that can be made and written, on a disk with room",
        ) from None
    return [*files, MANIFEST]


def _condensed(
    folder: Path, wanted: tuple[str, ...] | None, *, decoded: bool, told: Sequence[str]
) -> tuple[tuple[str, ...], Fill]:
    stored = read_checked(folder / CONDENSED)
    held = formats_of(stored)
    formats = wanted or held
    channels = stored.images.shape[1]
    _refuse_missing(folder, formats, held, why=f"its images have {channels} channels, and a picture has 1 or 3")
    if decoded and formats == ("torch",):
        raise BadInput(
            "--decoded changes nothing in format torch",
            why=f"{CONDENSED} holds the stored images",
            mend="add npz, images or grid to --format, or leave --decoded out",
        )
    fill = partial(export, stored, folder / CONDENSED, formats=formats, decoded=decoded, told=told)
    return formats, fill


def _synthetic(
    folder: Path, wanted: tuple[str, ...] | None, *, decoded: bool, told: Sequence[str], sampler: bool
) -> tuple[tuple[str, ...], Fill]:
    # It needs diffusers' schedule for the student; a set of images alone does not wait for that.
    from ...methods.diffusion.export import SyntheticSet

    stored = SyntheticSet.read(folder / SYNTHETIC)
    held = (*stored.formats, *(("torch",) if sampler else ()))
    formats = wanted or held
    why = f"its images have {stored.images.shape[1]} channels, and a picture has 1 or 3"
    if "torch" in formats and not sampler:
        why = "it keeps images and no network that makes them"
    if "onnx" in formats:
        why = "a synthetic set is no network, and its student runs down a chain, not once"
    _refuse_missing(folder, formats, held, why=why)
    if decoded:
        raise BadInput("--decoded is for condensed sets", why="these images are whole", mend="leave --decoded out")

    def fill(place: Path) -> None:
        stored.export(place, formats, told=told)
        if "torch" in formats:
            for name in (STUDENT, SAMPLER):
                shutil.copyfile(folder / name, place / name)
            with (place / README).open("a", encoding="utf-8") as readme:
                readme.write(
                    f"  {STUDENT}, {SAMPLER}: what made them; `stillhouse sample FOLDER --to DIR` makes more\n"
                )

    return formats, fill


def _recogniser(
    folder: Path, wanted: tuple[str, ...] | None, adapt: Path | None, *, decoded: bool, told: Sequence[str]
) -> tuple[tuple[str, ...], Fill]:
    # A network's library is imported for those who have a network.
    from ...methods.recognition.export import FORMATS as OF_RECOGNISERS
    from ...methods.recognition.export import export_recogniser
    from ...methods.recognition.given_pictures import read_given
    from ...platform.data.landmarks import landmark_finder

    formats = wanted or ("torch",)
    why = "this run holds a recogniser and no images"
    _refuse_missing(folder, formats, OF_RECOGNISERS, why=why)
    if decoded:
        raise BadInput("--decoded is for condensed sets", why=why, mend="leave --decoded out")
    faces = None
    if adapt is not None:
        faces = read_given([adapt], side=Card.read(folder).aligned, finder=landmark_finder("none"))

    def fill(place: Path) -> None:
        export_recogniser(folder, place, formats, told=told, faces=faces)

    return formats, fill


def _student(
    folder: Path, wanted: tuple[str, ...] | None, *, decoded: bool, told: Sequence[str], graph: bool
) -> tuple[tuple[str, ...], Fill]:
    formats = wanted or ("torch",)
    why = f"this run holds the weights of a student ({STUDENT}) and no images"
    _refuse_missing(folder, formats, ("torch", "onnx") if graph else ("torch",), why=why)
    if decoded:
        raise BadInput("--decoded is for condensed sets", why=why, mend="leave --decoded out")
    try:
        with safe_open(folder / STUDENT, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"{folder / STUDENT} cannot be read", why=f"{type(error).__name__}: {error}", mend="repeat the run"
        ) from None
    lines = [
        "The weights of a student: the classifier that a run ends with.",
        "",
        *told,
        "",
    ]

    def fill(place: Path) -> None:
        if "torch" in formats:
            lines.append(f"Read them with safetensors.torch.load_file({STUDENT!r}):")
            lines.extend(f"  {name} {shape}" for name, shape in shapes.items())
            for name in (STUDENT, CLASSIFIER) if graph else (STUDENT,):
                shutil.copyfile(folder / name, place / name)
        if "onnx" in formats:
            from ...methods.recognition.classifier import export_classifier

            written = export_classifier(folder, place / GRAPH, notes=told)
            lines.append(
                f"{GRAPH}: the same as a graph, any batch; differs by {written.difference:.1g} at most in a number"
            )
        (place / README).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return formats, fill


def _refuse_missing(folder: Path, formats: Sequence[str], held: Sequence[str], *, why: str) -> None:
    missing = [name for name in formats if name not in held]
    if missing:
        mend = f"use --format {','.join(held)}, or leave --format out"
        raise BadInput(f"{folder} cannot be exported as {', '.join(missing)}", why=why, mend=mend)


def _refuse_foreign(to: Path) -> None:
    if not to.exists():
        return
    if not to.is_dir():
        raise BadInput(f"{to} is a file", mend="give --to a folder")
    listed = _listed(to / MANIFEST)
    known = {to / name for name in listed} | {parent for name in listed for parent in (to / name).parents}
    foreign = [str(path.relative_to(to)) for path in _unknown(to, known)]
    if foreign:
        more = f" and {len(foreign) - MOST_NAMED} more" if len(foreign) > MOST_NAMED else ""
        raise BadInput(
            f"{to} is not empty",
            why=f"no export wrote {', '.join(foreign[:MOST_NAMED])}{more}, and an export replaces all that lies in its folder",
            mend="give --to a new folder, or move these out",
        )


def _unknown(folder: Path, known: Set[Path]) -> Iterator[Path]:
    """What is not known, without a look inside: it may be a whole home."""
    for path in sorted(folder.iterdir()):
        if path.name in TRACES or path.name.startswith(ASIDE):
            continue
        if path not in known:
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _unknown(path, known)


def _listed(manifest: Path) -> set[str]:
    """What an earlier export wrote, itself included; nothing if this is not its list."""
    content = read_json(manifest) if manifest.is_file() else None
    if not isinstance(content, dict) or content.get("made_by") != MADE_BY or not isinstance(content.get("files"), list):
        return set()
    return {MANIFEST, *map(str, content["files"])}


def run_line(folder: Path, outcome: Outcome) -> str:
    """Which run; no path, since an export is handed out."""
    parts = [f"method {outcome.method}"]
    try:
        record = read_json(folder / RECORD)
        parts += [f"data {record['config']['data']['name']}", f"seed {record['seed']}"]
        parts.append(f"stillhouse {record['versions']['stillhouse']}")
    except (BadInput, KeyError, TypeError):
        pass  # The record tells more, but the outcome says what has to be said.
    return f"Run: {folder.resolve().name} ({', '.join(parts)})"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
