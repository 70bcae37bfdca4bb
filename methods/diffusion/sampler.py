"""A finished student as what makes images: `sampler.json`, beside its weights, says which network it is and how its chain runs.

Images are post-processing of the student: they cost nothing, however many, and carry the run's privacy statement. So their noise may
be repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...platform.diffusion.networks import Network, Shape, fresh
from ...platform.diffusion.sampling import pixels, sample
from ...platform.diffusion.schedule import Schedule
from ...platform.errors import BadInput
from ...platform.privacy.validate import positive_int
from ...platform.training.files import read_json, sha256_of, write_json
from ...platform.training.seeds import seed_for

FILE = "sampler.json"
STUDENT = "student.safetensors"
FORMAT = "stillhouse sampler 2"


@dataclass(frozen=True)
class Sampler:
    """What is needed to draw from a student's weights.

    Args:
        network, schedule, rungs: the student, and the steps of its chain.
        shape: of an image, (c, h, w); classes: how many.
        label_shares: of the classes, from a noisy histogram; None: all alike.
    """

    network: Network
    schedule: Schedule
    rungs: int
    shape: Shape
    classes: int
    label_shares: tuple[float, ...] | None = None

    def write(self, folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
        """Write the weights, with `about` in their metadata, and `sampler.json`, which names their SHA-256."""
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / STUDENT, dict(about))
        write_json(folder / FILE, {"format": FORMAT, "sha256": sha256_of(folder / STUDENT), **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> tuple[Sampler, dict[str, Tensor]]:
        """Read both files.

        Raises:
            BadInput: one is missing, is of another format, or they do not belong together.
        """
        try:
            said: Any = read_json(folder / FILE)
            if not isinstance(said, dict) or said.get("format") != FORMAT:
                raise BadInput(f"its format is not '{FORMAT}'")
            if sha256_of(folder / STUDENT) != said["sha256"]:
                raise BadInput(f"{STUDENT} is not the file that {FILE} was written for")
            shares = said["label_shares"]
            found = cls(
                Network(**said["network"]), Schedule(**said["schedule"]), int(said["rungs"]), tuple(said["shape"]),
                int(said["classes"]), None if shares is None else tuple(map(float, shares)),
            )  # fmt: skip
            return found, load_file(folder / STUDENT)
        except (BadInput, OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise BadInput(
                f"{folder} holds no diffusion student that can be sampled",
                why=f"{error}" if isinstance(error, BadInput) else f"{type(error).__name__}: {error}",
                mend="give the folder of a finished run of private diffusion, or of an export of one",
            ) from None

    def labels(self, count: int, seed: int) -> Tensor:
        """Labels (n,): classes in turn, or drawn by their shares."""
        return labels_for(count, self.classes, self.label_shares, seed_for(seed, "labels"))

    def draw(self, weights: Mapping[str, Tensor], labels: Tensor, *, seed: int) -> np.ndarray:
        """Images (n, c, h, w) uint8 for labels (n,); the same seed, the same images on one machine.

        Raises:
            BadInput: a label of no class, or weights of another network.
        """
        if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= self.classes:
            raise BadInput("a label of no class", mend=f"use labels from 0 to {self.classes - 1}")
        model = fresh(self.network, self.shape, self.classes, 0)
        try:
            model.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise BadInput(f"the weights are not those of this network: {str(error).splitlines()[0]}") from None
        model.eval()
        generator = torch.Generator().manual_seed(seed_for(seed, "images"))
        device = torch.device("cpu")
        found = sample(model, self.schedule, labels, self.shape, rungs=self.rungs, generator=generator, device=device)
        return pixels(found).numpy()


def labels_for(count: int, classes: int, shares: tuple[float, ...] | None, seed: int) -> Tensor:
    """Labels (n,): classes in turn, or drawn by their shares (K,), which need not sum up to one."""
    positive_int(count=count)
    if shares is None:
        return torch.arange(count) % classes
    drawn = np.random.default_rng(seed).choice(classes, count, p=np.array(shares) / sum(shares))
    return torch.from_numpy(drawn.astype(np.int64))
