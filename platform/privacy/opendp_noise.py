"""Integer noise by OpenDP's exact samplers: a second backend behind the same Protocol, and the oracle of our tests.

Its Gaussian is the *discrete* Gaussian (Canonne, Kamath & Steinke 2020): rho-zCDP like ours, but not GDP. A budget of
kind `gaussian` must not rely on it; `gdp` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..errors import MissingExtra
from .noise import Shape
from .validate import positive


class OpenDpNoise:
    """Discrete Gaussian and discrete Laplace noise; about 25 microseconds a sample."""

    gdp: ClassVar[bool] = False

    def __init__(self) -> None:
        try:
            import opendp.prelude as dp
        except ImportError as error:
            raise MissingExtra(
                "noise by OpenDP needs the library opendp",
                why="it is not installed",
                mend="pip install -e '.[opendp]' in the source folder, or use the built-in noise",
            ) from error
        dp.enable_features("contrib")
        self._dp = dp

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        """Discrete Gaussian, int64."""
        positive(sigma=sigma)
        return self._draw(self._dp.m.make_gaussian, self._dp.l2_distance(T=float), float(sigma), shape)

    def laplace(self, scale: float, shape: Shape) -> np.ndarray:
        """Discrete Laplace, int64."""
        positive(scale=scale)
        return self._draw(self._dp.m.make_laplace, self._dp.l1_distance(T="i64"), float(scale), shape)

    def _draw(self, make: Callable[..., Any], metric: Any, scale: float, shape: Shape) -> np.ndarray:
        dp = self._dp
        values = np.zeros(shape, dtype=np.int64)
        if values.size:
            space = dp.vector_domain(dp.atom_domain(T="i64"), size=values.size)
            values[...] = np.asarray(make(space, metric, scale=scale)([0] * values.size)).reshape(values.shape)
        return values
