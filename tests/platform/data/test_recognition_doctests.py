"""The examples in the modules on degradation, alignment and masks."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("resampling", "corruptions", "degradation", "shifts", "alignment", "landmarks", "homography", "face_masks")


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"stillhouse.platform.data.{module}"))
    assert outcome.attempted > 0 and outcome.failed == 0
