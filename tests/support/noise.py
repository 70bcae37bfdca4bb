"""Noise that tests can repeat. It lives here, outside the package, so that no configuration can reach it."""

from __future__ import annotations

import numpy as np
from stillhouse.platform.privacy.noise import Shape, SystemNoise


class RepeatableBytes:
    """Bytes from a seeded counter-based generator: the same seed, the same bytes."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(seed))
        self.taken = 0

    def __call__(self, count: int) -> bytes:
        self.taken += count
        return self._generator.bytes(count)


def repeatable_noise(seed: int = 0) -> SystemNoise:
    """The production sampler over repeatable bytes."""
    return SystemNoise(bytes_source=RepeatableBytes(seed))


class ZeroNoise:
    """No noise at all, and a count of what was asked for: (kind, scale, shape)."""

    gdp = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, tuple[int, ...]]] = []

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        return self._zeros("gaussian", sigma, shape)

    def laplace(self, scale: float, shape: Shape) -> np.ndarray:
        return self._zeros("laplace", scale, shape)

    def _zeros(self, kind: str, scale: float, shape: Shape) -> np.ndarray:
        zeros = np.zeros(shape, dtype=np.int64)
        self.calls.append((kind, float(scale), zeros.shape))
        return zeros
