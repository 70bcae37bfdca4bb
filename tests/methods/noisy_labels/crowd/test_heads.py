"""The two heads: what they say, that sparse and dense answers lose alike, and who has a share in the gradient (must-show 6)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.crowd.answers import Answers
from stillhouse.methods.noisy_labels.crowd.heads import EPSILON, CrowdHead, crowd_loss
from stillhouse.platform.data.crowd import CrowdAnswers
from torch import Tensor

from .small_crowd import small_crowd

HEADS = pytest.mark.parametrize("official", [False, True], ids=["rows", "official"])


def random_head(annotators: int, classes: int, *, official: bool, seed: int = 0) -> CrowdHead:
    head = CrowdHead(annotators, classes, diagonal=1.0, official=official).double()
    with torch.no_grad():
        head.matrices += torch.randn(
            head.matrices.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    return head


def random_p(rows: int, classes: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.softmax(torch.randn(rows, classes, generator=draw, dtype=torch.float64), dim=1)


def test_a_large_diagonal_says_what_the_network_says() -> None:
    head = CrowdHead(2, 4, diagonal=200.0)
    p = torch.tensor([[0.1, 0.7, 0.1, 0.1]]).expand(4, 4)
    everything = head.probabilities(p, torch.tensor([0, 1, 0, 1]), torch.arange(4))
    torch.testing.assert_close(everything, p[0])
    one_hot = head.probabilities(torch.eye(4)[[1]].expand(4, 4), torch.zeros(4, dtype=torch.long), torch.arange(4))
    assert one_hot.tolist() == [0, 1, 0, 0]


def test_the_official_head_starts_nearly_flat() -> None:
    """With V = I and a certain p, ten classes: e / (e + 9)."""
    head = CrowdHead(1, 10, diagonal=1.0, official=True)
    said = head.probabilities(torch.eye(10)[[3]], torch.tensor([0]), torch.tensor([3]))
    assert float(said.detach()) == pytest.approx(math.e / (math.e + 9), rel=1e-6)


@HEADS
def test_answers_are_probabilities(official: bool) -> None:
    head, p = random_head(3, 5, official=official), random_p(1, 5).expand(5, 5)
    for annotator in range(3):
        said = head.probabilities(p, torch.full((5,), annotator), torch.arange(5))
        assert float(said.detach().sum()) == pytest.approx(1)
        assert (said > 0).all()


@HEADS
def test_a_correction_is_an_addition_to_the_matrices(official: bool) -> None:
    head, p = random_head(3, 4, official=official), random_p(6, 4)
    annotators, labels = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 3, 0, 1])
    change = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    corrected = head.probabilities(p, annotators, labels, change[annotators])
    with torch.no_grad():
        head.matrices += change
    torch.testing.assert_close(corrected, head.probabilities(p, annotators, labels))


@HEADS
def test_renaming_annotators_changes_nothing(official: bool) -> None:
    """Matrices and corrections permuted with the annotators: the same loss, and gradients permuted."""
    p, labels = random_p(8, 3), torch.arange(8) % 3
    annotators, order = torch.arange(8) % 5, torch.tensor([3, 0, 4, 1, 2])
    change = torch.randn(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    first, second = random_head(5, 3, official=official), random_head(5, 3, official=official)
    with torch.no_grad():
        second.matrices[order] = first.matrices.clone()
    moved = torch.empty_like(change)
    moved[order] = change
    losses = []
    for head, who, added in ((first, annotators, change), (second, order[annotators], moved)):
        losses.append(crowd_loss(head.probabilities(p, who, labels, added[who]), 8))
        losses[-1].backward()
    assert first.matrices.grad is not None and second.matrices.grad is not None
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(first.matrices.grad, second.matrices.grad[order])


@HEADS
def test_the_sparse_loss_is_the_dense_one(official: bool) -> None:
    """Against a loop over an items x annotators table with -1 where nobody answered."""
    answers = small_crowd(30, each=3).answers
    head, p = random_head(answers.n_annotators, answers.classes, official=official), random_p(30, answers.classes)
    table = np.full((30, answers.n_annotators), -1)
    table[answers.items, answers.annotators] = answers.labels
    total, count = 0.0, 0
    for item, row in enumerate(table):
        for annotator, label in enumerate(row):
            if label < 0:
                continue
            matrix = head.matrices[annotator].detach()
            said = torch.softmax(p[item] @ matrix, 0) if official else p[item] @ torch.softmax(matrix, 1)
            total -= math.log(float(said[label]) + EPSILON)
            count += 1
    places, annotators, labels = Answers(answers).about(torch.arange(30))
    found = crowd_loss(head.probabilities(p[places], annotators, labels), len(labels))
    assert count == len(labels)
    assert float(found.detach()) == pytest.approx(total / count, abs=1e-6)


@HEADS
def test_who_did_not_answer_has_no_gradient(official: bool) -> None:
    head, p = random_head(4, 3, official=official), random_p(5, 3)
    annotators = torch.tensor([0, 2, 2, 0, 2])
    crowd_loss(head.probabilities(p, annotators, torch.tensor([0, 1, 2, 1, 0])), 5).backward()
    assert head.matrices.grad is not None
    shares = head.matrices.grad.abs().sum((1, 2))
    assert (shares[[1, 3]] == 0).all()
    assert (shares[[0, 2]] > 0).all()


@HEADS
def test_gradients_are_derivatives(official: bool) -> None:
    head = random_head(3, 4, official=official)
    annotators, labels = torch.tensor([0, 1, 1, 2]), torch.tensor([3, 0, 1, 1])
    p = random_p(4, 4).requires_grad_()
    change = torch.zeros(4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, u: crowd_loss(head.probabilities(p, annotators, labels, u), 4), (p, change)
    )


@given(seed=st.integers(0, 10_000), items=st.integers(1, 40), chosen=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_the_answers_about_any_items_are_found(seed: int, items: int, chosen: int) -> None:
    """Items in any order, some of them twice, answers in any order."""
    draw = np.random.default_rng(seed)
    pairs = np.concatenate([np.arange(items) * 6 + draw.integers(0, 6, items), draw.integers(0, 6 * items, 2 * items)])
    pairs = draw.permutation(np.unique(pairs))
    answers = CrowdAnswers(pairs // 6, pairs % 6, draw.integers(0, 4, len(pairs)), items, 6, 4)
    rows = draw.integers(0, items, chosen)
    places, annotators, labels = (part.tolist() for part in Answers(answers).about(torch.from_numpy(rows)))
    found = sorted(zip(places, annotators, labels, strict=True))
    wanted = sorted(
        (place, int(r), int(y))
        for place, row in enumerate(rows)
        for n, r, y in zip(answers.items, answers.annotators, answers.labels, strict=True)
        if n == row
    )
    assert found == wanted
