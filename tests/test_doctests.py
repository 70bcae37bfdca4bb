"""The worked examples in docstrings hold. (pytest's own collection would import `platform/` under the name of Python's module.)"""

import doctest
import importlib

import pytest
from support.static_checks import ROOT, packages

MODULES = [
    ".".join(["stillhouse", *package.parts, file.stem])
    for package in packages()
    for file in sorted((ROOT / package).glob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
