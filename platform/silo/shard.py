"""A silo's folder: `shard.npz` holds its records, and everything else the silo keeps lies beside it.

The folder's name is the silo's name. A data owner writes the shard with
`numpy.savez("hospital-a/shard.npz", images=..., labels=..., classes=10)`. The number of classes is stated, not derived: a silo
describes itself with it, and the highest label it holds is private.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..data.images import ImageData
from ..errors import BadInput
from ..training.files import check_name, replace

SHARD = "shard.npz"


def write_shard(folder: Path, data: ImageData) -> None:
    """Write a shard into a silo's folder, whole or not at all."""
    check_name(folder.name)

    def fill(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, images=data.images, labels=data.labels, classes=data.classes)

    replace(folder / SHARD, fill)


def read_shard(folder: Path) -> ImageData:
    """Read a silo's shard.

    Raises:
        BadInput: there is none, or it is no shard; the message never shows what is in it.
    """
    path = Path(folder) / SHARD
    if not path.is_file():
        raise BadInput(f"no shard in {folder}", mend=f"write one: numpy.savez('{path}', images=..., labels=...)")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [k for k in ("images", "labels", "classes") if k not in file]
            if missing:
                raise BadInput(f"{path} holds no {' and no '.join(missing)}", mend="write all three into it")
            images, labels, classes = file["images"], file["labels"], int(file["classes"])
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{path} cannot be read", why=type(error).__name__, mend="write it again with numpy.savez"
        ) from None
    return ImageData(images, labels, classes, Path(folder).name)
