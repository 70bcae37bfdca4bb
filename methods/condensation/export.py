"""A condensed set in forms that others read: NumPy arrays with a loader for PyTorch, PNG files, one picture, safetensors.

>>> import tempfile
>>> from stillhouse.methods.condensation.standard import Standard
>>> folder = Path(tempfile.mkdtemp())
>>> stored = CondensedSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), 2, Standard.constant(1))
>>> stored.write(folder / FILE)
>>> (folder / "out").mkdir()
>>> export(read_checked(folder / FILE), folder / FILE, folder / "out", ["npz", "grid"], told=["Run: an example"])
>>> sorted(file.name for file in (folder / "out").iterdir())
['README.txt', 'condensed.npz', 'grid.png', 'load.py']
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...platform.errors import BadInput
from .condensed import FILE, CondensedSet, grid
from .formation import PADDING, check_factor

PICTURES = ("images", "grid")
FORMATS = ("npz", *PICTURES, "torch")
README = "README.txt"
# Names that some systems keep for devices cannot be folders there.
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def read_checked(path: Path) -> CondensedSet:
    """Read a condensed set whose parts fit each other.

    Raises:
        BadInput: the file is missing or no condensed set, or its images, labels and standardisation do not fit.
    """
    stored = CondensedSet.read(path)
    if problem := _problem(stored):
        raise BadInput(f"{path} cannot be exported", why=problem, mend="repeat the run that made it")
    check_factor(stored.images.shape, stored.factor)
    return stored


def formats_of(stored: CondensedSet) -> tuple[str, ...]:
    """The formats that can hold the set: a picture has one channel or three."""
    return tuple(f for f in FORMATS if f not in PICTURES or stored.images.shape[1] in (1, 3))


def export(
    stored: CondensedSet, source: Path, folder: Path, formats: Sequence[str], *, decoded: bool = False,
    told: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write the set into an empty folder, with a README.txt; with npz also load.py.

    Args:
        stored: as `read_checked` gives it.
        source: the file that it was read from.
        folder: exists.
        formats: some of `formats_of(stored)`.
        decoded: show the decoded images in pictures, and add them to the arrays.
        told: lines for the README: which run made the set, and its privacy statement.
    """
    images, labels = stored.decoded() if decoded else (stored.images, stored.labels)
    shown, numbers = _bytes(images), labels.numpy().astype(np.int64)
    if "npz" in formats:
        arrays: dict[str, np.ndarray] = {
            "images": _bytes(stored.images), "labels": stored.labels.numpy().astype(np.int64),
            "factor": np.array(stored.factor), "mean": np.array(stored.standard.mean),
            "deviation": np.array(stored.standard.deviation),
        }  # fmt: skip
        if decoded:
            arrays |= {"decoded": shown, "decoded_labels": numbers}
        np.savez_compressed(folder / "condensed.npz", allow_pickle=False, **arrays)
        loader = resources.files(__package__).joinpath("load_exported.py").read_text(encoding="utf-8")
        (folder / "load.py").write_text(loader, encoding="utf-8")
    if "images" in formats:
        write_images(folder / "images", shown, numbers, stored.classes)
    if "grid" in formats:
        write_grid(folder / "grid.png", images, labels)
    if "torch" in formats:
        shutil.copyfile(source, folder / FILE)
    text = "\n".join([*_about(stored), *told, "", *_files(formats, decoded=decoded), "", *_reading(stored, formats)])
    (folder / README).write_text(text + "\n", encoding="utf-8")


def write_images(folder: Path, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Write images (n, c, h, w) uint8, c 1 or 3, with labels (n,) as <class>/<number>.png; numbers count through all classes."""
    digits = len(str(len(pixels) - 1))
    folders = class_folders(np.unique(labels).tolist(), classes)
    for number, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        place = folder / folders[label]
        place.mkdir(parents=True, exist_ok=True)
        _picture(image).save(place / f"{number:0{digits}}.png")


def write_grid(path: Path, images: Tensor, labels: Tensor) -> None:
    """Write images (n, c, h, w) in [0, 1], c 1 or 3, with labels (n,) as one picture, one row a class."""
    _picture(_bytes(_rows(images, labels))).save(path)


def class_folders(labels: Sequence[int], classes: Sequence[str]) -> dict[int, str]:
    """A folder name for each label: its class's name as far as files can have it, else its number, as wide as all others.

    >>> class_folders([0, 10], ())
    {0: '00', 10: '10'}
    >>> class_folders([0, 1], ("T-shirt/top", "Ankle boot"))
    {0: 'T-shirt_top', 1: 'Ankle_boot'}
    >>> class_folders([0, 1, 2], ("a/b", "A b", "..."))
    {0: '0-a_b', 1: '1-A_b', 2: '2'}
    """
    digits = len(str(max(labels)))
    names = {n: re.sub(r"[^\w-]+", "_", classes[n]).strip("_")[:60] if n < len(classes) else "" for n in labels}
    # Some systems do not tell capitals from small letters.
    distinct = len({name.casefold() for name in names.values()}) == len(names)
    if distinct and all(name and not _RESERVED.fullmatch(name) for name in names.values()):
        return names
    return {n: f"{n:0{digits}}-{name}".rstrip("-") for n, name in names.items()}


def _problem(stored: CondensedSet) -> str | None:
    images, labels, standard = stored.images, stored.labels, stored.standard
    if images.ndim != 4 or not images.numel() or not images.is_floating_point():
        return f"its images are {images.dtype} of shape {tuple(images.shape)}, not floating point (n, c, h, w)"
    # Also false for what is not a number.
    if not bool(((images >= 0) & (images <= 1)).all()):
        return "a pixel lies outside 0 .. 1"
    if labels.shape != images.shape[:1] or labels.is_floating_point() or int(labels.min()) < 0:
        return f"its labels are {labels.dtype} of shape {tuple(labels.shape)}, not one number from 0 up for each image"
    if not len(standard.mean) == len(standard.deviation) == images.shape[1] or min(standard.deviation) <= 0:
        return f"its standardisation {standard} does not fit {images.shape[1]} channels"
    return None


def _bytes(images: Tensor) -> np.ndarray:
    return (images.float() * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _picture(pixels: np.ndarray) -> Image.Image:
    """An image (c, h, w) with one channel or three."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _rows(images: Tensor, labels: Tensor) -> Tensor:
    """All images, one row a class; shorter rows end in white."""
    classes = labels.unique()
    members = [images[labels == label] for label in classes]
    padded = torch.ones(len(members), max(map(len, members)), *images.shape[1:])
    for row, found in zip(padded, members, strict=True):
        row[: len(found)] = found
    return grid(padded.flatten(0, 1), rows=len(members))


def _about(stored: CondensedSet) -> Iterator[str]:
    count, channels, height, width = stored.images.shape
    yield "A condensed data set: a few images that a network learns from instead of the data set they were made from."
    size = f"{height} x {width} pixels, {channels} channel{'s' if channels > 1 else ''}"
    yield f"{count} stored images of {size}, {len(stored.labels.unique())} classes."
    if stored.classes:
        names = ", ".join(f"{label} {' '.join(name.split())}" for label, name in enumerate(stored.classes))
        yield textwrap.fill(f"Labels: {names}.", 120, break_long_words=False)
    yield ""


def _files(formats: Sequence[str], *, decoded: bool) -> Iterator[str]:
    shown = "decoded" if decoded else "stored"
    more = "; `decoded`, `decoded_labels`: every training image" if decoded else ""
    lines = {
        "npz": f"  condensed.npz: `images` uint8 (n, c, h, w), `labels`, `factor`, `mean`, `deviation`{more}\n"
        "  load.py: makes a PyTorch TensorDataset of standardised training images from condensed.npz",
        "images": f"  images/: the {shown} images, <class>/<number>.png; <number> counts through all classes",
        "grid": f"  grid.png: the {shown} images, one row a class",
        "torch": f"  {FILE}: the stored images as they were made, floating point in 0 .. 1, unrounded",
    }
    yield "Files"
    yield from (text for name, text in lines.items() if name in formats)


def _reading(stored: CondensedSet, formats: Sequence[str]) -> Iterator[str]:
    factor, (height, width) = stored.factor, stored.images.shape[2:]
    high, wide = -(-height // factor), -(-width // factor)
    yield "How to read it" + (" (load.py does all of this)" if "npz" in formats else "")
    if factor == 1:
        yield "Factor 1: the stored images are the training images."
    else:
        pad = f"pad with {PADDING:g} (of 0 .. 1) at the bottom and the right to {high * factor} x {wide * factor}, "
        padded = pad if (high * factor, wide * factor) != (height, width) else ""
        yield textwrap.fill(
            f"Factor {factor}: a stored image holds {factor} x {factor} training images. To decode: {padded}"
            f"cut into tiles of {high} x {wide}, enlarge each to {height} x {width} (bilinear, align_corners=False). The tiles "
            "at the top left of all images come first, then the next ones of that row; the labels are repeated "
            f"{factor**2} times.",
            120,
        )
    mean, deviation = (", ".join(f"{v:.6g}" for v in x) for x in (stored.standard.mean, stored.standard.deviation))
    yield f"Standardise each channel, pixels in 0 .. 1: subtract the mean ({mean}), divide by the deviation ({deviation})."
