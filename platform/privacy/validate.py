"""Checks of arguments that name the argument in the message: `positive(sigma=-1)` says "sigma must be ...".

Every function takes keywords only, so that the message always carries the name the caller used.

>>> positive(sigma=40.0)
>>> probability(delta=1.5)
Traceback (most recent call last):
    ...
stillhouse.platform.errors.BadInput: delta must lie strictly between 0 and 1, not 1.5
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np

from ..errors import BadInput

_SMALLEST, _LARGEST = 1e-100, 1e100


def _real(name: str, value: object) -> float:
    """`value` as a float; booleans, text and arrays are no numbers here."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise BadInput(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        # Whole numbers and fractions know no bound; JSON may hold them with hundreds of digits.
        raise BadInput(f"{name} must be a number that 64 bits can hold", why="it is too large") from None


def positive(**values: object) -> None:
    """Each value is a finite number above 0."""
    for name, value in values.items():
        number = _real(name, value)
        if not (math.isfinite(number) and number > 0):
            raise BadInput(f"{name} must be a finite number above 0, not {number!r}")


def moderate(**values: object) -> None:
    """Each value is a number above 0 whose square, and one over it, are numbers as well: without that noise has no cost."""
    positive(**values)
    for name, value in values.items():
        number = _real(name, value)
        if not _SMALLEST <= number <= _LARGEST:
            raise BadInput(f"{name} must lie between {_SMALLEST:g} and {_LARGEST:g}, not {number!r}")


def non_negative(**values: object) -> None:
    """Each value is a finite number of at least 0."""
    for name, value in values.items():
        number = _real(name, value)
        if not (math.isfinite(number) and number >= 0):
            raise BadInput(f"{name} must be a finite number of at least 0, not {number!r}")


def finite(**values: object) -> None:
    """Each value is a finite number."""
    for name, value in values.items():
        number = _real(name, value)
        if not math.isfinite(number):
            raise BadInput(f"{name} must be a finite number, not {number!r}")


def probability(**values: object) -> None:
    """Each value lies strictly between 0 and 1."""
    for name, value in values.items():
        number = _real(name, value)
        if not 0 < number < 1:
            raise BadInput(f"{name} must lie strictly between 0 and 1, not {number!r}")


def positive_int(**values: object) -> None:
    """Each value is a whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral) or int(value) < 1:
            raise BadInput(f"{name} must be a whole number of at least 1, not {value!r}")
        _real(name, value)


def integer_array(**values: object) -> None:
    """Each value is an array with an integer type (booleans and floats are not: rounding is the caller's choice)."""
    for name, value in values.items():
        if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.integer):
            found = str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
            raise BadInput(f"{name} must be an integer array, not {found}")


def renyi_orders(orders: Sequence[float] | np.ndarray) -> np.ndarray:
    """The orders as a float array; each must be a finite number above 1."""
    array = np.atleast_1d(np.asarray(orders, dtype=float))
    if array.ndim != 1 or array.size == 0 or not (np.all(np.isfinite(array)) and np.all(array > 1)):
        raise BadInput(
            "orders must be a list of finite numbers above 1", why="a Renyi order of 1 or less bounds nothing"
        )
    return array
