"""A place for a ledger: a fresh SQLite file, or a fresh schema of the PostgreSQL server that the environment names."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.ledger.schema import SQLITE_TRIGGERS
from stillhouse.platform.privacy.events import GaussianEvent

UNIT = 625_000


@dataclass
class Place:
    """Where a ledger lies, and how to open it, tamper with it and run other processes on it."""

    url: str
    mark: Path
    folder: Path
    opened: list[Ledger] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def open(self, **options: Any) -> Ledger:
        self.opened.append(Ledger(self.url, high_water=self.mark, **options))
        return self.opened[-1]

    def tamper(self, *statements: str) -> None:
        """Change what the triggers forbid, as somebody who owns the database can, and put the triggers back."""
        if self.sqlite:
            connection = sqlite3.connect(self.file, isolation_level=None)
            for name in SQLITE_TRIGGERS:
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            for statement in (*statements, *SQLITE_TRIGGERS.values()):
                connection.execute(statement)
            connection.close()
            return
        tables = ("ledger_entries", "ledger_answers", "ledger_identity")
        off = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables]
        on = [f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables]
        self.plain(*off, *statements, *on)

    def plain(self, *statements: str) -> None:
        """Statements without any help around them."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def start(self, **orders: Any) -> subprocess.Popen[str]:
        """Another process with the same ledger; see worker.py for what it understands."""
        orders = {"url": self.url, "mark": str(self.mark), **orders}
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(orders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def _sqlite_place(folder: Path) -> Place:
    return Place(f"sqlite:///{folder}/ledger.db", folder / "elsewhere.mark", folder)


def _postgres_place(folder: Path) -> Iterator[Place]:
    server = os.environ.get("STILLHOUSE_TEST_POSTGRES")
    if not server:
        pytest.skip("STILLHOUSE_TEST_POSTGRES names no server")
    schema = f"ledger_{uuid.uuid4().hex}"
    admin = create_engine(server, poolclass=NullPool)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield Place(f"{server}?options=-csearch_path%3D{schema}", folder / "elsewhere.mark", folder)
    with admin.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Every test that asks for this runs on both databases."""
    places = iter([_sqlite_place(tmp_path)]) if request.param == "sqlite" else _postgres_place(tmp_path)
    found = next(places)
    yield found
    for ledger in found.opened:
        ledger.close()
    next(places, None)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[Place]:
    found = _sqlite_place(tmp_path)
    yield found
    for ledger in found.opened:
        ledger.close()


@pytest.fixture
def postgres_place(tmp_path: Path) -> Iterator[Place]:
    places = _postgres_place(tmp_path)
    found = next(places)
    yield found
    for ledger in found.opened:
        ledger.close()
    next(places, None)


@pytest.fixture
def event() -> GaussianEvent:
    """One noisy argmax with sigma 40: 625,000 nano-rho."""
    return GaussianEvent(sigma=40.0, squared_sensitivity=2)


@pytest.fixture
def unit() -> int:
    return UNIT
