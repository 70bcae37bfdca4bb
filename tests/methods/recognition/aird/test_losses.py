"""AIRD's losses against loops over their formulas, and that relations may be compared in other ways."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.aird.losses import (
    FLAVOURS,
    Instance,
    InstanceRelation,
    SimilarityDistributions,
    adapter,
    relation_term,
)
from stillhouse.methods.recognition.baselines.kd import kd
from stillhouse.methods.recognition.baselines.rkd import rkd
from stillhouse.methods.recognition.baselines.sp import sp
from stillhouse.methods.recognition.crrcd.loss import Relation, RelationalContrast
from stillhouse.methods.recognition.seen import Seen
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES, drawn_batch, permuted, with_teacher_gradients

EQUAL = replace(SIZES, student=6)


def _units(rows: torch.Tensor) -> np.ndarray:
    plain = rows.detach().numpy()
    return np.array([row / math.sqrt(sum(row**2)) for row in plain])


def _shares(left: np.ndarray, right: np.ndarray, tau: float) -> list[dict[int, float]]:
    """Softmax over the others, row by row."""
    rows = []
    for i, one in enumerate(left):
        raw = {j: math.exp(float(one @ other) / tau) for j, other in enumerate(right) if j != i}
        rows.append({j: value / sum(raw.values()) for j, value in raw.items()})
    return rows


@pytest.mark.parametrize("seed", [0, 1])
def test_similarity_distributions_are_the_formula(seed: int) -> None:
    settings = InstanceRelation(temperature=0.2)
    batch = drawn_batch(seed, size=5, sizes=EQUAL)
    teacher, student = _units(batch.teacher.embedding), _units(batch.student.embedding)
    target = _shares(teacher, teacher, 0.2)
    wanted = 0.0
    for answer in (_shares(student, teacher, 0.2), _shares(student, student, 0.2)):
        rows = [sum(p[j] * math.log(p[j] / q[j]) for j in p) for p, q in zip(target, answer, strict=True)]
        wanted += 0.5 * float(np.mean(rows))
    found = SimilarityDistributions(settings, adapter(EQUAL))(batch).item()
    assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("feature", ["cosine", "l2"])
def test_the_instance_loss_is_the_formula(feature: str) -> None:
    batch = drawn_batch(0, size=5, sizes=EQUAL)
    settings = InstanceRelation(feature=feature, feature_weight=20, logit=0.5, logit_temperature=3)
    teacher, student = _units(batch.teacher.embedding), _units(batch.student.embedding)
    away = [1 - t @ s if feature == "cosine" else sum((t - s) ** 2) for t, s in zip(teacher, student, strict=True)]
    wanted = 20 * float(np.mean(away)) + 0.5 * kd(batch, temperature=3).item()
    assert Instance(settings, adapter(EQUAL))(batch).item() == pytest.approx(wanted, abs=1e-9)


def test_a_student_that_agrees_costs_nothing() -> None:
    batch = drawn_batch(0, sizes=EQUAL)
    agreeing = replace(batch, student=Seen(3 * batch.teacher.embedding), student_logits=batch.teacher_logits + 2)
    for loss in (Instance, SimilarityDistributions):
        term = loss(InstanceRelation(), adapter(EQUAL))
        assert term(agreeing).item() == pytest.approx(0, abs=1e-12) and term(batch).item() > 0.01


def test_the_order_of_a_batch_does_not_matter_and_the_teacher_gets_no_gradient() -> None:
    torch.manual_seed(0)
    shared = adapter(SIZES).double()
    batch, order = with_teacher_gradients(drawn_batch(4)), torch.randperm(7)
    for loss in (Instance, SimilarityDistributions):
        term = loss(InstanceRelation(), shared)
        assert term(permuted(batch, order)).item() == pytest.approx(term(batch).item())
        term(batch).backward()
        assert batch.teacher.embedding.grad is None and batch.teacher_logits.grad is None
    assert batch.student.embedding.grad is not None and batch.student_logits.grad is not None
    assert all(one.grad is not None for one in shared.parameters())


def test_gradients_are_those_of_finite_differences() -> None:
    batch = drawn_batch(1, size=4, sizes=EQUAL)
    term = SimilarityDistributions(InstanceRelation(), adapter(EQUAL))
    embedding = batch.student.embedding.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: term(replace(batch, student=Seen(one))), embedding)


def test_a_sharp_temperature_stays_finite() -> None:
    batch = drawn_batch(1, sizes=EQUAL)
    opposite = replace(batch, student=Seen((-batch.teacher.embedding).requires_grad_()))
    loss = SimilarityDistributions(InstanceRelation(temperature=0.001), adapter(EQUAL))(opposite)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(opposite.student.embedding.grad).all()


def test_every_flavour_is_the_comparison_it_names() -> None:
    batch = drawn_batch(2, sizes=EQUAL)
    relation = Relation(negatives=2, queue=0)
    terms = {
        name: relation_term(EQUAL, InstanceRelation(flavour=name, relation=relation), adapter(EQUAL)).double()
        for name in FLAVOURS
    }
    assert isinstance(terms["simdist"], SimilarityDistributions)
    assert isinstance(terms["crrcd"], RelationalContrast) and terms["crrcd"].settings is relation
    assert terms["rkd"](batch).item() == rkd(batch).item()
    assert terms["sp"](batch).item() == sp(batch, on="embedding").item()
    assert len({round(term(batch).item(), 6) for term in terms.values()}) == len(FLAVOURS)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"flavour": "pkt"}, {"feature": "l1"}, {"temperature": 0.0}, {"logit": -1.0}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            InstanceRelation(**wrong)
    with pytest.raises(BadInput, match="one picture"):
        SimilarityDistributions(InstanceRelation(), adapter(EQUAL))(drawn_batch(0, size=1, sizes=EQUAL))
