"""For all tests: one thread each (the machine is small and small products do not gain), and the measurement data's folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing else. The examples are the same every time: who checks a change
# is not told of an old defect. `STILLHOUSE_TEST_EXPLORE=1` looks for new ones.
settings.register_profile("stillhouse", deadline=None, derandomize=not os.environ.get("STILLHOUSE_TEST_EXPLORE"))
settings.load_profile("stillhouse")

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# As the command line does: a gRPC channel of one test must not make the process starts of another talk on stderr.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# No test may depend on a terminal's width or write a user's files.
os.environ.setdefault("COLUMNS", "120")


@pytest.hookimpl(trylast=True)  # After those not asked for are out.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest limits first, then those with most tests: no process is left alone with a long one at the end."""
    longest, tests = Counter[Path](), Counter[Path]()
    for item in items:
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest[item.path], int(limit.args[0]) if limit else 0)
        tests[item.path] += 1
    items.sort(key=lambda item: (-longest[item.path], -tests[item.path], str(item.path)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measurement data, by `STILLHOUSE_SHARED_DATA` or beside the checkout; skips where it is absent."""
    folder = Path(os.environ.get("STILLHOUSE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the measurement data are not at {folder}")
    return folder
