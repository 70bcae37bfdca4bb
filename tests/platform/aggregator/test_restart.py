"""Killed and started again: batches wait on disk, votes do not, answers stay the same."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import TimedOut
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.mechanisms import GNMax
from support.aggregator import ENSEMBLE, ServerProcess, asking, fetched, questions, set_up, trivial_votes, voting

# Little noise would be an epsilon of thousands; two silos of three agree, so labels differ from run to run.
PLAIN = GNMax(10.0)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    made = ServerProcess(*set_up(tmp_path))
    yield made
    made.close()


def test_an_open_batch_outlives_a_kill_and_its_analyst_notices_nothing(
    process: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "stillhouse.platform.aggregator.asking.RECONNECT_SECONDS", 100.0
    )  # a slow machine starts slowly
    server = process.start()
    with server.analyst() as analyst, server.silo("a") as silo:
        analyst.ensemble()  # The kill may cut off the answer to its question, so it has met the aggregator before.
        with asking(lambda: analyst.ask(questions(30), PLAIN, ensemble=ENSEMBLE)) as answers:
            batch = fetched(silo)
            secret_votes = (trivial_votes(batch.images) + 1) % 5
            silo.send_votes(batch, ["a"], secret_votes)
            process.end(signal.SIGKILL)
            for file in tmp_path.rglob("*"):
                if file.is_file():
                    content = file.read_bytes()
                    for kind in (np.int8, np.int16, np.int32, np.int64):
                        assert secret_votes.astype(kind).tobytes() not in content, f"votes lie in {file.name}"
            again = process.start()
            with voting(again):  # also silo a: its vote is gone with the process, and it may vote otherwise now
                first = answers()
        # The batch goes on by itself: its answers may be in the store before the analyst finds the way back, and cost it nothing then.
        cost = 0 if first.from_store.all() else 30 * PLAIN.answer_event().nano_rho()
        assert first.statuses == ("answered",) * 30 and first.cost_nano_rho == cost
    process.end(signal.SIGKILL)
    third = process.start()
    with third.analyst() as analyst:
        repeated = analyst.ask(questions(30), PLAIN, ensemble=ENSEMBLE)
    assert repeated.labels.tolist() == first.labels.tolist()
    rho = 30 * PLAIN.answer_event().nano_rho() / 1e9  # Once, whoever found the answers.
    assert (
        repeated.spent_epsilon == first.spent_epsilon == pytest.approx(gdp_epsilon(math.sqrt(2 * rho), 1e-5), rel=1e-3)
    )


def test_after_a_clean_end_silos_are_asked_again(process: ServerProcess):
    server = process.start()
    with server.analyst() as analyst, pytest.raises(TimedOut):
        analyst.ask(questions(3), PLAIN, ensemble=ENSEMBLE, wait_seconds=0.2)
    assert process.end(signal.SIGTERM) == 0
    again = process.start()
    with again.silo("b") as silo:
        assert (fetched(silo).images == questions(3)).all()
    with again.analyst() as analyst, voting(again):
        assert analyst.ask(questions(3), PLAIN, ensemble=ENSEMBLE).statuses == ("answered",) * 3
