"""From high to low resolution: the paper's way is the resampler and nothing else, the realistic one draws what it says it draws."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data import corruptions
from stillhouse.platform.data.degradation import Degradation, Realism
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.errors import BadInput

QUIET = Realism(
    blur=(0, 0), motion_share=0, kinds=("bilinear",), noise=(0, 0), jpeg=(100, 100), gamma=(1, 1), gain=(1, 1)
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int, side: int = 112, channels: int = 3) -> torch.Tensor:
    """Smooth pictures with some contrast."""
    coarse = torch.rand(n, channels, 7, 7, generator=seeded(5))
    return Resampler("bicubic").resize(coarse, side)


def test_the_papers_way_is_an_antialiased_bilinear_filter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    small = Degradation(size=16)(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    pils = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(small[0].permute(1, 2, 0).numpy() * 255 - pils).max() <= 1


def test_back_up_is_the_second_resampler() -> None:
    images = faces(2)
    small = Resampler().resize(images, 16)
    assert torch.equal(Degradation(16, back_to=112)(images), Resampler().resize(small, 112))
    cubic = Degradation(16, back_to=64, back_by=Resampler("bicubic"))
    assert torch.equal(cubic(images), Resampler("bicubic").resize(small, 64))


def test_quiet_realism_is_the_papers_way_but_for_the_jpeg() -> None:
    images = faces(3, channels=1)
    realistic = Degradation(16, mode="realistic", realism=QUIET)(images, seeded())
    assert (realistic - Degradation(16)(images)).abs().max() < 1.6 / 255


@settings(max_examples=20)
@given(size=st.integers(4, 24), channels=st.sampled_from([1, 3]), n=st.integers(0, 3), back=st.booleans())
def test_realistic_pictures_have_their_size_and_range(size: int, channels: int, n: int, back: bool) -> None:
    degrade = Degradation(size, mode="realistic", back_to=28 if back else None)
    images = faces(3, 28, channels)[:n]
    degraded = degrade(images, seeded(size))
    assert degraded.shape == (n, channels, *[28 if back else size] * 2)
    if n:
        assert degraded.min() >= 0 and degraded.max() <= 1
        assert torch.equal(degraded, degrade(images, seeded(size)))
        assert not torch.equal(degraded, degrade(images, seeded(size + 1)))


def test_each_picture_draws_its_own_and_nothing_else_is_touched() -> None:
    images = faces(1).expand(12, -1, -1, -1).clone()
    before, state = images.clone(), torch.random.get_rng_state()
    degraded = Degradation(16, mode="realistic")(images, seeded())
    assert len({one.numpy().tobytes() for one in degraded}) == 12
    assert torch.equal(images, before) and torch.equal(torch.random.get_rng_state(), state)


def test_strengths_are_drawn_over_their_whole_range(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, torch.Tensor] = {}

    def note(name: str, *which: str) -> None:
        def noted(images: torch.Tensor, *strengths: Any) -> torch.Tensor:
            drawn.update(
                {one: torch.cat([drawn.get(one, torch.empty(0)), s]) for one, s in zip(which, strengths, strict=False)}
            )
            return images

        monkeypatch.setattr(corruptions, name, noted)

    note("gaussian_blur", "blur")
    note("motion_blur", "motion", "angle")
    note("gaussian_noise", "noise")
    note("jpeg", "jpeg")
    note("tone", "gamma", "gain")
    realism = Realism()
    n = 4000
    Degradation(4, mode="realistic", realism=realism)(torch.zeros(n, 1, 4, 4), seeded())

    def uniform(values: torch.Tensor, low: float, high: float) -> None:
        """The largest distance between the two distribution functions stays below what one in a million samples exceeds."""
        places = ((values.sort().values - low) / (high - low)).double()
        assert places.min() >= 0 and places.max() <= 1
        assert (places - (torch.arange(len(values)) + 0.5) / len(values)).abs().max() < 2.7 / len(values) ** 0.5

    uniform(drawn["blur"], *realism.blur)
    moving = drawn["motion"] > 0
    assert moving.float().mean().item() == pytest.approx(realism.motion_share, abs=0.04)
    uniform(drawn["motion"][moving], *realism.motion)
    uniform(drawn["angle"], 0, torch.pi)
    uniform(drawn["noise"] * 255, *realism.noise)
    uniform(drawn["gamma"].log(), *np.log(realism.gamma))
    uniform(drawn["gain"], *realism.gain)
    counts = Counter(drawn["jpeg"].tolist())
    assert sorted(counts) == list(range(30, 96))
    assert min(counts.values()) > n / 66 - 5 * (n / 66) ** 0.5 and max(counts.values()) < n / 66 + 5 * (n / 66) ** 0.5


def test_the_paths_through_resamplers_are_all_taken() -> None:
    # One bright pixel in seven: the resamplers tell it apart.
    images = torch.zeros(60, 1, 28, 28)
    images[..., 3::7, 3::7] = 1
    realism = Realism((0, 0), 0, noise=(0, 0), jpeg=(100, 100), gamma=(1, 1), gain=(1, 1))
    degraded = Degradation(4, mode="realistic", realism=realism)(images, seeded())
    assert len({tuple(one.flatten().tolist()) for one in degraded}) == 4


def test_one_size_a_batch_without_bringing_up_and_all_sizes_over_batches() -> None:
    degrade = Degradation(16, sizes=(8, 12))
    images = faces(3, 32)
    found = set()
    for seed in range(40):
        small = degrade(images, seeded(seed))
        assert torch.equal(small, Resampler().resize(images, small.shape[2]))
        found.add(small.shape[2])
    assert found == {8, 9, 10, 11, 12}


def test_one_size_a_picture_where_they_are_brought_up_again() -> None:
    images = faces(30, 32)
    brought = Degradation(16, sizes=(8, 12), back_to=32)(images, seeded())
    found = Counter()
    for image, one in zip(images, brought, strict=True):
        ways = {size: Resampler().resize(Resampler().resize(image[None], size), 32)[0] for size in range(8, 13)}
        found[min(ways, key=lambda size, one=one, ways=ways: float((ways[size] - one).abs().max()))] += 1
        assert min(float((way - one).abs().max()) for way in ways.values()) < 1e-6
    assert len(found) == 5


def test_at_fixes_the_size_and_keeps_the_rest() -> None:
    degrade = Degradation(16, sizes=(8, 32), resampler=Resampler("bicubic"), back_to=112)
    assert degrade.at(24) == Degradation(24, resampler=Resampler("bicubic"), back_to=112)
    assert degrade.random and not degrade.at(24).random


def test_it_says_what_it_does() -> None:
    different = [
        Degradation(16), Degradation(8), Degradation(16, back_to=112), Degradation(16, resampler=Resampler(antialias=False)),
        Degradation(16, sizes=(8, 32)), Degradation(16, mode="realistic"),
        Degradation(16, mode="realistic", realism=Realism(noise=(0, 3))),
    ]  # fmt: skip
    assert len({one.in_words() for one in different}) == len(different)
    assert "NOT antialiased" in different[3].in_words() and "noise 0 .. 3" in different[6].in_words()


def test_lists_from_configuration_files_are_ranges() -> None:
    degrade = Degradation(sizes=[8, 32], realism=Realism(jpeg=[30, 40], kinds=["area"]))  # type: ignore[arg-type]
    assert degrade.sizes == (8, 32) and degrade.realism == Realism(jpeg=(30, 40), kinds=("area",))


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"mode": "real"}, "realistic"), ({"size": 0}, "at least 4"), ({"sizes": (32, 8)}, "rising"),
        ({"sizes": (8.5, 16)}, "whole"), ({"sizes": (8,)}, "no range"), ({"back_to": 8}, "below the size 16"),
    ],
)  # fmt: skip
def test_what_is_no_degradation_is_refused(settings_: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Degradation(**settings_)


@pytest.mark.parametrize(
    "settings_",
    [{"blur": (2, 1)}, {"blur": (-1, 1)}, {"noise": (0, 256)}, {"jpeg": (0, 95)}, {"gamma": (0, 1)}, {"gain": (0, np.nan)},
     {"motion_share": 1.5}, {"kinds": ()}, {"kinds": ("lanczos",)}, {"motion": "ab"}],
)  # fmt: skip
def test_what_is_no_realism_is_refused(settings_: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Realism(**settings_)


@pytest.mark.parametrize(
    ("shape", "says"),
    [((1, 3, 112, 96), "squeezed"), ((1, 3, 8, 8), "cannot be degraded to 16"), ((1, 4, 32, 32), "4 channels"),
     ((3, 32, 32), r"\(3, 32, 32\)")],
)  # fmt: skip
def test_pictures_it_cannot_degrade_are_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Degradation(16)(torch.zeros(shape))


def test_bytes_and_a_missing_generator_are_refused() -> None:
    with pytest.raises(BadInput, match="divide bytes"):
        Degradation(16)(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    for degrade in (Degradation(16, mode="realistic"), Degradation(16, sizes=(8, 16))):
        with pytest.raises(BadInput, match=r"torch\.Generator"):
            degrade(torch.zeros(1, 3, 32, 32))


def test_a_picture_of_the_size_already_stays() -> None:
    images = faces(1, 16)
    assert torch.equal(Degradation(16)(images), images)
