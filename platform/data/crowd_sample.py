"""A sample of a data set's items by the run's seed."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int


def sampled(available: int, wanted: int | None, seed: int, part: int) -> np.ndarray:
    """The numbers of `wanted` of the items, rising, drawn without replacement; None: all. `part` tells draws of one seed apart.

    Raises:
        BadInput: more are wanted than there are.
    """
    if wanted is None:
        return np.arange(available)
    if wanted > available:
        raise BadInput(f"{wanted:,} images are wanted, but there are {available:,}", mend=f"use at most {available:,}")
    generator = np.random.default_rng([seed, part])
    return np.sort(generator.choice(available, wanted, replace=False))


def check_sizes(train: int | None, test: int | None) -> None:
    """Sizes are whole numbers of at least 1, or None."""
    positive_int(**{name: value for name, value in (("train", train), ("test", test)) if value is not None})
