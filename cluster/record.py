"""What a run folder says of itself: the resolved configuration, overrides, versions, seed."""

from __future__ import annotations

import importlib.metadata
import os
import platform as python_platform
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..platform.training.files import read_json, write_json
from .config.compose import Resolved

RECORD = "run.json"
CONFIG = "config.yaml"
PACKAGES = ("torch", "torchvision", "ray", "numpy", "scipy", "grpcio", "dp-accounting", "sqlalchemy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {
        "stillhouse": __version__,
        "python": python_platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def write_record(folder: Path, resolved: Resolved) -> dict[str, Any]:
    """Write the configuration and the circumstances of a run, before it begins."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(yaml.safe_dump(resolved.plain, sort_keys=False), encoding="utf-8")
    record = {
        "overrides": list(resolved.overrides),
        "config": resolved.plain,
        "seed": resolved.config.seed,
        "versions": versions(),
        "cpus": os.cpu_count(),
    }
    write_json(folder / RECORD, record)
    return record


def add_to_record(folder: Path, **more: Any) -> dict[str, Any]:
    """Add what is known only at the end, such as the ledger's position."""
    record = {**read_json(folder / RECORD), **more}
    write_json(folder / RECORD, record)
    return record
