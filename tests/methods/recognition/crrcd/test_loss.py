"""L_rcd against a double loop over the paper's equations, and how it behaves as a term."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.crrcd import loss as module
from stillhouse.methods.recognition.crrcd.loss import Relation, RelationalContrast, pairs
from stillhouse.methods.recognition.crrcd.queue import Held
from stillhouse.methods.recognition.crrcd.relation import ProjectedRelation
from stillhouse.methods.recognition.seen import Batch, Seen, Sizes
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES, drawn_batch, with_teacher_gradients
from torch import Tensor

SMALL = Relation(symmetric=True, dimension=5, hidden=6, negatives=4, queue=12, temperature=0.3)
CPU = torch.device("cpu")


def _term(settings_: Relation = SMALL, sizes: Sizes = SIZES, *, seed: int = 0, filled: int = 3) -> RelationalContrast:
    """A term in double precision that has seen some batches."""
    torch.manual_seed(seed)
    term = RelationalContrast(sizes, settings_).double()
    for number in range(filled):
        term.after_step(drawn_batch(1000 * seed + number, sizes=sizes))
    return term


def _root_d(vector: Tensor) -> Tensor:
    return vector / vector.norm() * math.sqrt(len(vector))


def _unit(relation: ProjectedRelation, anchor: Tensor, other: Tensor) -> Tensor:
    inner = relation.relation
    v = inner.out.weight @ torch.clamp(inner.anchor.weight @ anchor - inner.other.weight @ other, min=0)
    u = relation.projection.weight @ v
    return u / u.norm() if u.any() else u  # No unit active: no direction, and a cosine of 0 with everything.


def _looped(
    term: RelationalContrast, batch: Batch, past: Held, drawn: tuple[Tensor, Tensor], negatives: list[list[int]]
) -> float:
    """Equations 1, 10 and 11, pair by pair and negative by negative, Z from this batch."""
    settings_, n = term.settings, term.settings.negatives
    teacher = [_root_d(one) for one in batch.teacher.embedding]
    student = [_root_d(one) for one in batch.student.embedding.detach()]
    total = 0.0
    for direction in range(2 if settings_.symmetric else 1):
        positive, negative = [], []
        for i, j, others in zip(drawn[0].tolist(), drawn[1].tolist(), negatives, strict=True):
            v_t = _unit(term.teacher_relation, teacher[i], teacher[j])
            v_ts = _unit(term.cross_relation, teacher[i], student[j])
            positive.append(math.exp((v_t @ v_ts).item() / settings_.temperature))
            if direction == 0:
                against = [(_unit(term.teacher_relation, teacher[i], past.teacher[k]) @ v_ts).item() for k in others]
            else:
                against = [(_unit(term.cross_relation, teacher[i], past.student[k]) @ v_t).item() for k in others]
            negative.append([math.exp(s / settings_.temperature) for s in against])
        flat = [e for row in negative for e in row]
        z = sum(flat) / len(flat)
        for good, row in zip(positive, negative, strict=True):
            total -= math.log(good / (good + n * z)) / len(positive)
            total -= n * sum(math.log(n * z / (e + n * z)) for e in row) / len(row) / len(positive)
    return total


@pytest.mark.parametrize(
    "settings_",
    [
        SMALL,
        replace(SMALL, symmetric=False),
        replace(SMALL, anchors_per_sample=3, supervised=False),
        replace(SMALL, negatives=12),  # More than are allowed: their mean stands for n of them.
    ],
)
def test_the_loss_is_a_double_loop_over_the_equations(settings_: Relation, monkeypatch: pytest.MonkeyPatch) -> None:
    term, batch = _term(settings_), drawn_batch(77)
    record: list[tuple[Tensor, Tensor]] = []

    def recording(allowed: Tensor, count: int) -> tuple[Tensor, Tensor]:
        record.append(choose(allowed, count))
        return record[-1]

    choose = module.choose
    monkeypatch.setattr(module, "choose", recording)
    torch.manual_seed(5)
    found = term(batch).item()
    torch.manual_seed(5)
    drawn = pairs(7, settings_.anchors_per_sample, CPU)
    past = term.queue.held()
    negatives = [
        [k for k, yes in zip(row, counts, strict=True) if yes]
        for row, counts in zip(record[0][0].tolist(), record[0][1].tolist(), strict=True)
    ]
    if settings_.supervised:
        assert all(past.labels[k] != batch.labels[j] for j, row in zip(drawn[1], negatives, strict=True) for k in row)
    assert found == pytest.approx(_looped(term, batch, past, drawn, negatives), abs=1e-6)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_a_perfect_student_costs_less_than_a_permuted_one(seed: int) -> None:
    sizes = replace(SIZES, student=6)
    term = _term(replace(SMALL, temperature=0.1), sizes, seed=seed)
    term.cross_relation.load_state_dict(term.teacher_relation.state_dict())
    drawn = drawn_batch(seed + 1, sizes=sizes)
    perfect = replace(drawn, student=drawn.teacher)
    swapped = replace(drawn, student=Seen(drawn.teacher.embedding.roll(1, 0)))
    torch.manual_seed(1)
    best = term(perfect)
    torch.manual_seed(1)
    assert best < term(swapped)


def test_gradients_reach_the_student_and_the_term_and_never_the_teacher() -> None:
    for settings_ in (SMALL, replace(SMALL, symmetric=False), replace(SMALL, queue=0)):
        term, batch = _term(settings_), with_teacher_gradients(drawn_batch(3))
        term(batch).backward()
        assert batch.teacher.embedding.grad is None
        assert batch.student.embedding.grad is not None and batch.student.embedding.grad.abs().sum() > 0
        assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in term.parameters())


def test_the_gradient_is_that_of_finite_differences() -> None:
    term, batch = _term(replace(SMALL, critic_norm="literal")), drawn_batch(3, size=4)

    def of(embedding: Tensor) -> Tensor:
        torch.manual_seed(2)
        value: Tensor = term(replace(batch, student=Seen(embedding)))
        return value

    assert torch.autograd.gradcheck(of, batch.student.embedding.detach().requires_grad_())


def test_it_waits_for_the_queue_with_all_weights_in_the_graph() -> None:
    term = _term(filled=0)
    batch = drawn_batch(0, size=3)
    loss = term(batch)
    loss.backward()
    assert loss == 0 and all(one.grad is not None for one in term.parameters())
    term.after_step(batch)
    assert term(batch) == 0 and len(term.queue) == 3
    term.after_step(drawn_batch(1, size=3))
    assert term(batch) > 0


def test_pictures_without_a_negative_are_left_out_and_counted() -> None:
    term = _term(filled=0)
    only = drawn_batch(0, size=8)
    term.after_step(replace(only, labels=torch.full((8,), 2)))
    batch = drawn_batch(1, size=4)
    term(replace(batch, labels=torch.tensor([2, 2, 0, 1])))
    assert term.measures["without_negatives"] == 0.5
    assert term(replace(batch, labels=torch.full((4,), 2))) == 0
    assert term.measures["without_negatives"] == 1


def test_in_batch_negatives_need_no_queue() -> None:
    term = _term(replace(SMALL, queue=0), filled=0)
    assert term(drawn_batch(0)) > 0
    before = copy.deepcopy(term.queue.state_dict())
    term.after_step(drawn_batch(0))
    assert all(torch.equal(value, before[name]) for name, value in term.queue.state_dict().items())


@pytest.mark.parametrize("critic", ["nce", "sigmoid_cos", "infonce"])
@pytest.mark.parametrize("norm", ["z_ema", "z_first", "literal"])
def test_every_critic_is_finite_where_cosines_are_at_their_ends(critic: str, norm: str) -> None:
    sizes = replace(SIZES, student=6)
    term = _term(replace(SMALL, critic=critic, critic_norm=norm, temperature=0.01), sizes)
    term.cross_relation.load_state_dict(term.teacher_relation.state_dict())
    drawn = drawn_batch(5, sizes=sizes)
    for sign in (1, -1):
        student = (sign * drawn.teacher.embedding).requires_grad_()
        loss = term(replace(drawn, student=Seen(student)))
        loss.backward()
        assert torch.isfinite(loss) and student.grad is not None and torch.isfinite(student.grad).all()


def test_the_normalisers_of_a_term_move_or_stay() -> None:
    for norm, moves in (("z_ema", True), ("z_first", False)):
        term = _term(replace(SMALL, critic_norm=norm))
        kept = []
        for number in range(3):
            batch = drawn_batch(number)
            term(batch)
            term.after_step(batch)
            kept.append([float(one.log_z) for one in term.normalisers])
        assert all((a != b) == moves for a, b in zip(kept[0], kept[2], strict=True))


def test_a_term_goes_on_from_its_state() -> None:
    first, second = _term(), _term(seed=9, filled=0)
    first(drawn_batch(1))
    first.after_step(drawn_batch(1))
    second.load_state_dict(first.state_dict())
    losses = []
    for term in (first, second):
        torch.manual_seed(0)
        losses.append(term(drawn_batch(2)).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("directions", [1, 2])
def test_it_learns_to_fall_below_its_floor(directions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(12, 16, generator=generator) * 2
    labels = torch.arange(96) % 12
    teacher = people[labels] + torch.randn(96, 16, generator=generator)
    low = teacher[:, :6]  # What is left in low resolution.
    torch.manual_seed(0)
    student = torch.nn.Linear(6, 8)
    sizes = Sizes(16, 8, (), (), classes=12, records=96)
    relation = Relation(dimension=16, hidden=32, negatives=32, queue=128, symmetric=directions == 2)
    term = RelationalContrast(sizes, relation)
    optimizer = torch.optim.Adam([*student.parameters(), *term.parameters()], lr=3e-3)
    below = []
    for _ in range(100):
        where = torch.randint(96, (32,), generator=generator)
        empty = torch.zeros(32, 1)
        batch = Batch(labels[where], where, Seen(teacher[where]), Seen(student(low[where])), empty, empty, 0.5)
        loss = term(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        term.after_step(batch)
        below.append(term.measures["below_floor"].item())
    assert term.floor == pytest.approx(directions * (math.log(33) + 32 * math.log(33 / 32)))
    assert sum(below[-20:]) / 20 > directions / 2


@given(size=st.integers(2, 12), count=st.integers(1, 14), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_pairs_are_of_two_pictures_and_no_pair_comes_twice(size: int, count: int, seed: int) -> None:
    torch.manual_seed(seed)
    anchors, others = pairs(size, count, CPU)
    each = min(count, size - 1)
    found = list(zip(anchors.tolist(), others.tolist(), strict=True))
    assert len(set(found)) == len(found) == size * each and all(i != j for i, j in found)
    assert torch.bincount(others).tolist() == [each] * size


def test_the_schedule_rises_stays_and_ends() -> None:
    relation = Relation(warm_up=0.2, rel_off_last_frac=0.1)
    assert [relation.schedule(at) for at in (0.0, 0.1, 0.2, 0.5, 0.89, 0.9, 1.0)] == [0, 0.5, 1, 1, 1, 0, 0]
    assert Relation(warm_up=0).schedule(0.0) == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="negatives"):
        Relation(negatives=512, queue=256)
    with pytest.raises(BadInput, match="warm_up"):
        Relation(warm_up=0.8, rel_off_last_frac=0.3)
    with pytest.raises(BadInput, match="critic"):
        Relation(critic="cosine")
    with pytest.raises(BadInput, match="identities"):
        RelationalContrast(replace(SIZES, classes=1), SMALL)
    with pytest.raises(BadInput, match="one picture"):
        _term()(drawn_batch(0, size=1))
