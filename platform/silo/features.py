"""Scattering features of queries, remembered by content: an image that is asked again, in whatever batch, is not transformed again.

What is remembered stays in the silo's memory, at half a number's size, up to a limit.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np
import torch

from ..nn.scattering import Scattering2D, features

REMEMBERED_BYTES = 128 * 2**20


class QueryFeatures:
    """Features of queries, of which some may have been asked before.

    Args:
        transform: the fixed transform, on the device that is to be used.
        limit: bytes to remember at most; the images asked longest ago are dropped first.
    """

    def __init__(self, transform: Scattering2D, *, limit: int = REMEMBERED_BYTES) -> None:
        self._transform = transform
        self._room = limit // (torch.half.itemsize * transform.features)
        self._known: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._turn = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        return self._transform.shape

    def of(self, images: np.ndarray) -> torch.Tensor:
        """Return the features, (n, d).

        Fresh ones are rounded as remembered ones are: a vote does not depend on what was asked before.
        """
        names = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        with self._turn:
            return self._of(names, images)

    def _of(self, names: list[bytes], images: np.ndarray) -> torch.Tensor:
        fresh = {name: i for i, name in enumerate(names) if name not in self._known}
        # Rows of their own: a slice would keep its whole batch in memory.
        computed = [row.clone() for row in features(self._transform, images[list(fresh.values())]).half()]
        rows = dict(zip(fresh, computed, strict=True))
        for name in names:
            # Taken before anything is dropped to make room.
            rows[name] = rows[name] if name in rows else self._known[name]
            self._known[name] = rows[name]
            self._known.move_to_end(name)
        while len(self._known) > self._room:
            self._known.popitem(last=False)
        return torch.stack([rows[name] for name in names]).float()
