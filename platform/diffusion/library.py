"""diffusers, where it is needed: U-Net and schedulers come from there, and nothing is ever fetched from a hub."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtra


def from_diffusers(module: str, name: str) -> Any:
    """Return `name` of the submodule `module`. Only that one is imported: the whole library takes seconds.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return getattr(importlib.import_module(f"diffusers.{module}"), name)
    except ImportError as error:
        raise MissingExtra(
            "diffusion models need diffusers", why=str(error), mend="pip install -e '.[diffusion]' in the source folder"
        ) from None
