"""Contact sheets: what the generator's images look like, one row a class, as the classifier that taught it sees them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

COLUMNS = 16
SCALE = 2
GAP = 1
GROUND = 64


def contact_sheet(images: np.ndarray, answers: Tensor, *, columns: int = COLUMNS) -> np.ndarray:
    """Return a picture (h, w, c) uint8 of images (n, c, h, w): row k holds the first images that are most likely of class k."""
    _, channels, height, width = images.shape
    classes = answers.shape[1]
    sheet = np.full((classes * (height + GAP), columns * (width + GAP), channels), GROUND, np.uint8)
    labels = answers.argmax(1).numpy()
    for k in range(classes):
        for column, image in enumerate(images[labels == k][:columns]):
            top, left = k * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
