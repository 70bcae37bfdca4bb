"""Secure aggregation over Flower: the count but for the silos' noise, losses in every step, the store, the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from stillhouse.cluster.federation.client_app import HANDLERS
from stillhouse.cluster.federation.flower import client_app
from stillhouse.cluster.federation.secure import MESSAGE, QUESTION, FlowerCarrier, SecureDesk, batch_hash
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BudgetExhausted, RunFailed
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.distributed_mechanisms import SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.secure.agreement import Agreement
from stillhouse.platform.secure.ballot import SecureBallot
from stillhouse.platform.secure.folder import AGREEMENT, HOME, IDENTITY, make_identity
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.stored import StoredBallot
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from support.flower import LocalGrid, everything_in

SILOS, QUERIES = 4, 6
# Shares of parameter 0.6, the narrowest that are allowed for: the majority of four shows.
GNMAX = SharedGNMax(NoiseShare(0.6 * 3**0.5, SILOS, dropped=1))
UNIT = GNMAX.answer_event().nano_rho()


@dataclass
class LossyGrid(LocalGrid):
    """A grid on which some nodes' answers of a kind are lost, or whatever `change` makes of them."""

    lost_before: dict[int, Kind] = field(default_factory=dict)
    change: Callable[[int, bytes], bytes] = lambda node, raw: raw

    def _answer(self, node: int, message: Message) -> Message:
        reply = super()._answer(node, message)
        values = reply.content.config_records.get("values", {})
        raw = values.get("message")
        if isinstance(raw, bytes):
            if raw[5] >= self.lost_before.get(node, 99):
                return Message(type(reply.content)({}), reply_to=message)
            values["message"] = self.change(node, raw)
        return reply


class Federation:
    """Four silos with teachers of digits as Flower clients, a server with a ledger."""

    def __init__(self, home: Path, *, epsilon: float = 400.0, owners: dict[int, dict[str, str]] | None = None) -> None:
        private, self.images = load("digits").private, load("digits").pool.images[:QUERIES]
        self.folders = [home / f"silo-{i}" for i in range(SILOS)]
        for i, folder in enumerate(self.folders):
            write_shard(folder, private.take(np.arange(60 * i, 60 * (i + 1))))
        server = Identity.new()
        keys = {folder.name: make_identity(folder / IDENTITY).public for folder in self.folders}
        self.agreement = Agreement.of(keys, server=server.public, mechanism=GNMAX, classes=10, dropped=1, colluding=0)
        for folder in self.folders:
            self.agreement.write(folder / AGREEMENT)
        settings: dict[int, Any] = {
            10 + i: {"folder": str(folder), **(owners or {}).get(i, {})} for i, folder in enumerate(self.folders)
        }
        run = {"teacher": json.dumps(ScatterRidge().to_json()), "seed": 3}
        self.grid = LossyGrid(client_app(HANDLERS), settings, run)  # type: ignore[arg-type]
        self.ledger = Ledger(f"sqlite:///{home}/ledger.db")
        self.ledger.grant("digits", epsilon=epsilon, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
        carrier = FlowerCarrier(self.grid.nodes, {i + 1: 10 + i for i in range(SILOS)})
        ballot = SecureBallot(
            self.ledger,
            carrier,
            server,
            self.agreement.terms,
            GNMAX,
            dataset="digits",
            ensemble="e",
            classes=10,
            seconds=0.6,
        )
        self.desk = SecureDesk(StoredBallot(ballot), carrier, self.agreement, seconds=0.6)

    @property
    def spent(self) -> int:
        return self.ledger.budget("digits").spent[0]

    def plain(self) -> np.ndarray:
        """The silos' votes, counted in the clear."""
        host = SiloHost(self.folders, ScatterRidge(), seed=3)
        host.train()
        votes = host.vote(self.images)
        return np.stack([(votes == k).sum(0) for k in range(10)], axis=1)


def test_what_comes_out_is_the_silos_majority_and_the_same_question_is_free(tmp_path: Path) -> None:
    """On twenty queries on which all four agree. The noise has a deviation of 1.2, so each comes out with a chance of 0.90 to 0.98
    (by the label: ties go to the lowest), and ten or fewer with one of less than 1e-5."""
    federation = Federation(tmp_path)
    federation.images = load("digits").pool.images
    counts = federation.plain()
    agreed = np.flatnonzero(counts.max(axis=1) == SILOS)[:20]
    federation.images = federation.images[agreed]
    found = federation.desk.ask(federation.images)
    assert len(agreed) == 20 and (found.labels == counts[agreed].argmax(axis=1)).sum() > 10
    assert found.voted == {"answer": SILOS} and federation.spent == found.cost_nano_rho == 20 * UNIT
    sent = len(federation.grid.sent)
    again = federation.desk.ask(federation.images)
    assert again.labels.tolist() == found.labels.tolist() and again.from_store.all()
    assert federation.spent == 20 * UNIT and len(federation.grid.sent) == sent
    assert federation.ledger.verify().ok


def test_no_vote_is_in_any_message(tmp_path: Path) -> None:
    """The reply to the question says who has voted. The rest are Flower's envelopes around signed messages of fixed lengths."""
    federation = Federation(tmp_path)
    replies: list[Message] = []
    answer = federation.grid._answer

    def watched(node: int, message: Message) -> Message:
        reply = answer(node, message)
        replies.append(reply)
        return reply

    federation.grid._answer = watched  # type: ignore[method-assign]
    federation.desk.ask(federation.images)
    kinds = [reply.content.config_records["values"] for reply in replies]
    assert [dict(values) for values in kinds[:SILOS]] == [{"silo": f"silo-{i}"} for i in range(SILOS)]
    assert all(set(values) == {"message"} for values in kinds[SILOS:])
    assert not any(reply.content.array_records["arrays"] for reply in replies)
    assert len(replies) == 6 * SILOS
    # A pair of silos with the same votes sends different masked vectors.
    masked = [values["message"] for values in kinds[SILOS:] if values["message"][5] == Kind.MASKED]
    assert len({raw[46:-64] for raw in masked}) == len(masked) == SILOS


@pytest.mark.parametrize("step", [Kind.KEYS, Kind.SHARES, Kind.MASKED, Kind.CONSENT, Kind.REVEAL], ids=lambda k: k.name)
def test_a_silo_may_be_lost_in_any_step(tmp_path: Path, step: Kind) -> None:
    federation = Federation(tmp_path)
    federation.grid.lost_before = {11: step}
    found = federation.desk.ask(federation.images)
    assert found.voted == {"answer": SILOS if step in (Kind.CONSENT, Kind.REVEAL) else SILOS - 1}
    assert federation.spent == QUERIES * UNIT


def test_a_node_that_is_not_there_is_a_lost_silo_and_two_are_too_many(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.grid.silent = {12}
    assert federation.desk.ask(federation.images[:3]).voted == {"answer": 3}
    federation.grid.refused = {10}
    before = federation.spent
    with pytest.raises(RunFailed, match="nothing was charged"):
        federation.desk.ask(federation.images)
    assert federation.spent == before


def test_an_altered_message_is_a_lost_silo(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.grid.change = lambda node, raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:] if node == 11 else raw
    assert federation.desk.ask(federation.images).voted == {"answer": 3}


def test_a_spent_budget_asks_nobody_to_reveal(tmp_path: Path) -> None:
    federation = Federation(tmp_path, epsilon=1.0)
    with pytest.raises(BudgetExhausted):
        federation.desk.ask(federation.images)
    assert federation.spent == 0
    assert not any(message.metadata.message_type.endswith(MESSAGE) for message in federation.grid.sent)


def test_a_silo_with_a_ledger_of_its_own_takes_no_part_beyond_it(tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    with Ledger(f"sqlite:///{own}") as ledger:
        ledger.grant("mine", epsilon=400.0, delta=1e-5, kind=BudgetKind.ZCDP, by="silo-0")
    federation = Federation(tmp_path, owners={0: {"ledger": f"sqlite:///{own}", "dataset": "mine"}})
    assert federation.desk.ask(federation.images[:2]).voted == {"answer": 4}
    with Ledger(f"sqlite:///{own}") as ledger:
        assert ledger.budget("mine").spent[0] == 2 * UNIT
        room = ledger.would_fit("mine", GNMAX.answer_event())
        ledger.charge("mine", key="elsewhere", event=GNMAX.answer_event().times(room), purpose="other work")
    assert federation.desk.ask(federation.images[2:]).voted == {"answer": 3}


def test_a_refusal_says_a_word_and_nothing_of_a_record(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    [reply] = federation.grid.nodes.ask(MESSAGE, {10: {"message": b"nonsense"}}, seconds=1)
    assert reply.values == {"refused": "BadInput"}
    for name, values in ((MESSAGE, {}), (QUESTION, {}), (QUESTION, {"images": np.zeros((2, 2))})):
        [reply] = federation.grid.nodes.ask(name, {10: values}, seconds=1)  # type: ignore[dict-item]
        assert (reply.values, reply.failure) == (None, "BadInput")
    assert str(tmp_path).encode() not in b"".join(everything_in(message) for message in federation.grid.sent)


def test_votes_stay_in_the_folder_under_the_hash_of_what_the_silo_saw(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    [reply] = federation.grid.nodes.ask(QUESTION, {10: {"images": federation.images}}, seconds=5)
    assert reply.values == {"silo": "silo-0"}
    with np.load(federation.folders[0] / HOME / "question.npz") as kept:
        assert str(kept["content"]) == batch_hash(federation.images) and kept["votes"].shape == (QUERIES,)
