"""Sweep files for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a sweep of four points of PATE, or whatever `text` says."""

    def write(text: str = FOUR, name: str = "small") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


FOUR = """
title: Noise and budgets
common: [data=digits, method=pate, privacy=gnmax, diagnostics=false]
space:
  privacy.mechanism.sigma: [3, 4]
  privacy.target_epsilon: [20, 200]
"""
