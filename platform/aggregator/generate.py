"""Make the Python code of `aggregator.proto` again: `python platform/aggregator/generate.py` (needs grpcio-tools)."""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "aggregator"


def generate(target: Path) -> None:
    """Write the generated modules into `target`, importing one another as parts of a package."""
    import grpc_tools
    from grpc_tools import protoc

    here = Path(__file__).parent
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        f"-I{here}",
        f"-I{well_known}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
    ]
    if protoc.main(["protoc", *arguments, str(here / f"{NAME}.proto")]):
        sys.exit(1)
    grpc_code = target / f"{NAME}_pb2_grpc.py"
    text = grpc_code.read_text(encoding="utf-8")
    absolute = f"import {NAME}_pb2 as {NAME}__pb2"
    if absolute not in text:
        sys.exit(f"protoc writes another import than '{absolute}' now; adapt this script")
    grpc_code.write_text(text.replace(absolute, f"from . import {NAME}_pb2 as {NAME}__pb2"), encoding="utf-8")


if __name__ == "__main__":
    generate(Path(__file__).parent)
