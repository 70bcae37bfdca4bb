"""`stillhouse submit`: run on a Ray cluster what `stillhouse run` runs here, and end as that run ends.

The program travels as a wheel that is made of the files that are running: without build tools, without its dependencies (Ray
installs wheels with `pip --target`, which would fetch torch again), and with the same bytes for the same files. The id of the job
is a hash of its configuration, its seed and that wheel, so the same command finds the job that it sent before.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...platform.errors import BadInput
from .. import jobs
from ..config.compose import compose

PACKAGE = Path(__file__).parents[2]
PARTS = ("platform", "methods", "cluster", "configs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for `stillhouse run`")
    jobs.add_address(parser)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--no-wait", action="store_true", help="send the job and come back at once")
    ways.add_argument("--follow", action="store_true", help="show the job's log while it runs (on stderr)")
    parser.add_argument("--id", help="the job's id (default: a hash of configuration, seed and program)")
    parser.add_argument("--working-dir", type=Path, help="a folder to send along; the job starts in its copy")
    parser.add_argument("--wheel", type=Path, help="send this wheel instead of the running program")
    parser.add_argument("--cpus", type=float, help="CPUs for the job's own process, beside those of its actors")
    parser.add_argument("--gpus", type=float, help="GPUs for the job's own process, beside those of its actors")
    parser.add_argument("--metadata", action="append", default=[], metavar="K=V", help="to be kept with the job")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Check, send, wait."""
    overrides, plain = check(options.overrides)
    metadata = {"stillhouse": __version__, **_pairs(options.metadata)}
    folder: Path | None = options.working_dir
    if folder is not None and not folder.is_dir():
        raise BadInput(f"no folder {folder}", mend="give a folder as --working-dir")
    with tempfile.TemporaryDirectory() as aside, jobs.connected(options.address) as client:
        wheel = stamped(options.wheel or build_wheel(Path(aside)), Path(aside))
        job = jobs.Job(
            options.id or job_name(plain, wheel), entrypoint(overrides), wheel, working_dir=folder,
            excludes=_excludes(folder, Path(plain["root"])), num_cpus=options.cpus, num_gpus=options.gpus, metadata=metadata,
        )  # fmt: skip
        is_new = jobs.send(client, job)
        print(f"job {job.name} {'was sent' if is_new else 'is there already'}", file=sys.stderr, flush=True)
        result = None
        if options.follow:
            jobs.follow(client, job.name, lambda text: print(text, end="", file=sys.stderr, flush=True))
        if not options.no_wait:
            result = jobs.wait(client, job.name)
        found = {**jobs.state(client, job.name), "new": is_new, "result": result}
    if result:
        print(f"run folder: {result.get('folder')}", file=sys.stderr)
    return found


def check(overrides: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the overrides that the job runs with and what they compose to.

    Raises:
        BadInput: a value is wrong, or what the run leaves behind would be lost with the job's folder.
    """
    sent = ["cluster.address=auto", *overrides]  # The run joins the cluster that it was sent to.
    resolved = compose(sent)
    from ..budget import charges, ledger_url  # With torch; a mistake in the configuration is reported before that.

    if not Path(resolved.config.root).is_absolute():
        raise BadInput(
            f"root={resolved.config.root} lies in the job's own folder on the cluster",
            why="that folder is thrown away, and the run and the ledger with it",
            mend="give an absolute path that all nodes share, for example root=/shared/runs",
        )
    url = ledger_url(resolved)
    if charges(resolved) and url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        raise BadInput(f"privacy.ledger={url} is relative to the job's own folder", mend="give an absolute path")
    if (mark := resolved.config.privacy.high_water) and not Path(mark).is_absolute():
        raise BadInput(f"privacy.high_water={mark} is relative to the job's own folder", mend="give an absolute path")
    if resolved.config.cluster.address and resolved.config.cluster.num_cpus is not None:
        raise BadInput("cluster.num_cpus describes a private cluster", mend="use --cpus for the job's own process")
    return sent, resolved.plain


def entrypoint(overrides: Sequence[str]) -> str:
    """Return the command that the cluster runs."""
    return shlex.join(["python", "-m", "stillhouse", "run", "--json", *overrides])


def job_name(plain: dict[str, Any], wheel: Path) -> str:
    """Return the id of a job: a hash of its configuration (with its seed) and its program."""
    content = hashlib.sha256(json.dumps(plain, sort_keys=True).encode() + wheel.read_bytes())
    return f"stillhouse-{content.hexdigest()[:16]}"


def build_wheel(folder: Path) -> Path:
    """Write this program as a wheel."""
    paths = [*PACKAGE.glob("*.py"), *(path for part in PARTS for path in (PACKAGE / part).rglob("*.*"))]
    kept = sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    files = {f"stillhouse/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in kept}
    about = f"stillhouse-{__version__}.dist-info"
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: stillhouse\nVersion: {__version__}\n".encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: stillhouse\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{about}/RECORD"] = "".join([*record, f"{about}/RECORD,,\n"]).encode()
    wheel = folder / f"stillhouse-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return wheel


def stamped(wheel: Path, folder: Path) -> Path:
    """Copy a wheel under a name that holds its hash: Ray knows wheels by name and would go on using an older one."""
    words = wheel.stem.split("-")
    if wheel.suffix != ".whl" or len(words) not in (5, 6) or not wheel.is_file():
        raise BadInput(f"{wheel} is not a wheel file", mend="leave out --wheel: one is made of the running program")
    build = "0" + hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]
    target = folder / ("-".join([*words[:2], build, *words[-3:]]) + ".whl")
    shutil.copyfile(wheel, target)
    return target


def _excludes(folder: Path | None, root: Path) -> tuple[str, ...]:
    """Earlier runs and the ledger are not sent along."""
    if folder is None or not root.is_relative_to(folder.resolve()) or root == folder.resolve():
        return ()
    return (f"/{root.relative_to(folder.resolve()).as_posix()}",)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    if len(pairs) < len(words):
        raise BadInput("--metadata takes KEY=VALUE, each key once", mend="for example --metadata team=radiology")
    return pairs


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
