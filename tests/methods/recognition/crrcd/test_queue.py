"""The queue against a deque, and who may be a negative of whom."""

from __future__ import annotations

from collections import deque

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.crrcd.queue import EmbeddingQueue, Held, choose, eligible


def _numbered(start: int, count: int) -> Held:
    """Pictures that carry their number in everything."""
    numbers = torch.arange(start, start + count)
    column = numbers[:, None].float()
    return Held(column.repeat(1, 2), -column.repeat(1, 3), numbers % 5, numbers)


@given(length=st.integers(1, 9), sizes=st.lists(st.integers(1, 12), max_size=8))
@settings(max_examples=80)
def test_first_in_first_out_around_the_end(length: int, sizes: list[int]) -> None:
    queue, wanted, number = EmbeddingQueue(length, teacher=2, student=3), deque[int](maxlen=length), 0
    for size in sizes:
        queue.push(_numbered(number, size))
        wanted.extend(range(number, number + size))
        number += size
        held = queue.held()
        assert held.indices.tolist() == list(wanted) and len(queue) == len(wanted)
        assert held.labels.tolist() == [one % 5 for one in wanted]
        assert held.teacher[:, 1].tolist() == list(wanted) and held.student[:, 2].tolist() == [-one for one in wanted]


def test_what_is_held_are_copies_without_gradients() -> None:
    queue = EmbeddingQueue(4, teacher=1, student=1)
    vector = torch.ones(2, 1, requires_grad=True)
    queue.push(Held(vector, vector, torch.zeros(2, dtype=torch.int64), torch.arange(2)))
    held = queue.held()
    assert not held.student.requires_grad
    held.student.fill_(9)
    assert queue.held().student.max() == 1


def test_a_queue_goes_on_from_its_state() -> None:
    first, second = (EmbeddingQueue(5, teacher=2, student=3) for _ in range(2))
    first.push(_numbered(0, 7))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.push(_numbered(7, 2))
    assert second.held().indices.tolist() == first.held().indices.tolist() == [4, 5, 6, 7, 8]


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    past=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    count=st.integers(1, 25),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100)
def test_supervised_negatives_are_never_of_the_same_person(
    labels: list[int], past: list[int], count: int, seed: int
) -> None:
    torch.manual_seed(seed)
    queue = EmbeddingQueue(32, teacher=1, student=1)
    column = torch.zeros(len(past), 1)
    queue.push(Held(column, column, torch.tensor(past), torch.arange(len(past))))
    held = queue.held()
    allowed = eligible(torch.tensor(labels), torch.arange(len(labels)), held, supervised=True)
    chosen, valid = choose(allowed, count)
    assert chosen.shape == valid.shape == (len(labels), min(count, len(past)))
    for label, row, counts in zip(labels, chosen.tolist(), valid.tolist(), strict=True):
        used = [number for number, yes in zip(row, counts, strict=True) if yes]
        others = [number for number, one in enumerate(past) if one != label]
        assert all(past[number] != label for number in used)
        # Each once, and all there are where there are too few.
        assert len(set(used)) == len(used) == min(len(others), count)


def test_unsupervised_negatives_are_other_pictures_only() -> None:
    candidates = Held(torch.zeros(3, 1), torch.zeros(3, 1), torch.tensor([1, 1, 2]), torch.tensor([10, 11, 12]))
    allowed = eligible(torch.tensor([1, 2]), torch.tensor([11, 12]), candidates, supervised=False)
    assert allowed.tolist() == [[True, False, True], [True, True, False]]


def test_every_candidate_is_as_likely() -> None:
    torch.manual_seed(0)
    allowed = torch.tensor([True, True, False, True, True]).repeat(8000, 1)
    chosen, valid = choose(allowed, 2)
    assert valid.all()
    counts = torch.bincount(chosen.flatten(), minlength=5)
    # Each is drawn with probability 1/2: 4000 of 8000, a standard deviation of 45.
    assert counts[2] == 0 and (counts[[0, 1, 3, 4]] - 4000).abs().max() < 200
