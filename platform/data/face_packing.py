"""From a folder of faces and a pairs.txt to the pairs of a `.bin` file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from .face_folder import REFUSE, read_faces
from .face_pairs import read_pairs
from .insightface_bin import FOLDS, PackedPairs
from .picture_files import Exact, PictureFiles, Resized


def pack_pairs(
    folder: Path, pairs: Path, *, side: int = 112, resize: bool = False, missing: str = REFUSE
) -> tuple[PackedPairs, list[str]]:
    """Return the pairs with their encoded pictures, and what has to be said of them.

    Pictures of the right size keep their bytes: encoding them again would change them. Resized ones are encoded as PNG, without loss.
    Pairs are sorted by fold, since readers of `.bin` files cut ten folds one after another.

    Args:
        folder: faces, one folder a person; or an uncompressed tar of such folders.
        pairs: a pairs.txt in any dialect of `face_pairs`.
        side: height and width of the pictures (pixels).
        resize: bring others to it; otherwise they are refused.
        missing: "refuse", or "leave_out" pairs of which a picture is not there.

    Raises:
        BadInput: as `read_faces` and `read_pairs`.
    """
    prepare = Resized(side) if resize else Exact(side)
    faces, _ = read_faces(folder, prepare=prepare)
    read = read_pairs(pairs, faces, missing=missing, folds=FOLDS)
    order = np.argsort(read.pairs.fold, kind="stable")
    assert isinstance(faces.pictures, PictureFiles)
    files = faces.pictures.files
    encoded: dict[int, bytes] = {}
    for number in np.unique(np.concatenate([read.pairs.first, read.pairs.second])).tolist():
        raw = files.raw(number)
        encoded[number] = raw if _is_of(raw, side) else _as_png(faces.read([number])[0])
    both = np.stack([read.pairs.first[order], read.pairs.second[order]], 1).reshape(-1).tolist()
    told = []
    sizes = np.bincount(read.pairs.fold)
    cut = [len(part) for part in np.array_split(order, FOLDS)]
    if sizes.tolist() != cut:
        told.append(
            f"Readers of .bin files cut {FOLDS} equal folds one after another, which are not the folds of the file."
        )
    if read.left_out:
        told.append(f"{read.left_out:,} pairs were left out, since a picture of theirs is not there.")
    return PackedPairs(tuple(encoded[number] for number in both), read.pairs.same[order]), told


def _is_of(raw: bytes, side: int) -> bool:
    with Image.open(io.BytesIO(raw)) as image:
        return image.size == (side, side)


def _as_png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(held, format="PNG")
    return held.getvalue()
