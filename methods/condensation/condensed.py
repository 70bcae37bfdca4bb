"""A condensed set in a file: `condensed.safetensors` holds images, labels, and how to read them.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> CondensedSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), 2, Standard.constant(1)).write(folder / "c.safetensors")
>>> images, labels = CondensedSet.read(folder / "c.safetensors").decoded()
>>> images.shape, labels.tolist()
(torch.Size([8, 1, 8, 8]), [0, 1, 0, 1, 0, 1, 0, 1])
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import TensorDataset

from ...platform.errors import BadInput
from .formation import decode, decoded_labels
from .standard import Standard

FILE = "condensed.safetensors"


@dataclass(frozen=True, eq=False)
class CondensedSet:
    """Stored images (n, c, h, w) in [0, 1], labels (n,), the factor by which they are cut into tiles, and the standardisation.

    `classes`: names, where they are known.
    """

    images: Tensor
    labels: Tensor
    factor: int
    standard: Standard
    classes: tuple[str, ...] = ()

    def decoded(self) -> tuple[Tensor, Tensor]:
        """The training images (n factor^2, c, h, w) in [0, 1] and their labels."""
        return decode(self.images, self.factor), decoded_labels(self.labels, self.factor)

    def dataset(self) -> TensorDataset:
        """Standardised training images and labels, for any PyTorch training."""
        images, labels = self.decoded()
        return TensorDataset(self.standard(images), labels)

    def write(self, path: Path) -> None:
        """Write the file."""
        about = {"factor": self.factor, "standard": asdict(self.standard), "classes": list(self.classes)}
        tensors = {"images": self.images.contiguous(), "labels": self.labels.contiguous()}
        save_file(tensors, path, metadata={"condensed": json.dumps(about)})

    @classmethod
    def read(cls, path: Path) -> CondensedSet:
        """Read it.

        Raises:
            BadInput: the file is missing, or no condensed set.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["condensed"])
                images, labels = file.get_tensor("images"), file.get_tensor("labels")
            standard = Standard(*(tuple(map(float, about["standard"][name])) for name in ("mean", "deviation")))
            return cls(images, labels, int(about["factor"]), standard, tuple(map(str, about["classes"])))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"{path} is not a condensed set",
                why=f"{type(error).__name__}: {error}",
                mend="give the folder of a finished condensation run",
            ) from None


def grid(images: Tensor, *, rows: int, margin: int = 2) -> Tensor:
    """A picture (c, H, W) of images (n, c, h, w), row by row, on white."""
    n, channels, height, width = images.shape
    columns = -(-n // rows)
    high, wide = height + margin, width + margin
    picture = torch.ones(channels, rows * high + margin, columns * wide + margin)
    for number, image in enumerate(images):
        top, left = (number // columns) * high + margin, (number % columns) * wide + margin
        picture[:, top : top + height, left : left + width] = image
    return picture
