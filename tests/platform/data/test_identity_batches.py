"""P x K batches: exactly K pictures of each of P people, evenly over an epoch, and the same whatever the number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.identity_batches import IdentityBatches
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.world import World

COUNTS = st.lists(st.integers(2, 7), min_size=2, max_size=9)


def drawn(counts: list[int], people: int, pictures: int, seed: int = 0, **more) -> tuple[np.ndarray, list[list[int]]]:
    identities = np.repeat(10 * np.arange(len(counts)), counts)
    identities = identities[np.random.default_rng(1).permutation(len(identities))]
    generator = torch.Generator().manual_seed(seed)
    return identities, list(IdentityBatches(identities, people, pictures, generator, **more))


@given(counts=COUNTS, data=st.data())
def test_every_batch_has_k_pictures_of_p_people_and_an_epoch_is_even(counts: list[int], data) -> None:
    people = data.draw(st.integers(1, len(counts)))
    pictures = data.draw(st.integers(1, 6))
    batches_asked = data.draw(st.none() | st.integers(1, 12))
    identities, batches = drawn(counts, people, pictures, batches=batches_asked)
    per_person, per_picture = Counter(), Counter()
    for batch in batches:
        who = identities[batch]
        assert len(batch) == people * pictures and len(set(who.tolist())) == people
        assert (who.reshape(people, pictures) == who.reshape(people, pictures)[:, :1]).all()
        for person in set(who.tolist()):
            times = Counter(i for i in batch if identities[i] == person)
            own = int((identities == person).sum())
            if own >= pictures:
                assert set(times.values()) == {1}
            else:
                # All of a person's pictures come before any is repeated.
                assert len(times) == own and max(times.values()) - min(times.values()) <= 1
        per_person.update(set(who.tolist()))
        per_picture.update(batch)
    shares = [per_person[10 * one] for one in range(len(counts))]
    assert max(shares) - min(shares) <= 1
    for person in range(len(counts)):
        times = [per_picture[i] for i in np.flatnonzero(identities == 10 * person).tolist()]
        assert max(times) - min(times) <= 1
    if batches_asked is None:
        assert len(batches) == max(1, round(len(identities) / (people * pictures)))
    else:
        assert len(batches) == batches_asked


@given(counts=COUNTS, seed=st.integers(0, 99), size=st.integers(1, 4), times=st.integers(1, 3))
def test_processes_share_whole_people_of_the_same_batches(counts: list[int], seed: int, size: int, times: int) -> None:
    people = size * times
    if people > len(counts):
        return
    identities, alone = drawn(counts, people, 3, seed)
    shared = [drawn(counts, people, 3, seed, world=World(rank, size))[1] for rank in range(size)]
    for number, batch in enumerate(alone):
        parts = [own[number] for own in shared]
        assert {len(part) for part in parts} == {times * 3}
        assert Counter(i for part in parts for i in part) == Counter(batch)
        who = [set(identities[part].tolist()) for part in parts]
        assert sum(map(len, who)) == len(set().union(*who))


def test_the_generator_decides_and_moves_on() -> None:
    assert drawn([4] * 6, 3, 2, 0)[1] == drawn([4] * 6, 3, 2, 0)[1] != drawn([4] * 6, 3, 2, 1)[1]
    batches = IdentityBatches(np.repeat(np.arange(6), 4), 3, 2, torch.Generator().manual_seed(0))
    assert list(batches) != list(batches) and len(batches) == 4


def test_it_is_a_batch_sampler_of_torchs_loader() -> None:
    identities = torch.arange(4).repeat_interleave(3)
    batches = IdentityBatches(identities, 2, 2, torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(identities), batch_sampler=batches)
    assert [len(set(labels.tolist())) for (labels,) in loader] == [2] * 3


def test_people_with_few_pictures() -> None:
    identities = [0, 0, 0, 1, 1, 2, 2, 2]
    generator = torch.Generator().manual_seed(0)
    assert IdentityBatches(identities, 2, 3, generator).repeated == 1
    with pytest.raises(BadInput, match=r"1 of 3 people have a single picture.*data\.fewest=2"):
        IdentityBatches([0, 0, 1, 2, 2], 2, 2, generator)
    assert len(IdentityBatches([0, 0, 1, 2, 2], 2, 1, generator)) == 2


@pytest.mark.parametrize(
    ("people", "pictures", "world", "message"),
    [
        (4, 2, World(), "batches of 4 people: there are 3"),
        (3, 2, World(0, 2), "cannot be shared by 2 processes"),
        (0, 2, World(), "whole numbers from 1"),
        (2, 0, World(), "whole numbers from 1"),
    ],
)
def test_impossible_batches_are_refused(people: int, pictures: int, world: World, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        IdentityBatches([0, 0, 1, 1, 2, 2], people, pictures, torch.Generator(), world=world)
