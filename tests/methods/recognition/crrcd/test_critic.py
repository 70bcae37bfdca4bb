"""The critic in logit form against equations 10 and 11 as they are written, and what knowing nothing costs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.crrcd.critic import KINDS, NORMS, Critic, Normaliser, log_mean_exp
from stillhouse.platform.errors import BadInput

COSINES = st.lists(st.floats(-1, 1), min_size=1, max_size=6)


def _plainly(critic: Critic, positive: float, negatives: list[float], ratio: float) -> float:
    """-log h(positive) - n E[log(1 - h)], h = e / (e + ratio) and e = exp(s / tau)."""
    e = [math.exp(s / critic.temperature) for s in negatives]
    good = math.exp(positive / critic.temperature)
    if critic.kind == "infonce":
        return -math.log(good / (good + critic.negatives * sum(e) / len(e)))
    rejected = sum(math.log(ratio / (one + ratio)) for one in e) / len(e)
    return -math.log(good / (good + ratio)) - critic.negatives * rejected


@given(
    positive=st.floats(-1, 1),
    negatives=COSINES,
    n=st.integers(1, 600),
    m=st.integers(1, 10**6),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=60)
def test_the_loss_is_equation_11(positive: float, negatives: list[float], n: int, m: int, kind: str) -> None:
    critic = Critic(n, temperature=0.2, kind=kind, norm="literal")
    ratio = n / m if kind == "nce" else 1.0
    offset = critic.fixed_offset(m)
    assert offset is not None
    row = torch.tensor([negatives], dtype=torch.float64)
    found = critic.loss(
        torch.tensor([positive], dtype=torch.float64), row, torch.ones_like(row, dtype=torch.bool), offset
    )
    assert float(found) == pytest.approx(_plainly(critic, positive, negatives, ratio), rel=1e-9, abs=1e-9)


def test_the_literal_offset_takes_strangers_for_friends() -> None:
    # The specification's figures: 494,414 records, 512 negatives, a cosine of 0.
    critic = Critic(512, kind="nce", norm="literal")
    offset = critic.fixed_offset(494_414)
    assert offset is not None
    assert 1 / (1 + math.exp(offset)) == pytest.approx(0.999, abs=1e-4)
    zero = torch.zeros(1, 512)
    loss = critic.loss(torch.zeros(1), zero, zero == 0, offset)
    assert 3400 < float(loss) < 3600


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_loss_and_gradient_are_finite_at_the_ends(kind: str, norm: str) -> None:
    critic = Critic(512, temperature=0.01, kind=kind, norm=norm)
    positive = torch.tensor([1.0, -1.0], requires_grad=True)
    negative = torch.tensor([[1.0, -1.0], [1.0, 1.0]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False]])
    fixed = critic.fixed_offset(500_000)
    offset = Normaliser(critic)(negative, valid) + math.log(512) if fixed is None else fixed
    loss = critic.loss(positive, negative, valid, offset)
    loss.backward()
    assert positive.grad is not None and negative.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(positive.grad).all() and torch.isfinite(negative.grad).all()
    assert negative.grad[1, 1] == 0  # Not valid, not looked at.


def test_entries_that_do_not_count_change_nothing() -> None:
    critic = Critic(10)
    good, row = torch.tensor([0.3]), torch.tensor([[0.1, -0.2]])
    both = torch.tensor([[True, True]])
    wider, some = torch.tensor([[0.1, 0.9, -0.2]]), torch.tensor([[True, False, True]])
    assert critic.loss(good, row, both, 2.0) == pytest.approx(float(critic.loss(good, wider, some, 2.0)))
    assert log_mean_exp(row, both, (0, 1)) == pytest.approx(float(log_mean_exp(wider, some, (0, 1))))


@given(cosine=st.floats(-1, 1), n=st.integers(1, 600), tau=st.floats(0.05, 0.3))
@settings(max_examples=30)
def test_equal_cosines_cost_the_floor(cosine: float, n: int, tau: float) -> None:
    row = torch.full((3, 5), cosine, dtype=torch.float64)
    for kind in ("nce", "infonce"):
        critic = Critic(n, temperature=tau, kind=kind)
        offset = math.log(n) + Normaliser(critic).double()(row, row == row)
        floor = critic.uninformed(records=1000)
        assert float(critic.loss(row[:, 0], row, row == row, offset)) == pytest.approx(floor)
    assert critic.uninformed(1000) == pytest.approx(math.log(1 + n))
    assert Critic(n, tau).uninformed(1000) == pytest.approx(math.log(1 + n) + n * math.log(1 + 1 / n))


@pytest.mark.parametrize(
    ("kind", "norm", "tau"), [("sigmoid_cos", "z_ema", 0.1), ("sigmoid_cos", "z_ema", 0.5), ("nce", "literal", 0.3)]
)
def test_the_floor_is_the_least_over_equal_cosines(kind: str, norm: str, tau: float) -> None:
    critic = Critic(64, tau, kind, norm)
    offset = critic.fixed_offset(5000)
    assert offset is not None
    grid = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    losses = [float(critic.loss(s[None], s[None, None], torch.ones(1, 1, dtype=torch.bool), offset)) for s in grid]
    assert critic.uninformed(5000) == pytest.approx(min(losses), rel=1e-5)


def test_the_running_normaliser_moves_and_the_first_one_stays() -> None:
    rows = [torch.full((2, 3), value, dtype=torch.float64) for value in (0.5, -0.5, -0.5)]
    valid = torch.ones(2, 3, dtype=torch.bool)
    running, first = (
        Normaliser(Critic(temperature=0.1, norm=norm, momentum=0.9)).double() for norm in ("z_ema", "z_first")
    )
    found: dict[str, list[float]] = {"running": [], "first": []}
    for row in rows:
        for name, one in (("running", running), ("first", first)):
            log_z = one(row, valid)
            found[name].append(float(log_z))
            one.commit(log_z)
    assert found["first"] == pytest.approx([5.0, 5.0, 5.0])
    assert found["running"] == pytest.approx([5.0, 0.9 * 5 - 0.1 * 5, 0.9 * (0.9 * 5 - 0.1 * 5) - 0.1 * 5])


def test_a_forward_pass_alone_keeps_nothing() -> None:
    one = Normaliser(Critic())
    before = {name: value.clone() for name, value in one.state_dict().items()}
    one(torch.rand(2, 3), torch.ones(2, 3, dtype=torch.bool))
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"kind": "nse"}, "critic"),
        ({"norm": "z"}, "critic_norm"),
        ({"temperature": 0.0}, "temperature"),
        ({"negatives": 0}, "negatives"),
    ],
)
def test_what_is_no_critic_is_refused(settings_: dict[str, object], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        Critic(**settings_)  # type: ignore[arg-type]
