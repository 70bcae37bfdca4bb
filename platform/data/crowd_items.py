"""The items that a crowd labelled, from files: features (CSV, npz) or images (npz, folder)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .crowd_files import RowProblems, table
from .image_folder import SUFFIXES, _opened
from .images import check_images

ITEM_KEY, FEATURE_KEY, IMAGE_KEY = "items", "features", "images"
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class NamedInputs:
    """Items by name: float32 (n, D) features or uint8 (n, channels, height, width) images."""

    path: Path
    names: tuple[str, ...]
    inputs: np.ndarray


def read_inputs(path: Path, *, item: str = "item", ignored: Sequence[str] = ()) -> NamedInputs:
    """Read items: a CSV of features, an npz (`items` with `features` or `images`), or a folder of images (named by their path in it).

    Args:
        path: the file or folder.
        item: the CSV's column with the item's name.
        ignored: columns of the CSV that are no features, if there are such.

    Raises:
        BadInput: it cannot be read, a feature is no finite number, or an item stands there twice.
    """
    if path.is_dir():
        return _folder_of_images(path)
    if path.suffix.lower() == ".npz":
        return _archive(path)
    return _table_of_features(path, item, ignored)


def _table_of_features(path: Path, item: str, ignored: Sequence[str]) -> NamedInputs:
    problems = RowProblems(path)
    rows = table(path, [item, *ignored], problems)
    _, header = next(rows)
    name_at = header.index(item)
    places = [n for n, column in enumerate(header) if column != item and column not in ignored]
    if not places:
        raise BadInput(f"{path} has no features", mend=f"give columns of numbers beside {item}")
    lines: dict[str, int] = {}
    features: list[list[float]] = []
    for line, fields in rows:
        name, numbers = fields[name_at], [_number(fields[place]) for place in places]
        wrong = [header[place] for place, number in zip(places, numbers, strict=True) if number is None]
        if not name:
            problems.add(line, f"no {item}")
        elif lines.setdefault(name, line) != line:
            problems.add(line, f"the same {item} as in line {lines[name]}")
        elif wrong:
            others = f" and {len(wrong) - 1} more columns" if len(wrong) > 1 else ""
            problems.add(line, f"no finite number in {wrong[0]}{others}")
        else:
            features.append([number for number in numbers if number is not None])
    problems.check("give each item one line of finite numbers")
    if not features:
        raise BadInput(f"{path} holds no items", mend="give a line for each item")
    return NamedInputs(path, tuple(lines), np.array(features, dtype=np.float32))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # What is finite only in double precision would become infinite in the features.
    return number if math.isfinite(number) and abs(number) <= LARGEST else None


def _archive(path: Path) -> NamedInputs:
    held = read_archive(path, (ITEM_KEY,), (FEATURE_KEY, IMAGE_KEY))
    items = held[ITEM_KEY]
    both = [key for key in (FEATURE_KEY, IMAGE_KEY) if key in held]
    if len(both) != 1:
        raise BadInput(f"{path} holds {'both' if both else 'neither'} features and images", mend="give one of them")
    if items.ndim != 1 or items.dtype.kind not in "Uiu":
        raise BadInput(
            f"{path}: {ITEM_KEY} is {items.dtype} of shape {items.shape}", why="it is a row of texts or numbers"
        )
    inputs = held[both[0]]
    if both[0] == IMAGE_KEY:
        inputs = check_images(inputs, str(path))
    elif inputs.ndim != 2 or inputs.dtype.kind not in "fiu" or not inputs.shape[1]:
        raise BadInput(
            f"{path}: features are {inputs.dtype} of shape {inputs.shape}", why="they are numbers (n, features)"
        )
    else:
        with np.errstate(over="ignore"):
            inputs = inputs.astype(np.float32)
        if not np.isfinite(inputs).all():
            raise BadInput(f"{path}: a feature is not a finite number", mend="impute or drop it")
    if len(inputs) != len(items):
        raise BadInput(f"{path}: {len(items)} items, but {len(inputs)} {both[0]}", mend="give one for each item")
    names = tuple(str(name).strip() for name in items)
    if len(set(names)) != len(names):
        raise BadInput(f"{path} holds an item twice", mend="keep one")
    return NamedInputs(path, names, inputs)


def read_archive(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an npz, which can hold no code.

    Raises:
        BadInput: the archive is absent, damaged, or lacks one of the needed arrays.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist", mend="check the folder and the file's name")
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, np.ndarray] = {key: held[key] for key in (*needed, *optional) if key in held.files}
    except Exception as error:  # Of a damaged archive numpy and zipfile raise whatever they stumble on.
        raise BadInput(
            f"cannot read {path}",
            why=f"it is no whole archive of plain arrays ({type(error).__name__})",
            mend="write it with numpy.savez, texts as texts and not as objects",
        ) from None
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise BadInput(f"{path} lacks {', '.join(missing)}", why="these arrays must be in it", mend="add them")
    return arrays


def _folder_of_images(folder: Path) -> NamedInputs:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and _shown(p, folder))
    if not files:
        raise BadInput(f"{folder} holds no png or jpg images", mend="put them there")
    first = _opened(files[0]).size
    images = np.empty((len(files), 3, first[1], first[0]), np.uint8)
    for pixels, file in zip(images, files, strict=True):
        image = _opened(file)
        if image.size != first:
            raise BadInput(
                f"{file.parent} holds an image of another size than the first", mend="resize all to one size"
            )
        pixels[:] = np.asarray(image).transpose(2, 0, 1)
    return NamedInputs(folder, tuple(file.relative_to(folder).as_posix() for file in files), images)


def _shown(file: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(folder).parts)
