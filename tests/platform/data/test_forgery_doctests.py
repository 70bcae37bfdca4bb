"""The examples in the modules on drawn heads, forgeries and perturbations."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "procedural_heads", "forgeries", "forgery_points", "forgery_warp", "forgery_blending", "forgery_inpainting",
    "forgery_swaps", "forgery_order", "forgery_sheet", "clip_perturbations",
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"stillhouse.platform.data.{module}"))
    assert outcome.attempted > 0 and outcome.failed == 0
