"""Types and floors, checked on the layout that an installed package has: `python tests/support/static_checks.py`.

The repository's root is the package, and `platform/` has no `__init__.py` (it would shadow Python's own module). mypy therefore
looks at the root through a link named `stillhouse`, and import-linter at a copy in which `platform` is an ordinary package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def packages() -> list[Path]:
    """Return the package's folders, relative to the root, as pyproject.toml lists them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Path(*name.split(".")[1:]) for name in project["tool"]["setuptools"]["packages"]]


def check_types(aside: Path) -> int:
    """Run mypy over the three floors and the command line."""
    (aside / "stillhouse").symlink_to(ROOT, target_is_directory=True)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-m", "stillhouse.__main__"]
    for floor in ("platform", "methods", "cluster"):
        command += ["-p", f"stillhouse.{floor}"]
    return subprocess.run(command, env={**os.environ, "MYPYPATH": str(aside)}, cwd=ROOT).returncode


def check_floors(aside: Path) -> int:
    """Run import-linter over a copy of the package."""
    for package in packages():
        target = aside / "stillhouse" / package
        target.mkdir(parents=True, exist_ok=True)
        for module in (ROOT / package).glob("*.py"):
            shutil.copy(module, target)
    (aside / "stillhouse" / "platform" / "__init__.py").touch()
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--config",
        str(ROOT / ".importlinter"),
        "--no-cache",
    ]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(aside)}, cwd=aside).returncode


def main() -> int:
    """Run both; not zero if either finds something."""
    codes = []
    for check in (check_types, check_floors):
        with tempfile.TemporaryDirectory() as aside:
            codes.append(check(Path(aside)))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
