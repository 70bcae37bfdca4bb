"""Each term against its formula, written out in loops of Python numbers, and that the order of a batch does not matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.baselines.attention import attention, attention_map
from stillhouse.methods.recognition.baselines.correlation import correlation, correlations
from stillhouse.methods.recognition.baselines.fitnet import FitNet
from stillhouse.methods.recognition.baselines.kd import kd, softened_divergence
from stillhouse.methods.recognition.baselines.nst import nst, pattern_discrepancy
from stillhouse.methods.recognition.baselines.pkt import pkt
from stillhouse.methods.recognition.baselines.rkd import angle_difference, distance_difference, rkd
from stillhouse.methods.recognition.baselines.sp import similarity_difference, sp
from stillhouse.methods.recognition.baselines.vid import VariationalInformation
from stillhouse.methods.recognition.seen import Batch
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES, drawn_batch, permuted, with_teacher_gradients
from torch import Tensor

Rows = np.ndarray
seeds = pytest.mark.parametrize("seed", [0, 1])


def _embeddings(batch: Batch) -> tuple[Rows, Rows]:
    return batch.teacher.embedding.numpy(), batch.student.embedding.detach().numpy()


def _huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def _softmax(logits: Rows) -> Rows:
    shares = np.exp(logits)
    return shares / shares.sum()


@seeds
def test_kd(seed: int) -> None:
    batch = drawn_batch(seed)
    rows = zip(batch.teacher_logits.numpy(), batch.student_logits.detach().numpy(), strict=True)
    wanted = [sum(p * math.log(p / q) for p, q in zip(_softmax(t / 3), _softmax(s / 3), strict=True)) for t, s in rows]
    assert kd(batch, temperature=3).item() == pytest.approx(9 * np.mean(wanted), abs=1e-9)


def test_kd_and_the_cross_entropy_of_equation_12_have_one_gradient() -> None:
    batch = drawn_batch(0)
    kd(batch, temperature=4).backward()
    found = batch.student_logits.grad
    student = batch.student_logits.detach().requires_grad_()
    target = (batch.teacher_logits / 4).softmax(1)
    (-16 * (target * (student / 4).log_softmax(1)).sum(1).mean()).backward()
    assert found is not None and student.grad is not None and torch.allclose(found, student.grad)


def test_kd_of_certain_answers_is_finite() -> None:
    sure = torch.tensor([[2000.0, 0.0]], requires_grad=True)
    loss = softened_divergence(torch.tensor([[0.0, 2000.0]]), sure, 1.0)
    loss.backward()
    assert loss == 2000 and sure.grad is not None and torch.isfinite(sure.grad).all()


@seeds
def test_rkd_distances(seed: int) -> None:
    batch = drawn_batch(seed, size=5)

    def relative(rows: Rows) -> Rows:
        distances = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        return distances / np.mean([distances[i, j] for i in range(5) for j in range(5) if i != j])

    teacher, student = map(relative, _embeddings(batch))
    wanted = np.mean([_huber(student[i, j] - teacher[i, j]) for i in range(5) for j in range(5)])
    found = distance_difference(batch.teacher.embedding, batch.student.embedding)
    assert found.item() == pytest.approx(wanted, abs=1e-9)


@seeds
def test_rkd_angles(seed: int) -> None:
    batch = drawn_batch(seed, size=4)

    def cosine(rows: Rows, i: int, j: int, k: int) -> float:
        if j in (i, k):
            return 0.0
        a, b = rows[i] - rows[j], rows[k] - rows[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    teacher, student = _embeddings(batch)
    corners = [(i, j, k) for i in range(4) for j in range(4) for k in range(4)]
    wanted = np.mean([_huber(cosine(student, *one) - cosine(teacher, *one)) for one in corners])
    assert angle_difference(batch.teacher.embedding, batch.student.embedding).item() == pytest.approx(wanted, abs=1e-9)
    both = 2 * distance_difference(batch.teacher.embedding, batch.student.embedding) + 3 * wanted
    assert rkd(batch, distance=2, angle=3).item() == pytest.approx(both.item())


def test_rkd_asks_for_neither_scale_nor_place_nor_turn() -> None:
    batch = drawn_batch(0)
    teacher = batch.teacher.embedding
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    moved = 7 * teacher @ turn + 3
    assert distance_difference(teacher, moved).item() == pytest.approx(0, abs=1e-12)
    assert angle_difference(teacher, moved).item() == pytest.approx(0, abs=1e-12)


def test_rkd_of_equal_pictures_has_a_finite_gradient() -> None:
    student = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 2, dtype=torch.float64)
    (distance_difference(teacher, student) + angle_difference(teacher, student)).backward()
    assert student.grad is not None and torch.isfinite(student.grad).all()
    with pytest.raises(BadInput, match="one picture"):
        distance_difference(teacher[:1], student[:1])


@seeds
def test_sp(seed: int) -> None:
    batch = drawn_batch(seed, size=5)

    def similarities(rows: Rows) -> Rows:
        products = np.array([[np.sum(a * b) for b in rows] for a in rows])
        return np.array([row / math.sqrt(sum(x * x for x in row)) for row in products])

    teacher, student = map(similarities, _embeddings(batch))
    wanted = sum((teacher[i, j] - student[i, j]) ** 2 for i in range(5) for j in range(5)) / 25
    assert sp(batch, on="embedding").item() == pytest.approx(wanted, abs=1e-9)
    maps = [similarities(one.detach().numpy()) for one in (batch.teacher.maps[-1], batch.student.maps[-1])]
    assert sp(batch).item() == pytest.approx(((maps[0] - maps[1]) ** 2).sum() / 25, abs=1e-9)


@seeds
def test_pkt(seed: int) -> None:
    batch = drawn_batch(seed, size=5)

    def neighbours(rows: Rows) -> Rows:
        similar = np.array([[(a @ b / np.linalg.norm(a) / np.linalg.norm(b) + 1) / 2 for b in rows] for a in rows])
        return np.array([row / sum(row) for row in similar])

    teacher, student = map(neighbours, _embeddings(batch))
    cells = [(i, j) for i in range(5) for j in range(5)]
    wanted = np.mean([teacher[c] * math.log((teacher[c] + 1e-7) / (student[c] + 1e-7)) for c in cells])
    assert pkt(batch).item() == pytest.approx(wanted, abs=1e-9)


@seeds
def test_attention(seed: int) -> None:
    batch = drawn_batch(seed, size=3)

    def attended(maps: Rows) -> Rows:
        found = np.array([np.mean([channel**2 for channel in one], axis=0).ravel() for one in maps])
        return np.array([one / math.sqrt(sum(one**2)) for one in found])

    def halved(maps: Rows) -> Rows:
        n, c, h, w = maps.shape
        return np.array(
            [[[[maps[b, k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(w // 2)] for i in range(h // 2)]
              for k in range(c)] for b in range(n)]
        )  # fmt: skip

    wanted = 0.0
    for teacher, student in zip(batch.teacher.maps, batch.student.maps, strict=True):
        a, b = attended(halved(teacher.numpy())), attended(student.detach().numpy())
        wanted += float(((a - b) ** 2).mean())
    assert attention(batch).item() == pytest.approx(wanted, abs=1e-9)
    assert torch.allclose(attention_map(batch.teacher.maps[0]).norm(dim=1), torch.ones(3, dtype=torch.float64))


@seeds
def test_fitnet(seed: int) -> None:
    torch.manual_seed(seed)
    term, batch = FitNet(SIZES).double(), drawn_batch(seed, size=2)
    weight, bias = term.regressor.weight[:, :, 0, 0], term.regressor.bias
    assert bias is not None
    student, teacher = batch.student.maps[1], batch.teacher.maps[1]
    errors = [
        float((weight @ student[b, :, i, j] + bias - teacher[b, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))).square().mean())
        for b in range(2) for i in range(2) for j in range(2)
    ]  # fmt: skip
    assert term(batch).item() == pytest.approx(np.mean(errors), abs=1e-9)
    assert FitNet(SIZES, hint=0).regressor.weight.shape == (3, 2, 1, 1)
    with pytest.raises(BadInput, match="hint"):
        FitNet(SIZES, hint=2)


@seeds
def test_correlation(seed: int) -> None:
    batch = drawn_batch(seed, size=4)

    def kernel(a: Rows, b: Rows) -> float:
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        return float(math.exp(-0.8) * (1 + 0.8 * cosine + 0.8**2 / 2 * cosine**2))

    teacher, student = _embeddings(batch)
    wanted = np.mean(
        [(kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2 for i in range(4) for j in range(4)]
    )
    assert correlation(batch).item() == pytest.approx(wanted, abs=1e-9)


def test_the_series_of_correlation_goes_to_the_gaussian_kernel() -> None:
    rows = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
    gaussian = (-0.4 * torch.cdist(rows, rows).square()).exp()
    assert torch.allclose(correlations(rows, order=12), gaussian, atol=1e-9)


@seeds
def test_nst(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(2, c, 2, 2, generator=generator, dtype=torch.float64) for c in (3, 4))

    def kernels(a: Tensor, b: Tensor) -> float:
        x, y = (one.flatten(2) / one.flatten(2).norm(dim=2, keepdim=True) for one in (a, b))
        values = [float(p @ q) ** 2 for one, two in zip(x, y, strict=True) for p in one for q in two]
        return float(np.mean(values))

    wanted = kernels(teacher, teacher) + kernels(student, student) - 2 * kernels(teacher, student)
    assert pattern_discrepancy(teacher, student).item() == pytest.approx(wanted, abs=1e-9)
    assert pattern_discrepancy(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_vid_is_a_gaussian_likelihood_with_the_variance_it_starts_from() -> None:
    torch.manual_seed(0)
    term, batch = VariationalInformation(SIZES, variance=5.0).double(), drawn_batch(0, size=2)
    wanted = 0.0
    for number, regressor in enumerate(term.regressors):
        mean = regressor(batch.student.maps[number])
        teacher = torch.nn.functional.avg_pool2d(batch.teacher.maps[number], 2)
        log_likelihood = torch.distributions.Normal(mean, math.sqrt(5.0)).log_prob(teacher).mean()
        wanted -= float(log_likelihood) + math.log(2 * math.pi) / 2
    assert term(batch).item() == pytest.approx(wanted, abs=1e-5)


TERMS: dict[str, Callable[[], Callable[[Batch], Tensor]]] = {
    "kd": lambda: kd,
    "rkd": lambda: rkd,
    "rkd_normalised": lambda: partial(rkd, normalise=True),
    "sp": lambda: sp,
    "sp_embedding": lambda: partial(sp, on="embedding"),
    "pkt": lambda: pkt,
    "at": lambda: attention,
    "cc": lambda: correlation,
    "nst": lambda: nst,
    "fitnet": lambda: FitNet(SIZES).double(),
    "vid": lambda: VariationalInformation(SIZES).double(),
}


@pytest.mark.parametrize("name", TERMS)
def test_the_order_of_a_batch_does_not_matter_and_the_teacher_gets_no_gradient(name: str) -> None:
    torch.manual_seed(0)
    term = TERMS[name]()

    @given(seed=st.integers(0, 10**6), size=st.integers(2, 6))
    @settings(max_examples=5)
    def check(seed: int, size: int) -> None:
        batch = with_teacher_gradients(drawn_batch(seed, size=size))
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        assert term(permuted(batch, order)).item() == pytest.approx(term(batch).item(), rel=1e-9, abs=1e-12)
        term(batch).backward()
        teacher = [batch.teacher.embedding, *batch.teacher.maps, batch.teacher_logits]
        student = [batch.student.embedding, *batch.student.maps, batch.student_logits]
        assert all(one.grad is None for one in teacher)
        assert any(one.grad is not None for one in student)
        assert all(torch.isfinite(one.grad).all() for one in student if one.grad is not None)

    check()


@pytest.mark.parametrize("name", ["rkd", "sp_embedding", "pkt", "cc"])
def test_a_student_that_agrees_costs_nothing(name: str) -> None:
    batch = drawn_batch(0)
    agreeing = type(batch)(**{**vars(batch), "student": batch.teacher})
    assert TERMS[name]()(agreeing).item() == pytest.approx(0, abs=1e-12)
    assert TERMS[name]()(batch).item() > 1e-6


@pytest.mark.parametrize("name", ["rkd", "sp_embedding", "pkt", "cc"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    batch, term = drawn_batch(1, size=4), TERMS[name]()
    embedding = batch.student.embedding.detach().requires_grad_()

    def of(one: Tensor) -> Tensor:
        return term(type(batch)(**{**vars(batch), "student": type(batch.student)(one)}))

    assert torch.autograd.gradcheck(of, embedding)


def test_similarity_ignores_how_long_features_are() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64)
    assert similarity_difference(rows, torch.cat([rows, rows], 1)).item() == pytest.approx(0, abs=1e-12)
