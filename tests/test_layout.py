"""The root is the package, and Python's own `platform` stays what it is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.static_checks import ROOT, packages

ASK = "import platform, stillhouse.platform.errors; print(platform.python_version())"


def test_platform_from_the_root_is_pythons_own() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sys.version.split()[0]
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_every_folder_with_code_is_listed_as_a_package() -> None:
    tops = ("platform", "methods", "cluster", "configs")
    files = [f for top in tops for f in (ROOT / top).rglob("*") if f.suffix in (".py", ".yaml")]
    # Deployment files are for operators of a cluster; the package does not read them.
    found = {f.parent.relative_to(ROOT) for f in files if f.parent != ROOT / "cluster" / "deploy"}
    assert found <= set(packages()), found - set(packages())


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_configuration(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(Path("stillhouse") / package / f.name)
        for package in packages()
        for f in (ROOT / package).iterdir()
        if f.suffix in (".py", ".yaml", ".proto", ".html")
    }
    wanted |= {f"stillhouse/cluster/federation/app/{name}" for name in ("pyproject.toml", "LICENSE")}
    assert wanted <= held, sorted(wanted - held)
    assert "stillhouse/platform/__init__.py" not in held
    assert not any(name.startswith("stillhouse/tests/") for name in held)
