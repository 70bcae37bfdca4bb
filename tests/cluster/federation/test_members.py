"""Which client is which silo: the roster's word, or a client's own, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.federation.flower import Reply
from stillhouse.cluster.federation.members import Members, read_roster
from stillhouse.platform.errors import BadInput


def test_the_rosters_word_counts() -> None:
    members = Members({"a": 1, "b": 2})
    assert members.silo(Reply(1, {"silo": "a"})) == "a" and members.silo(Reply(2, None, "BadInput")) == "b"
    assert members.known([3, 2, 1]) == [2, 1]
    for reply in (
        Reply(1, {"silo": "b"}),
        Reply(3, {"silo": "a"}),
        Reply(3, {"silo": "c"}),
        Reply(1, {}),
        Reply(1, {"silo": 1}),
    ):
        with pytest.raises(BadInput, match="not the silo"):
            members.silo(reply)


def test_without_a_roster_a_name_is_taken_once() -> None:
    members = Members()
    assert members.silo(Reply(1, None, "BadInput")) is None
    assert members.silo(Reply(1, {"silo": "a"})) == members.silo(Reply(1, {"silo": "a"})) == "a"
    for reply in (Reply(2, {"silo": "a"}), Reply(1, {"silo": "b"}), Reply(3, {"silo": b"c"}), Reply(3, {"silo": ""})):
        with pytest.raises(BadInput):
            members.silo(reply)
    assert members.known([5, 6]) == [5, 6]


def test_a_roster_file(tmp_path: Path) -> None:
    path = tmp_path / "roster.txt"
    path.write_text("# name node\nhospital-a 17\n\nhospital-b 18446744073709551615  # the other\n")
    assert read_roster(path) == {"hospital-a": 17, "hospital-b": 2**64 - 1}


@pytest.mark.parametrize(
    "text", ["", "a", "a 1 2", "a -1", "a x", "a 1\na 2", "a 1\nb 1", "a 1\xff"],
    ids=["empty", "bare", "three", "negative", "word", "name-twice", "node-twice", "no-text"],
)  # fmt: skip
def test_what_is_no_roster_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "roster.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadInput):
        read_roster(path)
    with pytest.raises(BadInput, match="no roster file"):
        read_roster(tmp_path / "none")
