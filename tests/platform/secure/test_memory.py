from pathlib import Path

import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure.memory import RoundMemory


def test_a_round_is_taken_once_also_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "rounds"
    RoundMemory(file).take(b"a" * 32)
    again = RoundMemory(file)
    again.take(b"b" * 32)
    for known in (b"a" * 32, b"b" * 32):
        for memory in (again, RoundMemory(file)):
            with pytest.raises(BadInput, match="has been in that round"):
                memory.take(known)


def test_a_torn_entry_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "rounds"
    file.write_bytes(b"a" * 32 + b"b" * 7)
    RoundMemory(file).take(b"c" * 32)
    assert file.read_bytes() == b"a" * 32 + b"c" * 32


def test_without_a_file_it_lasts_as_long_as_the_process() -> None:
    memory = RoundMemory()
    memory.take(bytes(32))
    with pytest.raises(BadInput):
        memory.take(bytes(32))
    with pytest.raises(BadInput):
        memory.take(b"short")
