"""The gate: open where labels follow the images, shut where they do not."""

from __future__ import annotations

import torch
from stillhouse.methods.dgd.structure import cross_predicted, structure
from torch import Tensor


def clusters(n: int, classes: int, *, spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = torch.nn.functional.normalize(torch.randn(classes, 20, generator=generator))
    return centres[labels] + spread * torch.randn(n, 20, generator=generator), labels


def test_labels_that_follow_the_images() -> None:
    vectors, labels = clusters(400, 5, spread=0.05)
    assert structure(cross_predicted(vectors, labels, 5), labels, 5) > 0.9


def test_labels_by_chance_shut_the_gate() -> None:
    vectors, _ = clusters(400, 5, spread=0.05)
    labels = torch.randint(5, (400,), generator=torch.Generator().manual_seed(1))
    assert structure(cross_predicted(vectors, labels, 5), labels, 5) < 0.1


def test_one_commonest_label_is_no_structure() -> None:
    vectors, _ = clusters(400, 5, spread=0.05)
    labels = (torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.1).long()
    assert structure(cross_predicted(vectors, labels, 5), labels, 5) < 0.1


def test_a_label_is_never_predicted_by_itself() -> None:
    """With as many dimensions as images a fit by itself would be perfect."""
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(60, 200, generator=generator)
    labels = torch.randint(3, (60,), generator=generator)
    assert float((cross_predicted(vectors, labels, 3) == labels).double().mean()) < 0.6


def test_too_few_to_tell() -> None:
    assert structure(torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long), 3) == 1.0
