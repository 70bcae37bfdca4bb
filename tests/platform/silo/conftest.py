from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load


@pytest.fixture(scope="session")
def shards() -> list[ImageData]:
    """Five shards of digits of unequal size."""
    private = load("digits").private
    cuts = np.cumsum([0, 30, 25, 41, 25, 33])
    return [private.take(np.arange(a, b)) for a, b in pairwise(cuts)]


@pytest.fixture(scope="session")
def queries() -> np.ndarray:
    return load("digits").pool.images[:60]
