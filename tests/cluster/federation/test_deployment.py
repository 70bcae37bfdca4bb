"""Separate owners through Flower on loopback: TLS, registered keys, four SuperNodes, of which one dies, then a second."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.federation.standing import VOTING, read_standing
from stillhouse.platform.data.sources import load
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from support.flower_town import FlowerTown

SILOS = [f"hospital-{letter}" for letter in "abcd"]
RECEIVED = "Receiving: query.votes message"  # in a SuperNode's log


@pytest.fixture
def town(tmp_path: Path) -> Iterator[FlowerTown]:
    found = FlowerTown(tmp_path)
    yield found
    found.end()
    left = found.left()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def ask(town: FlowerTown, address: str, images: str, expect: int = 0) -> dict[str, object]:
    words = [
        "ask",
        "--images",
        images,
        "--ensemble",
        "clinic",
        "--out",
        "labels.npz",
        "--address",
        address,
        "--token-file",
    ]
    return town.stillhouse(
        *words, "analyst.token", "--mechanism", "name=gnmax", "sigma=1", "--wait", "200", expect=expect
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_four_owners_of_whom_one_dies_in_the_middle(town: FlowerTown) -> None:
    source = load("digits")
    for i, silo in enumerate(SILOS):
        write_shard(town.home / silo, source.private.take(np.arange(200 * i, 200 * (i + 1))))
        town.key(silo)
    town.key("stranger")
    for name, first in (("one", 0), ("two", 20), ("three", 40), ("four", 60)):
        np.savez(town.home / f"{name}.npz", images=source.pool.images[first : first + 20])

    # The operator: a SuperLink, the roster by registered keys, the aggregator, the relay.
    town.superlink()
    roster = {silo: town.register(silo) for silo in SILOS}
    (town.home / "roster.txt").write_text("".join(f"{silo} {node}\n" for silo, node in roster.items()))
    town.stillhouse(
        "token", "silo", "relay", "--owns", ",".join(SILOS), "--tokens", "tokens.json", "--out", "relay.token"
    )
    town.stillhouse("token", "analyst", "analyst", "--tokens", "tokens.json", "--out", "analyst.token")
    town.stillhouse(
        "ledger", "grant", "clinic", "--ledger", "ledger.db", "--epsilon", "500", "--delta", "1e-5", "--by", "officer"
    )
    town.start(
        "serve", "stillhouse", "serve", "--dataset", "clinic", "--classes", "10", "--silos", ",".join(SILOS), "--quorum", "3",
        "--deadline", "90", "--tokens", "tokens.json", "--ledger", "ledger.db", "--address", "127.0.0.1:0",
        "--ready-file", "ready.json",
    )  # fmt: skip
    for silo in SILOS:
        town.supernode(silo)
    town.supernode("stranger")  # with a key that nobody registered
    ready = town.home / "ready.json"
    town.wait(ready.exists, "serve")
    address = json.loads(ready.read_text())["address"]
    state = town.home / "state.json"
    town.relay(
        {"address": address, "token-file": str(town.home / "relay.token"), "roster": str(town.home / "roster.txt"), "silos": 4,
         "quorum": 3, "start-seconds": 240.0, "deadline-seconds": 90.0, "state-file": str(state)}
    )  # fmt: skip
    town.wait(lambda: read_standing(state).get("state") == VOTING, "serve", "superlink", *SILOS)
    told = read_standing(state)
    assert told["silos"] == SILOS and (told["trained"], told["reused"]) == (4, 0)

    # All four vote, and vote as their hosts do.
    first = ask(town, address, "one.npz")["data"]
    assert isinstance(first, dict) and first["statuses"] == {"answered": 20}
    host = SiloHost([town.home / silo for silo in SILOS], ScatterRidge())
    assert host.train().reused == 4
    counts = np.stack([(host.vote(source.pool.images[:20]) == k).sum(0) for k in range(10)], axis=1)
    unanimous = counts.max(1) == 4
    assert unanimous.sum() > 3
    labels = np.load(town.home / "labels.npz")["labels"]
    # Noise of one vote against a lead of four: some labels may be others.
    assert (labels[unanimous] == counts[unanimous].argmax(1)).mean() > 0.5
    kept = {silo: len(list((town.home / silo / "votes").glob("*.votes"))) for silo in SILOS}
    assert kept == dict.fromkeys(SILOS, 1)

    # One dies with the question in its hands: the three others are a quorum.
    asked = town.log("hospital-d").count(RECEIVED)

    def kill() -> None:
        town.wait(lambda: town.log("hospital-d").count(RECEIVED) > asked, "hospital-d")
        town.kill("hospital-d")

    killer = threading.Thread(target=kill)
    killer.start()
    second = ask(town, address, "two.npz")["data"]
    killer.join()
    assert isinstance(second, dict) and second["statuses"] == {"answered": 20}
    third = ask(town, address, "three.npz")["data"]
    assert isinstance(third, dict) and third["statuses"] == {"answered": 20}
    assert "decided, 3 of 4 silos voted" in town.log("serve")

    # A second dies: a clear refusal, and nothing is spent on it.
    before = town.stillhouse("ledger", "show", "clinic", "--ledger", "ledger.db")["data"]
    town.kill("hospital-c")
    refused = ask(town, address, "four.npz", expect=3)["error"]
    assert isinstance(refused, dict) and "2 of 4 silos voted, 3 are needed" in refused["what"] + refused["why"]
    assert town.stillhouse("ledger", "show", "clinic", "--ledger", "ledger.db")["data"] == before

    # It comes back with its key: the same node, its teacher found in its folder, and the question is answered.
    town.come_back("hospital-c")
    fourth = ask(town, address, "four.npz")["data"]
    assert isinstance(fourth, dict) and fourth["statuses"] == {"answered": 20}
    # The stranger never took part; what was paid for is found.
    assert ask(town, address, "one.npz")["data"]["cost_nano_rho"] == 0  # type: ignore[index]
    assert not (town.home / "flower-stranger" / "apps").exists()
    town.stop_relay()
