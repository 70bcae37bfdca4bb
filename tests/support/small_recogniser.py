"""A small recogniser in a folder, as a run leaves it; its weights are random, its batch normalisation has seen pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from stillhouse.methods.recognition.card import STUDENT, Card
from stillhouse.methods.recognition.networks import Recogniser
from support.chips import chip

LENGTH = 16


def small_network(seed: int = 0, *, side: int = 8, architecture: str = "resnet_small") -> Recogniser:
    """A network in evaluation mode."""
    torch.manual_seed(seed)
    network = Recogniser(architecture, side=side, embedding_length=LENGTH)
    network.train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.rand(16, 3, side, side))
    return network.eval()


def write_small(folder: Path, seed: int = 0, **card: object) -> Card:
    """Weights and card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(small_network(seed).state_dict(), folder / STUDENT)
    return Card("resnet_small", 8, LENGTH, **card).write(folder)  # type: ignore[arg-type]


def write_picture(path: Path, seed: int, *, size: tuple[int, int] = (112, 112)) -> np.ndarray:
    """A generated picture as PNG; its pixels uint8 (height, width, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = chip(seed, max(size))[: size[1], : size[0]]
    Image.fromarray(pixels).save(path)
    return pixels
