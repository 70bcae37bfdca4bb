"""Tokens from the command line: one silo's, or one that votes for several."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.__main__ import main
from stillhouse.platform.aggregator.tokens import Caller, Tokens


def make(folder: Path, *words: str) -> int:
    return main(["token", *words, "--tokens", str(folder / "tokens.json"), "--out", str(folder / "out.token")])


def made(folder: Path) -> Caller | None:
    return Tokens(folder / "tokens.json").identify((folder / "out.token").read_text().strip())


def test_a_silos_token_votes_for_itself_or_for_those_that_it_owns(tmp_path: Path) -> None:
    assert make(tmp_path, "silo", "a") == 0
    assert made(tmp_path) == Caller("silo", "a", ("a",))
    assert make(tmp_path, "silo", "relay", "--owns", "a, b,c") == 0
    assert made(tmp_path) == Caller("silo", "relay", ("a", "b", "c"))
    assert (tmp_path / "out.token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "words", [("analyst", "ann", "--owns", "a"), ("silo", "relay", "--owns", " ,")], ids=["analyst", "nobody"]
)
def test_nobody_else_owns_silos(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert make(tmp_path, *words) == 4
    assert not (tmp_path / "tokens.json").exists()
