"""In which numbers a training multiplies: single precision, or half of it where the hardware is faster with that.

Weights, gradients' sums and the optimizer stay in single precision; only what `torch.autocast` knows to be harmless is done in
less. bfloat16 has the range of single precision and needs no scaling of the loss; float16 needs it (the training loop does it).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, cast

import torch

from ..errors import BadInput

Precision = Literal["float32", "bfloat16", "float16"]
KNOWN = ("float32", "bfloat16", "float16")


def check_precision(name: object) -> Precision:
    """Return the name if it is one of a precision.

    >>> check_precision("bfloat16")
    'bfloat16'
    """
    if name not in KNOWN:
        raise BadInput(f"precision {name!r} is unknown", mend=f"use {', '.join(KNOWN[:-1])} or {KNOWN[-1]}")
    return cast(Precision, name)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Do what runs inside the block in that precision where it is harmless; float32 changes nothing at all."""
    return cast(
        AbstractContextManager[None],
        torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"),
    )
