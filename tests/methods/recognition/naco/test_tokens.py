"""The token layer: what it subtracts, what it hides, and that nothing of what is masked gets through."""

from __future__ import annotations

import math

import pytest
import torch
from stillhouse.methods.recognition.naco.settings import Form
from stillhouse.methods.recognition.naco.spatial import draw_mask
from stillhouse.methods.recognition.naco.tokens import (
    TokenLayer,
    differences,
    place_and_time_code,
    sine_code,
    visible_mean,
)


def layer(seed: int = 0, cells: tuple[int, int] = (1, 1), **options: object) -> TokenLayer:
    torch.manual_seed(seed)
    return TokenLayer(Form(width=8, **options), 5, 6, cells).eval()  # type: ignore[arg-type]


def features(clips: int = 2, cells: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(clips, cells, 6, 5, generator=torch.Generator().manual_seed(seed))


def test_mean_and_differences_against_loops() -> None:
    given = features(cells=2)
    masked = draw_mask(2, 2, 6, 0.5, torch.Generator().manual_seed(3))
    mean, steps = visible_mean(given, masked), differences(given, masked)
    for clip in range(2):
        for cell in range(2):
            visible = [t for t in range(6) if not masked[clip, cell, t]]
            wanted = torch.stack([given[clip, cell, t] for t in visible]).mean(0)
            assert torch.allclose(mean[clip, cell, 0], wanted, atol=1e-6)
            for t in range(6):
                whole = t > 0 and not masked[clip, cell, t] and not masked[clip, cell, t - 1]
                step = given[clip, cell, t] - given[clip, cell, t - 1] if whole else torch.zeros(5)
                assert torch.equal(steps[clip, cell, t], step)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("diff", [True, False])
def test_nothing_of_a_masked_frame_reaches_any_token(center: bool, diff: bool) -> None:
    """P2, P5: not through the mean, not through the difference from the frame before or after."""
    tokens, given = layer(token_center=center, token_diff=diff), features()
    masked = torch.zeros(2, 1, 6, dtype=torch.bool)
    masked[:, :, [1, 4]] = True
    before = tokens(given, masked)
    changed = given.clone()
    changed[:, :, [1, 4]] = torch.tensor([1e4, -1e6, float("inf"), 3.0, 0.0])
    assert torch.equal(tokens(changed, masked), before)
    assert not torch.equal(tokens(given), tokens(given + torch.eye(6, 5)[None, None]))


def test_masked_tokens_differ_by_their_time_alone() -> None:
    tokens, given = layer(), features()
    masked = draw_mask(2, 1, 6, 0.5, torch.Generator().manual_seed(0))
    hidden = (tokens(given, masked) - tokens.code)[masked]
    assert torch.allclose(hidden, tokens.masked.expand_as(hidden), atol=1e-6)


def test_centred_tokens_do_not_see_what_stands_still() -> None:
    """The same offset in every frame changes nothing; without centring it does."""
    given = features()
    offset = 3 * torch.randn(2, 1, 1, 5, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(layer()(given + offset), layer()(given), atol=1e-5)
    plain = layer(token_center=False)
    assert not torch.allclose(plain(given + offset), plain(given), atol=1e-2)


def test_scales_move_slowly_are_fixed_or_are_not_used() -> None:
    given = features(clips=50)
    rows = given.flatten(0, -2)
    moving = layer()
    moving.follow(given)
    assert torch.allclose(moving.mean, rows.mean(0), atol=1e-6)
    assert torch.allclose(moving.deviation, rows.std(0, correction=0), atol=1e-6)
    moving.follow(given + 100)
    assert torch.allclose(moving.mean, rows.mean(0) + 1.0, atol=1e-4)
    fixed = layer(token_scale="fixed")
    fixed.follow(given)
    fixed.follow(given + 100)
    assert torch.allclose(fixed.mean, rows.mean(0), atol=1e-6)
    none = layer(token_scale="none")
    none.follow(given)
    none.fix(rows)
    assert none.mean.abs().max() == 0 and (none.deviation == 1).all()


def test_the_scale_does_not_depend_on_the_batch() -> None:
    """P6: statistics of the batch would hide a small forgery behind who is in it."""
    tokens, given = layer(), features(clips=8)
    tokens.follow(given)
    assert torch.allclose(tokens(given)[:1], tokens(given[:1]), atol=1e-6)


def test_codes_are_sines_of_unit_amplitude() -> None:
    code = sine_code(10, 6)
    for position in range(10):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert code[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert code[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_the_code_of_a_grid_tells_every_cell_and_frame_apart() -> None:
    code = place_and_time_code(6, (3, 4), 8)
    assert code.shape == (12, 6, 8)
    flat = code.flatten(0, 1)
    apart = torch.cdist(flat, flat) + 10 * torch.eye(len(flat))
    assert apart.min() > 0.05
    assert torch.equal(place_and_time_code(6, (1, 1), 8)[0], sine_code(6, 8))


def test_learned_and_missing_codes() -> None:
    learned = layer(code="learned")
    assert isinstance(learned.code, torch.nn.Parameter) and learned.code.abs().max() < 0.2
    assert layer(code="none").code is None
    assert "code" not in layer().state_dict()
