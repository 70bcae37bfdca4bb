"""Study files for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of two arms that differ in the noise, or whatever `text` says."""

    def write(text: str = TWO_ARMS, name: str = "small") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


TWO_ARMS = """
title: Two kinds of noise
common: [data=digits, method=pate, privacy=gnmax, diagnostics=false]
seeds: [0, 1]
reference: loud
arms:
  loud: {label: Loud noise, overrides: [privacy.mechanism.sigma=4]}
  quiet: {label: Quiet noise, overrides: [privacy.mechanism.sigma=3]}
"""
