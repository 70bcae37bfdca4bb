"""A fresh ledger for an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine_house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Without a grant."""
    found = House(tmp_path)
    yield found
    found.close()
