"""CRD against a dense reading of its authors' formula, and its memory."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from stillhouse.methods.recognition.baselines.crd import ContrastiveRepresentation, Memory
from stillhouse.methods.recognition.seen import Batch
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES, drawn_batch, with_teacher_gradients
from torch import Tensor

FEW = replace(SIZES, records=9)
DENSE = Memory(dimension=3, negatives=9, temperature=0.5)


def _term(settings_: Memory = DENSE) -> ContrastiveRepresentation:
    torch.manual_seed(0)
    return ContrastiveRepresentation(FEW, settings_).double()


def _unit(layer: torch.nn.Linear, vector: Tensor) -> Tensor:
    projected = layer.weight @ vector + layer.bias
    return projected / projected.norm()


def _dense(
    term: ContrastiveRepresentation, batch: Batch, z: tuple[float, float] | None = None
) -> tuple[float, list[float]]:
    """-log h(own) - n E[log(1 - h(other))], h = e / (e + n Z), record by record; Z over own and others of the whole batch."""
    n, tau, total, zs = term.settings.negatives, term.settings.temperature, 0.0, []
    sides = (
        (term.student, batch.student.embedding, term.teacher_memory),
        (term.teacher, batch.teacher.embedding, term.student_memory),
    )
    for number, (layer, embeddings, memory) in enumerate(sides):
        own, others = [], []
        for one, index, label in zip(embeddings, batch.indices.tolist(), batch.labels.tolist(), strict=True):
            vector = _unit(layer, one)
            own.append(math.exp((vector @ memory[index]).item() / tau))
            allowed = [k for k in range(len(memory)) if k != index and int(term.labels[k]) != label]
            others.append([math.exp((vector @ memory[k]).item() / tau) for k in allowed])
        flat = own + [e for row in others for e in row]
        zs.append(sum(flat) / len(flat) if z is None else z[number])
        for good, row in zip(own, others, strict=True):
            total -= math.log(good / (good + n * zs[-1])) / len(own)
            total -= n * sum(math.log(n * zs[-1] / (e + n * zs[-1])) for e in row) / len(row) / len(own)
    return total, zs


def test_the_loss_is_the_dense_formula_before_and_after_the_memory_is_filled() -> None:
    term = _term()
    first = drawn_batch(0, size=5, sizes=FEW)
    wanted, zs = _dense(term, first)
    assert term(first).item() == pytest.approx(wanted, abs=1e-9)
    term.after_step(first)
    assert sorted(term.labels.tolist())[:4] == [-1] * 4 and (term.labels[first.indices] == first.labels).all()
    second = drawn_batch(1, size=6, sizes=FEW)
    wanted, _ = _dense(term, second, z=(zs[0], zs[1]))  # Z stays that of the first batch.
    assert term(second).item() == pytest.approx(wanted, abs=1e-9)
    term.after_step(second)
    assert term.log_z.exp().tolist() == pytest.approx(zs)


def test_the_memory_moves_half_way_and_stays_on_the_sphere() -> None:
    term, batch = _term(), drawn_batch(0, size=3, sizes=FEW)
    before = term.student_memory.clone()
    term(batch)
    term.after_step(batch)
    for row, index in zip(batch.student.embedding, batch.indices.tolist(), strict=True):
        middle = before[index] / 2 + _unit(term.student, row) / 2
        assert torch.allclose(term.student_memory[index], middle / middle.norm())
    untouched = [k for k in range(9) if k not in batch.indices.tolist()]
    assert torch.equal(term.student_memory[untouched], before[untouched])


def test_drawn_negatives_estimate_the_dense_loss() -> None:
    term, batch = _term(replace(DENSE, negatives=8)), drawn_batch(2, size=5, sizes=FEW)
    term(batch)
    term.after_step(batch)
    z = (float(term.log_z[0].exp()), float(term.log_z[1].exp()))
    wanted, _ = _dense(term, batch, z=z)
    with torch.no_grad():
        losses = torch.stack([term(batch) for _ in range(400)])
    assert losses.std() > 0
    assert abs(float(losses.mean()) - wanted) < 5 * float(losses.std()) / 20


def test_gradients_reach_both_projections_and_the_student_only() -> None:
    term, batch = _term(), with_teacher_gradients(drawn_batch(0, size=4, sizes=FEW))
    term(batch).backward()
    assert batch.teacher.embedding.grad is None and batch.student.embedding.grad is not None
    assert all(one.grad is not None for one in term.parameters())


def test_equal_similarities_cost_the_floor() -> None:
    term, batch = _term(), drawn_batch(0, size=4, sizes=FEW)
    for memory in (term.teacher_memory, term.student_memory):
        memory.copy_(memory[:1].expand_as(memory))
    for layer in (term.teacher, term.student):
        torch.nn.init.zeros_(layer.weight)
    assert term(batch).item() == pytest.approx(term.floor)


def test_numbers_beyond_the_training_set_are_refused() -> None:
    batch = drawn_batch(0, size=3, sizes=FEW)
    with pytest.raises(BadInput, match="9 of the training set"):
        _term()(replace(batch, indices=torch.tensor([0, 1, 9])))
