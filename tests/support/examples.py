"""The scripts in `examples/`, as modules."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def example_module(name: str) -> ModuleType:
    """The script `examples/<name>.py`."""
    spec = spec_from_file_location(name, Path(__file__).parents[2] / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look up their annotations.
    spec.loader.exec_module(module)
    return module
