"""The condensed set in condensed.npz as a PyTorch dataset; needs numpy and torch, nothing else.

from load import load
dataset = load()     # standardised training images and their labels, for any DataLoader
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

FILE = Path(__file__).with_name("condensed.npz")


def load(file: Path = FILE) -> TensorDataset:
    """Return all training images (n factor^2, c, h, w), standardised, and their labels."""
    with np.load(file, allow_pickle=False) as held:
        images, labels = torch.from_numpy(held["images"]).float() / 255, torch.from_numpy(held["labels"])
        mean, deviation = (torch.from_numpy(held[name]).float().view(1, -1, 1, 1) for name in ("mean", "deviation"))
        factor = int(held["factor"])
    if factor > 1:
        n, c, h, w = images.shape
        high, wide = -(-h // factor), -(-w // factor)
        padded = F.pad(images, (0, wide * factor - w, 0, high * factor - h), value=0.5)
        tiles = padded.view(n, c, factor, high, factor, wide).permute(2, 4, 0, 1, 3, 5).reshape(-1, c, high, wide)
        images = F.interpolate(tiles, size=(h, w), mode="bilinear", align_corners=False)
        labels = labels.repeat(factor**2)
    return TensorDataset((images - mean) * (1 / deviation), labels)


if __name__ == "__main__":
    inputs, targets = load().tensors
    print(f"{len(inputs)} training images of shape {tuple(inputs.shape[1:])}, {len(targets.unique())} classes")
