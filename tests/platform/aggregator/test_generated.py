"""The committed generated code is that of the committed proto."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import stillhouse
from google.protobuf import descriptor_pb2
from stillhouse.platform.aggregator import aggregator_pb2, generate

FOLDER = Path(generate.__file__).parent


def test_the_proto_gives_the_committed_descriptors(tmp_path: Path):
    pytest.importorskip("grpc_tools")
    generate.generate(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(generate.NAMES)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import aggregator_pb2 as pb; "
    code += "sys.stdout.buffer.write(pb.DESCRIPTOR.serialized_pb)"
    fresh = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert descriptor_pb2.FileDescriptorProto.FromString(fresh) == descriptor_pb2.FileDescriptorProto.FromString(
        aggregator_pb2.DESCRIPTOR.serialized_pb
    )
    names = r"\w+/\w+'"
    ours, new = ((f / "aggregator_pb2_grpc.py").read_text() for f in (FOLDER, tmp_path))
    assert re.findall(names, ours) == re.findall(names, new)


def test_it_imports_inside_the_package_only():
    assert "from . import aggregator_pb2" in (FOLDER / "aggregator_pb2_grpc.py").read_text()
    assert not (Path(stillhouse.__file__).parent / "aggregator_pb2.py").exists()
