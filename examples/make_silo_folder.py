"""How a data owner writes the folder that `stillhouse silo` reads: one file, `shard.npz`, in a folder named like the silo.

    python examples/make_silo_folder.py hospital-a --images scans.npy --labels findings.npy --classes 4
    python examples/make_silo_folder.py demo-silo                       40 of scikit-learn's digits, to try it
    stillhouse silo --folder hospital-a --help

Images are uint8, (n, height, width) or (n, channels, height, width); labels are whole numbers from 0. The number of classes is public,
so it is agreed between the owners and given here: read off the labels it would say something about the records. All silos of an
ensemble bring their images to the same shape.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import StillhouseError
from stillhouse.platform.silo.shard import SHARD, read_shard, write_shard


def own_records(images: Path, labels: Path, classes: int, name: str) -> ImageData:
    """Read two .npy files. No pickles: such a file can run code."""
    pixels = np.load(images, allow_pickle=False)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    return ImageData(pixels, np.load(labels, allow_pickle=False), classes, name)


def main() -> int:
    """Write the folder, read it back, and say what is in it (to its owner only)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="its name becomes the silo's name")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--classes", type=int)
    options = parser.parse_args()
    own = (options.images, options.labels, options.classes)
    if any(own) and not all(own):
        parser.error("--images, --labels and --classes go together")
    if (options.folder / SHARD).exists():
        parser.error(f"{options.folder / SHARD} exists already; remove it first if it is to be replaced")
    try:
        data = own_records(*own, options.folder.name) if all(own) else load("digits").private.take(np.arange(40))
        write_shard(options.folder, data)
        back = read_shard(options.folder)
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{options.folder / SHARD}: {len(back)} images of shape {back.shape}, {back.classes} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
