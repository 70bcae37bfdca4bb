"""The examples in the module texts are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["batches", "config", "counting", "rounds", "tokens", "wire"])
def test_the_examples_hold(module):
    outcome = doctest.testmod(importlib.import_module(f"stillhouse.platform.aggregator.{module}"))
    assert outcome.attempted > 0 and outcome.failed == 0
