"""Who a command says that it is: the token from a file or the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.commands.endpoint import TOKEN_VARIABLE, read_token
from stillhouse.platform.errors import BadInput


def test_a_token_is_read_from_its_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abc\n")
    monkeypatch.setenv(TOKEN_VARIABLE, " def ")
    assert read_token(tmp_path / "token") == "abc" and read_token(None) == "def"
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(BadInput, match="no access token"):
        read_token(None)


def test_a_file_that_is_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no token file"):
        read_token(tmp_path / "token")
    (tmp_path / "token").write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(BadInput, match="holds no token") as caught:
        read_token(tmp_path / "token")
    assert "ELF" not in str(caught.value)
