"""Playing the server: what a member sends is uniform, whatever its vector is. Chi-squared at a fixed level, and controls that fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure import masks, messages
from stillhouse.platform.secure.carrying import conduct
from stillhouse.platform.secure.keys import MASK, Agreement
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.protocol import OF_OWN_SEED, SEALED_BYTES, Opening
from stillhouse.platform.secure.shamir import Recovery
from support.secure_parties import Parties, Watched, sender

LEVEL = 1e-9
RUNS = 60
LENGTH = 128
LOST = 4


def uniform(samples: list[bytes]) -> float:
    """The p-value of all bytes of all samples being uniform, or that of the first byte of each sample, whichever is smaller."""
    whole = np.frombuffer(b"".join(samples), dtype=np.uint8)
    first = np.array([sample[0] >> 5 for sample in samples])
    return min(
        stats.chisquare(np.bincount(whole, minlength=256)).pvalue,
        stats.chisquare(np.bincount(first, minlength=8)).pvalue,
    )


@dataclass
class View:
    """What a curious server has seen over many rounds with the same vectors, by member."""

    masked: dict[int, list[bytes]] = field(default_factory=dict)
    without_own: dict[int, list[bytes]] = field(default_factory=dict)
    sealed: list[bytes] = field(default_factory=list)
    revealed: list[bytes] = field(default_factory=list)
    sums: list[np.ndarray] = field(default_factory=list)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Votes for one class in all rounds, as telling as can be: nearly all numbers are 0."""
    vectors = np.zeros((4, LENGTH), np.uint32)
    vectors[:, ::10] = 1
    return vectors


@dataclass
class TooLate(Watched):
    """Keeps what member 4 masked from the server, which has it all the same."""

    late: list[bytes] = field(default_factory=list)

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        for raw in super().exchange(sent, seconds=seconds):
            if raw[5] == Kind.MASKED and sender(raw) == LOST:
                self.late.append(messages.peek(raw)[2])
            else:
                yield raw


@pytest.fixture(scope="module")
def view(vectors: np.ndarray) -> View:
    """Member 4 sends its vector, which the server sees, but "too late": it is treated as lost."""
    seen = View()
    parties = Parties(vectors, dropped=1)
    for _ in range(RUNS):
        carrier = TooLate(parties.members)
        total = conduct(parties.server(), carrier, seconds=1.0)
        assert total.members == {1, 2, 3}
        seen.sums.append(total.vector)
        reveals = {n: messages.read_rows(carrier.body(Kind.REVEAL, n), width=34) for n in (1, 2, 3)}
        for n in (1, 2, 3):
            body = carrier.body(Kind.MASKED, n)
            seen.masked.setdefault(n, []).append(body)
            # All that an honest-but-curious server can take off by itself: own masks of survivors, whose seeds it puts together.
            assert all(rows[n][:1] == OF_OWN_SEED for rows in reveals.values())
            seed = Recovery([1, 2, 3]).combine({holder: rows[n][1:] for holder, rows in reveals.items()})
            stripped = masks.from_bytes(body, LENGTH) - masks.expand(seed, LENGTH)
            # And the pair mask with the lost one, whose key it puts together too.
            stripped = stripped - pair_mask_with_lost(n, parties, carrier, reveals)
            seen.without_own.setdefault(n, []).append(masks.to_bytes(stripped))
            sealed = messages.read_rows(carrier.body(Kind.SHARES, n)[32:], width=SEALED_BYTES)
            seen.sealed += sealed.values()
            seen.revealed += [row[2:] for row in reveals[n].values()]
        # Of the lost one: the masks of its pairs come off, its own does not.
        key = Agreement(Recovery([1, 2, 3]).combine({holder: rows[LOST][1:] for holder, rows in reveals.items()}))
        seeds = {n: derive(key, carrier, LOST, n) for n in (1, 2, 3)}
        rest = masks.from_bytes(carrier.late[0], LENGTH) - masks.pairwise(LOST, seeds, LENGTH)
        seen.masked.setdefault(LOST, []).append(carrier.late[0])
        seen.without_own.setdefault(LOST, []).append(masks.to_bytes(rest))
    return seen


def derive(key: Agreement, carrier: Watched, own: int, other: int) -> bytes:
    peer = carrier.body(Kind.KEYS, other)[32:]
    round_id = messages.peek(carrier.seen[Kind.OPENING, 1])[1]
    return key.derive(peer, purpose=MASK, round_id=round_id, own=own, other=other)(b"")


def pair_mask_with_lost(
    number: int, parties: Parties, carrier: Watched, reveals: dict[int, dict[int, bytes]]
) -> np.ndarray:
    key = Agreement(Recovery([1, 2, 3]).combine({holder: rows[LOST][1:] for holder, rows in reveals.items()}))
    return masks.pairwise(number, {LOST: derive(key, carrier, LOST, number)}, LENGTH)


@pytest.mark.parametrize("number", [1, 2, 3, LOST])
def test_every_masked_vector_is_uniform(view: View, number: int) -> None:
    assert len(view.masked[number]) == RUNS
    assert uniform(view.masked[number]) > LEVEL


@pytest.mark.parametrize("number", [1, 2, 3, LOST])
def test_it_stays_uniform_after_the_server_took_off_all_it_can(view: View, number: int) -> None:
    """Also that of a member that was taken for lost while its vector was under way: that is what its own mask is for."""
    assert uniform(view.without_own[number]) > LEVEL


def test_the_sum_is_all_that_is_left(view: View, vectors: np.ndarray) -> None:
    for run in range(RUNS):
        parts = [masks.from_bytes(view.without_own[n][run], LENGTH) for n in (1, 2, 3)]
        assert np.array_equal(parts[0] + parts[1] + parts[2], vectors[:3].sum(axis=0, dtype=np.uint32))
        # Any two of them are independent of it: they differ from round to round, the sum does not.
        assert np.array_equal(view.sums[run], view.sums[0])
    pairs = [
        masks.to_bytes(masks.from_bytes(a, LENGTH) + masks.from_bytes(b, LENGTH))
        for a, b in zip(view.without_own[1], view.without_own[2], strict=True)
    ]
    assert uniform(pairs) > LEVEL


def test_sealed_and_revealed_shares_are_uniform(view: View) -> None:
    """Without the first byte of a revealed share, which is nil but for a few residues above 2^256."""
    assert uniform(view.sealed) > LEVEL
    assert uniform(view.revealed) > LEVEL


def test_nothing_repeats_between_rounds(view: View) -> None:
    for lists in (*view.masked.values(), *view.without_own.values(), view.sealed, view.revealed):
        assert len(set(lists)) == len(lists)


def test_the_level_catches_what_it_must(view: View, vectors: np.ndarray) -> None:
    """Controls: a bare vector, one with noise of the size of votes, and masks of 31 bits; and random bytes, which pass."""
    generator = np.random.default_rng(0)
    bare = [masks.to_bytes(vectors[0])] * RUNS
    noisy = [masks.to_bytes((vectors[0] + generator.integers(-50, 50, LENGTH)).astype(np.uint32)) for _ in range(RUNS)]
    narrow = [masks.to_bytes(generator.integers(0, 2**31, LENGTH, dtype=np.uint32)) for _ in range(RUNS)]
    for samples in (bare, noisy, narrow):
        assert uniform(samples) < LEVEL
    fair = [generator.bytes(4 * LENGTH) for _ in range(RUNS)]
    assert uniform(fair) > LEVEL


def test_two_of_three_survivors_that_collude_with_the_server_learn_the_third(view: View, vectors: np.ndarray) -> None:
    """The limit of it: the sum less the vectors of those who collude is the sum of the others, and of one other that is its vector."""
    others = vectors[1] + vectors[2]
    assert np.array_equal(view.sums[0] - others, vectors[0])


def test_a_round_tells_nothing_before_its_end() -> None:
    """With one share too few no seed comes out: the reveal of two members of four, of whom three are needed."""
    parties = Parties(np.ones((4, 2), np.uint32), dropped=1)
    assert parties.terms.threshold == 3
    carrier = Watched(parties.members)
    server = parties.server()
    assert isinstance(server.opening, Opening)
    conduct(server, carrier, seconds=1.0)
    rows = {n: messages.read_rows(carrier.body(Kind.REVEAL, n), width=34) for n in (1, 2, 3, 4)}
    whole = Recovery([1, 2, 3]).combine({n: rows[n][1][1:] for n in (1, 2, 3)})
    assert Recovery([2, 3, 4]).combine({n: rows[n][1][1:] for n in (2, 3, 4)}) == whole
    with suppress(BadInput):
        assert Recovery([1, 2]).combine({n: rows[n][1][1:] for n in (1, 2)}) != whole
