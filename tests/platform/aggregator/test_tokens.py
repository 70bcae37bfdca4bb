"""Tokens: what the file holds, who is let in, what happens when it changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from stillhouse.platform.aggregator import tokens as module
from stillhouse.platform.aggregator.tokens import Caller, Tokens, add_token, make_tokens
from stillhouse.platform.errors import BadInput, NotAuthorised


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_the_file_holds_hashes_only_and_is_its_owners(path: Path):
    secrets = make_tokens(path, silos={"host": ["a", "b"]}, analysts=["ana"], officers=["olga"])
    text = path.read_text()
    assert set(secrets) == {"host", "ana", "olga"} and len(set(secrets.values())) == 3
    for secret in secrets.values():
        assert len(secret) >= 43 and secret not in text and hashlib.sha256(secret.encode()).hexdigest() in text
    assert path.stat().st_mode & 0o077 == 0
    assert {row["role"] for row in json.loads(text)} == {"silo", "analyst", "officer"}


def test_each_is_known_by_role_name_and_silos(path: Path):
    secrets = make_tokens(path, silos={"host": ["a", "b"]}, analysts=["ana"], officers=["olga"])
    tokens = Tokens(path)
    assert tokens.identify(secrets["host"]) == Caller("silo", "host", ("a", "b"))
    assert tokens.identify(secrets["ana"]) == Caller("analyst", "ana")
    assert tokens.identify(secrets["olga"]) == Caller("officer", "olga")


@pytest.mark.parametrize("guess", ["", " ", "x", "\udc80"])
def test_others_are_not_known(path: Path, guess: str):
    secrets = make_tokens(path, silos={"a": ["a"]})
    assert Tokens(path).identify(guess) is None
    assert Tokens(path).identify(secrets["a"][:-1]) is None
    assert Tokens(path).identify(hashlib.sha256(secrets["a"].encode()).hexdigest()) is None


def test_the_comparison_takes_all_hashes_whatever_is_presented(path: Path, monkeypatch: pytest.MonkeyPatch):
    secrets = make_tokens(path, silos={name: [name] for name in "abc"})
    tokens, compared = Tokens(path), []

    def counted(one: str, other: str) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(module, "hmac", SimpleNamespace(compare_digest=counted))
    for presented in (secrets["a"], secrets["c"], "guess"):
        compared.clear()
        tokens.identify(presented)
        assert len(compared) == 3


def test_a_token_added_or_withdrawn_counts_at_once(path: Path):
    first = add_token(path, role="silo", name="a")
    tokens = Tokens(path)
    second = add_token(path, role="analyst", name="ana")
    assert tokens.identify(second) == Caller("analyst", "ana")
    assert tokens.identify(first) == Caller("silo", "a", ("a",))
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[1:]))
    assert tokens.identify(first) is None and tokens.identify(second) is not None


def test_a_second_token_stands_beside_the_first(path: Path):
    one, other = (add_token(path, role="silo", name="a") for _ in range(2))
    assert one != other and Tokens(path).identify(one) == Tokens(path).identify(other)


@pytest.mark.parametrize("damage", ["", "{", "[1]", '[{"token_sha256": "short", "role": "silo", "name": "a"}]', "[{}]"])
def test_a_damaged_file_lets_nobody_in(path: Path, damage: str):
    secret = add_token(path, role="officer", name="olga")
    tokens = Tokens(path)
    path.write_text(damage)
    os.utime(path, ns=(1, 1))
    with pytest.raises(NotAuthorised, match="nobody"):
        tokens.identify(secret)
    with pytest.raises(BadInput):
        Tokens(path)


def test_an_unknown_role_in_the_file_is_refused(path: Path):
    path.write_text(json.dumps([{"token_sha256": "0" * 64, "role": "king", "name": "a"}]))
    with pytest.raises(BadInput, match="each entry"):
        Tokens(path)


def test_wrong_requests(path: Path):
    with pytest.raises(BadInput, match="roles are"):
        add_token(path, role="king", name="a")
    with pytest.raises(BadInput, match="printable"):
        add_token(path, role="silo", name="a\n")
    with pytest.raises(BadInput, match="owns silos"):
        add_token(path, role="analyst", name="a", silos=["b"])
    with pytest.raises(BadInput, match="same name"):
        make_tokens(path, silos={"a": ["a"]}, analysts=["a"])
    assert not path.exists()
    with pytest.raises(BadInput, match="no token file"):
        Tokens(path)
