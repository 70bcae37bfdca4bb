from __future__ import annotations

import math
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from stillhouse.methods.condensation import augment
from stillhouse.methods.condensation.augment import OPERATIONS, Augmentation, color, crop, cutout, flip, warp
from stillhouse.platform.errors import BadInput
from torch import Tensor

ALL = "color_crop_cutout_flip_scale_rotate"
seeds = st.integers(0, 2**32)
shapes = st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(5, 13), st.integers(5, 13))
augmentations = st.builds(Augmentation, st.sampled_from([ALL, "color_crop_cutout", *OPERATIONS]), st.booleans())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=seeded(sum(shape)), dtype=dtype)


def uniform(count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=seeded(count))


@settings(max_examples=60, deadline=None)
@given(augmentations, shapes, seeds)
def test_shared_treats_all_alike_and_leaves_its_input_and_the_global_state(
    chosen: Augmentation, shape: tuple[int, ...], seed: int
) -> None:
    a = noise(*shape)
    both = torch.cat([a, a])
    before, state = both.clone(), torch.get_rng_state()
    out = chosen.shared(both, seeded(seed))
    assert out.shape == both.shape and out.is_contiguous() and out.stride() == both.stride()
    assert torch.equal(out[: len(a)], out[len(a) :])
    assert torch.equal(both, before)
    assert torch.equal(out, chosen.shared(both, seeded(seed)))
    alone = chosen.single(both, seeded(seed))
    assert alone.is_contiguous() and torch.equal(both, before)
    assert torch.equal(alone, chosen.single(both, seeded(seed)))
    assert torch.equal(torch.get_rng_state(), state)
    # The draws are those of one image.
    assert torch.equal(chosen.single(a[:1], seeded(seed)), chosen.shared(a[:1], seeded(seed)))
    double = chosen.shared(both.double(), seeded(seed))
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_redrawn_for_every_call_and_in_single_for_every_image(name: str) -> None:
    chosen, generator, image = Augmentation(name), seeded(0), noise(1, 3, 28, 28)
    calls = [chosen.shared(image, generator) for _ in range(12)]
    # The flip has two outcomes.
    assert len({c.sum((0, 1, 2)).numpy().tobytes() for c in calls}) >= (2 if name == "flip" else 8)
    alone = chosen.single(image.expand(12, -1, -1, -1), generator)
    assert len({a.sum((0, 1)).numpy().tobytes() for a in alone}) >= (2 if name == "flip" else 8)


@pytest.mark.parametrize("strategy", ["", "none"])
def test_nothing_to_do_is_the_identity(strategy: str) -> None:
    images = noise(3, 1, 6, 6)
    for one in (False, True):
        chosen = Augmentation(strategy, one)
        assert chosen.plan(seeded(0)) == ()
        assert torch.equal(chosen.shared(images, seeded(0)), images)
        assert torch.equal(chosen.single(images, seeded(0)), images)
    strided = noise(3, 2, 6, 12)[..., ::2]
    out = Augmentation(strategy).shared(strided, seeded(0))
    assert out.is_contiguous() and torch.equal(out, strided)


@pytest.mark.parametrize("strategy", ["none", ALL, *OPERATIONS])
def test_any_layout_and_any_device(strategy: str) -> None:
    chosen = Augmentation(strategy)
    layouts = [noise(4, 3, 9, 8).to(memory_format=torch.channels_last), noise(4, 9, 8, 3).permute(0, 3, 2, 1)]
    for images in [*layouts, noise(1, 3, 8, 8).expand(4, -1, -1, -1)]:
        for seed in range(4):
            for way in (chosen.shared, chosen.single):
                out = way(images, seeded(seed))
                assert out.is_contiguous() or out.is_contiguous(memory_format=torch.channels_last)
                torch.testing.assert_close(out, way(images.contiguous(), seeded(seed)), rtol=1e-5, atol=1e-6)
    # Operations that mix devices fail on "meta".
    for way in (chosen.shared, chosen.single):
        assert way(torch.empty(4, 3, 8, 8, device="meta"), seeded(0)).device.type == "meta"


def parameters(name: str, count: int) -> tuple[Any, tuple[Tensor, ...]]:
    match name:
        case "color":
            return color, (uniform(count, -0.5, 0.5), uniform(count, 0, 2), uniform(count, 0.5, 1.5))
        case "crop":
            drawn = torch.randint(-1, 2, (2, count), generator=seeded(count))
            return crop, (drawn[0], drawn[1])
        case "cutout":
            drawn = torch.randint(0, 8, (2, count), generator=seeded(count))
            return cutout, (drawn[0], drawn[1])
        case "flip":
            return flip, (torch.arange(count) % 2 == 0,)
        case _:
            return warp, (torch.eye(2) + 0.2 * torch.randn(count, 2, 2, generator=seeded(count)),)


KINDS = ("color", "crop", "cutout", "flip", "warp")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_parameters_of_their_own_do_to_each_image_what_shared_ones_do(name: str, channels: int) -> None:
    images = noise(7, channels, 8, 9)
    function, values = parameters(name, 7)
    each = torch.cat([function(images[i : i + 1], *(v[i : i + 1] for v in values)) for i in range(7)])
    assert torch.equal(function(images, *values), each)
    together = function(images, *(v[:1] for v in values))
    assert torch.equal(together, function(images, *(v[:1].expand(7, *v.shape[1:]) for v in values)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_gradients(name: str, channels: int) -> None:
    images = noise(2, channels, 5, 4, dtype=torch.float64).requires_grad_()
    function, values = parameters(name, 2)
    assert torch.autograd.gradcheck(lambda x: function(x, *values), images)
    assert torch.autograd.gradcheck(lambda x: function(x, *(v[:1] for v in values)), images)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_the_whole(seed: int) -> None:
    images = noise(2, 3, 4, 4, dtype=torch.float64).requires_grad_()
    for way in (Augmentation(ALL).shared, Augmentation(ALL).single):
        assert torch.autograd.gradcheck(lambda x, way=way: way(x, seeded(seed)), images)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.floats(-0.5, 0.5), st.floats(0, 2), st.floats(0.5, 1.5))
def test_colours_are_brightness_then_saturation_then_contrast(c: int, b: float, s: float, k: float) -> None:
    images = noise(3, c, 4, 5, dtype=torch.float64)
    b, s, k = (torch.tensor(v, dtype=torch.float32).item() for v in (b, s, k))
    out = color(images, torch.tensor([b]), torch.tensor([s]), torch.tensor([k]))
    for image, found in zip(images, out, strict=True):
        bright = image + b
        grey = sum(bright[channel] for channel in range(c)) / c
        saturated = torch.stack([(bright[channel] - grey) * s + grey for channel in range(c)])
        mean = sum(saturated.flatten().tolist()) / saturated.numel()
        torch.testing.assert_close(found, (saturated - mean) * k + mean, rtol=1e-12, atol=1e-12)


def test_colours_that_change_nothing() -> None:
    zero, one = torch.zeros(1), torch.ones(1)
    for channels in (1, 3):
        images = noise(2, channels, 6, 6)
        assert torch.equal(color(images, zero, one, one), images)
    # One channel is its own mean.
    assert torch.equal(color(noise(2, 1, 6, 6), zero, torch.tensor([1.7]), one), noise(2, 1, 6, 6))


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 12), (3, 3)])
def test_crops_are_windows_with_zeros_outside(h: int, w: int) -> None:
    images = noise(2, 3, h, w)
    most_y, most_x = int(0.125 * h + 0.5), int(0.125 * w + 0.5)
    for y in range(-most_y, most_y + 1):
        for x in range(-most_x, most_x + 1):
            slow = torch.zeros_like(images)
            for i in range(h):
                for j in range(w):
                    if 0 <= i + y < h and 0 <= j + x < w:
                        slow[:, :, i, j] = images[:, :, i + y, j + x]
            assert torch.equal(crop(images, torch.tensor([y]), torch.tensor([x])), slow)
            assert torch.equal(crop(images, torch.tensor([y, y]), torch.tensor([x, x])), slow)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 6), (1, 2)])
def test_cutouts_are_squares_cut_off_at_the_borders(h: int, w: int) -> None:
    images = noise(2, 1, h, w) + 10
    side_y, side_x = int(0.5 * h + 0.5), int(0.5 * w + 0.5)
    for row in range(h + 1 - side_y % 2):
        for column in range(w + 1 - side_x % 2):
            slow = images.clone()
            for i in range(side_y):
                for j in range(side_x):
                    # As published: a pixel outside counts as the one at the border.
                    y = min(max(row + i - side_y // 2, 0), h - 1)
                    x = min(max(column + j - side_x // 2, 0), w - 1)
                    slow[:, :, y, x] = 0
            assert torch.equal(cutout(images, torch.tensor([row]), torch.tensor([column])), slow)
            assert torch.equal(cutout(images, torch.tensor([row] * 2), torch.tensor([column] * 2)), slow)
            removed = int((slow[0] == 0).sum())
            assert (side_y // 2) * (side_x // 2) <= removed <= side_y * side_x


def test_flips_change_left_and_right_over() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    assert flip(image, torch.tensor([True])).flatten().tolist() == [2, 1, 0, 5, 4, 3]
    assert flip(image, torch.tensor([False])).flatten().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("h", "w"), [(6, 6), (4, 7)])
def test_warps_are_bilinear_between_pixel_centres(h: int, w: int) -> None:
    images = noise(1, 1, h, w, dtype=torch.float64)
    angle = 0.2
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    for matrix in (turn, [[1.15, 0.0], [0.0, 0.85]]):
        slow = torch.zeros_like(images)
        for i in range(h):
            for j in range(w):
                x, y = (2 * j + 1) / w - 1, (2 * i + 1) / h - 1
                column = ((matrix[0][0] * x + matrix[0][1] * y + 1) * w - 1) / 2
                row = ((matrix[1][0] * x + matrix[1][1] * y + 1) * h - 1) / 2
                for r in (math.floor(row), math.floor(row) + 1):
                    for s in (math.floor(column), math.floor(column) + 1):
                        if 0 <= r < h and 0 <= s < w:
                            slow[0, 0, i, j] += images[0, 0, r, s] * (1 - abs(row - r)) * (1 - abs(column - s))
        torch.testing.assert_close(warp(images, torch.tensor([matrix])), slow, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(warp(images, torch.eye(2)[None]), images)


def test_magnitudes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[Tensor, ...]] = {}

    def watch(name: str) -> None:
        def note(images: Tensor, *values: Tensor) -> Tensor:
            seen[name] = values
            return images

        monkeypatch.setattr(augment, name, note)

    for name in KINDS:
        watch(name)
    images = torch.zeros(4000, 1, 1, 1).expand(-1, -1, 28, 32)

    def drawn(operation: str, function: str) -> tuple[Tensor, ...]:
        Augmentation(operation).single(images, seeded(0))
        return seen.pop(function)

    def spans(values: Tensor, low: float, high: float) -> None:
        near = (high - low) / 200
        assert low <= values.min() < low + near and high - near < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 4 * (high - low) / math.sqrt(12 * len(values))

    b, s, k = drawn("color", "color")
    spans(b, -0.5, 0.5)
    spans(s, 0, 2)
    spans(k, 0.5, 1.5)
    down, right = drawn("crop", "crop")
    assert set(down.tolist()) == set(right.tolist()) == set(range(-4, 5))
    row, column = drawn("cutout", "cutout")
    assert set(row.tolist()) == set(range(29)) and set(column.tolist()) == set(range(33))
    # A side of 15 has a middle pixel.
    Augmentation("cutout").single(torch.zeros(4000, 1, 1, 1).expand(-1, -1, 29, 32), seeded(0))
    assert set(seen.pop("cutout")[0].tolist()) == set(range(29))
    (mirrored,) = drawn("flip", "flip")
    assert 1800 < int(mirrored.sum()) < 2200
    (scale,) = drawn("scale", "warp")
    spans(scale[:, 0, 0], 1 / 1.2 - 1e-6, 1.2 + 1e-6)
    spans(scale[:, 1, 1], 1 / 1.2 - 1e-6, 1.2 + 1e-6)
    assert not scale[:, 0, 1].any() and not scale[:, 1, 0].any()
    assert abs(torch.corrcoef(scale[:, [0, 1], [0, 1]].T)[0, 1]) < 0.07
    (turn,) = drawn("rotate", "warp")
    spans(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]) * 180 / math.pi, -15 - 1e-4, 15 + 1e-4)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(2).expand(4000, 2, 2), rtol=1e-5, atol=1e-5)


def test_the_order_rule_takes_one_member_and_one_takes_one_of_all() -> None:
    generator = seeded(0)
    ordered = Counter(Augmentation("cutout_rotate_color_scale_flip_crop").plan(generator) for _ in range(1500))
    assert {plan[2] for plan in ordered} == {"crop", "scale", "rotate"}
    assert all((*plan[:2], *plan[3:]) == ("flip", "color", "cutout") for plan in ordered)
    assert all(420 < count < 580 for count in ordered.values()), ordered
    one = Counter(Augmentation(ALL, one=True).plan(generator) for _ in range(3000))
    assert set(one) == {(name,) for name in OPERATIONS}
    assert all(400 < count < 600 for count in one.values()), one
    assert Augmentation("cutout_color").plan(generator) == ("color", "cutout")
    assert Augmentation("cutout_crop_color").plan(generator) == ("color", "crop", "cutout")


def test_zeros_of_crop_and_cutout_come_after_the_colours() -> None:
    images = torch.rand(2, 1, 28, 28) + 3  # no colour makes these 0
    for seed in range(20):
        zero = Augmentation("crop_color").shared(images, seeded(seed)) == 0
        rows, columns = int(zero[0, 0].all(1).sum()), int(zero[0, 0].all(0).sum())
        assert rows <= 4 and columns <= 4
        assert int(zero[0].sum()) == 28 * 28 - (28 - rows) * (28 - columns)
        hole = Augmentation("cutout_color").single(images, seeded(seed)) == 0
        assert ((hole.sum((1, 2, 3)) >= 49) & (hole.sum((1, 2, 3)) <= 196)).all()


def test_names_are_checked_and_can_be_taken_out() -> None:
    with pytest.raises(BadInput, match=r"'colour'.*write 'color'"):
        Augmentation("colour_crop")
    with pytest.raises(BadInput, match="no augmentation ''"):
        Augmentation("color__crop")
    with pytest.raises(BadInput, match=r"'zzz'.*color, crop.*'none'"):
        Augmentation("zzz")
    with pytest.raises(BadInput, match="'crop' is listed twice"):
        Augmentation("crop_color_crop")
    with pytest.raises(BadInput, match="write 'cutout'"):
        Augmentation(ALL).without("cut_out")
    less = Augmentation(ALL, one=True).without("cutout", "flip")
    assert less == Augmentation("color_crop_scale_rotate", one=True)
    assert Augmentation("flip").without("flip", "cutout").operations == ()
    assert Augmentation("none").without("flip").operations == ()
    assert Augmentation().operations == ("color", "crop", "cutout")
