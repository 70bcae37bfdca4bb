"""Generate `aggregator_pb2*` from `aggregator.proto`: `python platform/aggregator/generate.py` (needs grpcio-tools).

The descriptor is registered under the file's path inside the package, since a bare `aggregator.proto` could meet another
one in the same process; imports are made relative, as everywhere in the package.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = "stillhouse/platform/aggregator/aggregator.proto"
NAMES = ("aggregator_pb2.py", "aggregator_pb2.pyi", "aggregator_pb2_grpc.py")
ABSOLUTE = "from stillhouse.platform.aggregator import aggregator_pb2 as"
UNCHECKED = "# mypy: ignore-errors\n"


def generate(target: Path) -> None:
    """Write the generated modules into `target`."""
    with tempfile.TemporaryDirectory() as name:
        root, out = Path(name) / "in", Path(name) / "out"
        source = root / PROTO
        source.parent.mkdir(parents=True)
        out.mkdir()
        source.write_bytes((HERE / "aggregator.proto").read_bytes())
        outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", *outputs, PROTO]
        # Not started from here: a script's own folder comes first on the path, and its modules would hide others.
        subprocess.run(command, check=True, cwd=name)
        for generated in NAMES:
            text = (out / PROTO).with_name(generated).read_text(encoding="utf-8")
            text = text.replace(ABSOLUTE, "from . import aggregator_pb2 as")
            (target / generated).write_text(UNCHECKED + text, encoding="utf-8")


if __name__ == "__main__":
    generate(HERE)
