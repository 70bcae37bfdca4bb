"""What leaves in the private form: one record moves it by no more than its bound, noise comes on top once, and it is undone right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stillhouse.methods.condensation import private
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.private import (
    KINDS,
    Embedding,
    PrivateEmbeddings,
    PrivatePixels,
    Release,
    ReleasedMatching,
    noisy_sums,
    pixel_statistics,
    pixel_vectors,
    sample_pixels,
)
from stillhouse.methods.condensation.releases import TERMS, noises
from stillhouse.methods.condensation.settings import Settings
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.neighbours import Relation
from stillhouse.platform.privacy.noise import Noise, SystemNoise
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE
from stillhouse.platform.privacy.sums import HEADROOM, SUM_UNITS
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from support.noise import ZeroNoise

SHAPE = (1, 8, 8)
ENCODERS = 2
# A power of two, so that sums on the grid come out in float32 as they are; and so fine a grid that it shows how float32 was rounded.
EXACT = 2.0**-10
WORKS = (*KINDS, "pixels")


@pytest.fixture(scope="module", autouse=True)
def _few_at_once() -> Iterator[None]:
    """Fewer records at once than there are in the tests, and blank images to fill up: fewer in all to embed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "AT_ONCE", 24)
        yield


def digits(n: int) -> ImageData:
    return load("digits").private.take(range(n))


@lru_cache
def embedding(kind: str, *, seed: int = 3, piece: int = 8, share: float = 0.05) -> Embedding:
    release = Release(encoders=ENCODERS, frequencies=32, count_share=share)
    return Embedding(
        kind, release, "convnet", SHAPE, 10, seed=seed, forward=Forward(piece=piece), device=torch.device("cpu")
    )


def pixels_of(data: ImageData) -> torch.Tensor:
    return torch.from_numpy(data.images).float() / 255


def released(what: str, data: ImageData, folder: Path, *, sigma: float, noise: Noise, piece: int = 8) -> torch.Tensor:
    """The noisy sums of `what`, which is a kind of embedding or the pixels."""
    work = (
        PrivatePixels(sigma, noise)
        if what == "pixels"
        else PrivateEmbeddings(embedding(what, piece=piece), sigma, noise)
    )
    assert work.events(len(data)) == [(work.purpose, GaussianEvent(sigma, 1, holds_for=(Relation.ADD_OR_REMOVE_ONE,)))]
    assert work.uncovered is None
    return work.compute(data, LocalRun(folder, reporter=Silent()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_no_image_has_an_embedding_longer_than_one(kind: str, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    blank = torch.stack([torch.full(SHAPE, value) for value in (0.0, 0.5, 1.0)])
    sharp = torch.rand(64, *SHAPE, generator=generator).round()
    images = torch.cat([pixels_of(digits(128)), blank, sharp, torch.rand(64, *SHAPE, generator=generator)])
    own = embedding(kind, share=share)
    lengths = own.whole(images).double().norm(dim=1)
    assert lengths.max() <= 1 + 1e-6
    if kind == "gaussian":
        # Waves have one length whatever the image is; that of `mean` tells one image from another below the cut.
        assert lengths.min() >= 1 - 1e-6
    for number in range(ENCODERS):
        assert own.part(number, images).double().norm(dim=1).max() <= 1 + 1e-6
    assert (own.whole(images)[:, -1] == share**0.5).all()


@settings(max_examples=50)
@given(arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 60))))
def test_no_image_has_pixels_and_squares_longer_than_one(images: np.ndarray) -> None:
    lengths = pixel_vectors(torch.from_numpy(images).float() / 255 - 0.5).double().norm(dim=1)
    assert lengths.max() <= 1 + 1e-6


def test_the_blackest_image_uses_the_whole_length() -> None:
    lengths = pixel_vectors(torch.tensor([[-0.5] * 784, [0.5] * 784])).double().norm(dim=1)
    assert torch.allclose(lengths, torch.ones(2, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_follows_from_the_runs_seed_and_nothing_else(kind: str) -> None:
    images = pixels_of(digits(8))
    first = embedding(kind).whole(images)
    embedding.cache_clear()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(embedding(kind).whole(images), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.allclose(embedding(kind, seed=4).whole(images), first, atol=0.05)


def test_another_kind_has_no_private_form() -> None:
    with pytest.raises(BadInput, match="has no private form"):
        embedding("poly2")


@pytest.mark.parametrize("what", WORKS)
# The last piece of the records that are left is short, one image alone in some: where rounding is likeliest to be another.
@pytest.mark.parametrize(("piece", "n"), [(8, 10), (3, 26), (0, 26)])
def test_a_record_that_goes_moves_its_own_class_alone_and_by_no_more_than_its_length(
    what: str, piece: int, n: int, tmp_path: Path
) -> None:
    data = digits(n)

    def units(numbers: list[int]) -> np.ndarray:
        found = released(what, data.take(numbers), tmp_path, sigma=EXACT, noise=ZeroNoise(), piece=piece)
        raw = found.double().numpy() * (SUM_UNITS / EXACT * HEADROOM)
        assert np.abs(raw - np.rint(raw)).max() < 0.25  # Single precision, of whole numbers.
        return np.rint(raw)

    everything = units(list(range(n)))
    for gone in (0, 4, n - 1):
        moved = everything - units([i for i in range(n) if i != gone])
        others = [k for k in range(10) if k != data.labels[gone]]
        assert not moved[others].any()
        assert 0 < (moved**2).sum() <= (SUM_UNITS / EXACT) ** 2
        # Not by rounding either: what went is the record's own part, bit for bit.
        assert np.array_equal(moved, units([gone]))


@pytest.mark.parametrize("what", WORKS)
def test_no_record_and_an_empty_class_are_sums_too(what: str, tmp_path: Path) -> None:
    nothing = released(what, digits(10).take([]), tmp_path, sigma=EXACT, noise=ZeroNoise())
    one = released(what, digits(1), tmp_path, sigma=EXACT, noise=ZeroNoise())
    assert nothing.shape == one.shape and not nothing.any()
    assert one.any(1).sum() == 1


def test_vectors_may_come_in_pieces_and_broken_ones_count_as_nothing() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(90, 7, generator=torch.Generator().manual_seed(0)))
    vectors[3, 2], vectors[50, 0] = float("nan"), float("inf")
    labels = np.arange(90) % 4
    whole = noisy_sums([vectors], labels, 4, EXACT, ZeroNoise())
    assert torch.equal(noisy_sums(vectors.split(13), labels, 4, EXACT, ZeroNoise()), whole)
    good = [i for i in range(90) if i not in (3, 50)]
    assert torch.equal(noisy_sums([vectors[good]], labels[good], 4, EXACT, ZeroNoise()), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_the_means_are_the_records_means(kind: str, tmp_path: Path) -> None:
    data, sigma, noise = digits(120), 0.01, ZeroNoise()
    own = embedding(kind)
    found = own.means(released(kind, data, tmp_path, sigma=sigma, noise=noise))
    assert [call[:2] for call in noise.calls] == [("gaussian", SUM_UNITS)]
    # Each record is cut by less than a unit of the grid in every coordinate, the one that counts it among them.
    unit = sigma / SUM_UNITS
    tolerance = 1.1 * unit * ((0.95 / ENCODERS) ** -0.5 + 0.05**-0.5) + 1e-6
    for number in range(ENCODERS):
        parts = own.part(number, pixels_of(data)).double().numpy()
        for k in range(10):
            assert np.abs(found[number][k].double().numpy() - parts[data.labels == k].mean(0)).max() < tolerance


def test_without_noise_the_pixel_statistics_are_the_records(tmp_path: Path) -> None:
    data = digits(200)
    means, deviation = pixel_statistics(released("pixels", data, tmp_path, sigma=1e-3, noise=ZeroNoise()))
    flat = data.images.reshape(200, -1) / 255
    expected = np.stack([flat[data.labels == k].mean(0) for k in range(10)])
    assert np.abs(means.numpy() - expected).max() < 1e-4
    within = ((flat - expected[data.labels]) ** 2).mean(0)
    assert np.abs(deviation.numpy() ** 2 - within).max() < 1e-4


@pytest.mark.parametrize("what", WORKS)
def test_the_noise_has_the_stated_size_once_and_is_new_each_time(what: str, tmp_path: Path) -> None:
    data, sigma = digits(60), 1.7
    exact = released(what, data, tmp_path, sigma=sigma, noise=ZeroNoise())
    drawn = [released(what, data, tmp_path, sigma=sigma, noise=SystemNoise()) - exact for _ in range(8)]
    together = torch.stack(drawn).double() / sigma * HEADROOM  # a sum is undone by its headroom, and its noise with it
    # 10,000 numbers or more: their deviation is known to 1 %, and no coordinate goes without.
    assert together.numel() > 10_000
    assert abs(together.std().item() - 1) < 0.05
    assert abs(together.mean().item()) < 5 / together.numel() ** 0.5
    assert together.std(0).min() > 0
    assert abs(np.corrcoef(together[0].flatten(), together[1].flatten())[0, 1]) < 6 / together[0].numel() ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_matching_rests_where_the_means_are_met_and_pulls_elsewhere(kind: str) -> None:
    own = embedding(kind)
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(5, *SHAPE, generator=generator) for _ in range(3)]
    with torch.no_grad():
        means = [torch.stack([own.part(n, each).mean(0) for each in images]) for n in range(ENCODERS)]
    term = ReleasedMatching(own, means)

    def losses(given: list[torch.Tensor], classes: list[int], number: int) -> tuple[list[float], list[torch.Tensor]]:
        leaves = [each.clone().requires_grad_() for each in given]
        found = term(leaves, classes, number)
        return [value.item() for value in found], list(torch.autograd.grad(torch.stack(found).sum(), leaves))

    for number in range(3):
        at_rest, still = losses(images, [0, 1, 2], number)
        assert max(at_rest) < 1e-10 and max(float(g.abs().max()) for g in still) < 1e-5
        off, pull = losses([images[0], torch.full((4, *SHAPE), 0.5)], [2, 0], number)
        assert min(off) > 1e-3
        assert all(torch.isfinite(g).all() for g in pull) and pull[0].abs().max() > 1e-4
    # One network an iteration, in turn.
    one, other = (losses([images[0]], [1], number)[0] for number in (0, 1))
    assert one != other and one == losses([images[0]], [1], ENCODERS)[0]


def test_sampled_images_are_pixels_around_their_class_mean(tmp_path: Path) -> None:
    sums = released("pixels", digits(200), tmp_path, sigma=1e-3, noise=ZeroNoise())
    drawn = sample_pixels(sums, SHAPE, 300, torch.Generator().manual_seed(0))
    assert drawn.shape == (10, 300, *SHAPE)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert torch.equal(drawn, sample_pixels(sums, SHAPE, 300, torch.Generator().manual_seed(0)))
    means, _ = pixel_statistics(sums)
    # What is cut at black and white moves the mean of a pixel, but never across another class's.
    distances = torch.cdist(drawn.mean(1).flatten(1), means)
    assert distances.argmin(1).tolist() == list(range(10))


def test_sampling_from_noise_alone_stays_in_range() -> None:
    sums = torch.randn(10, 129, generator=torch.Generator().manual_seed(0)) * 50
    drawn = sample_pixels(sums, SHAPE, 3, torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all() and drawn.min() >= 0 and drawn.max() <= 1


@pytest.mark.parametrize(
    ("initial", "iterations", "bought"), [("class_means", 5, 2), ("class_means", 0, 1), ("noise", 5, 1)]
)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.3, 1e-5), (1.0, 1e-4), (7.77, 1e-6), (50.0, 1e-5)])
def test_the_releases_together_cost_the_budget(
    initial: str, iterations: int, bought: int, epsilon: float, delta: float
) -> None:
    asked = Settings(dp=True, loss="mean", initial=initial, iterations=iterations)
    events = [GaussianEvent(s) for s in noises(asked, epsilon=epsilon, delta=delta) if s is not None]
    assert len(events) == bought
    assert 0.999 * epsilon < plan_epsilon(events, delta) <= epsilon
    # And in the whole numbers that the ledger counts in.
    (cap,) = budget_cap(TERMS.kind, epsilon=epsilon, delta=delta)
    assert sum(event_cost(TERMS.kind, event)[0] for event in events) <= cap


def test_the_terms_are_those_of_gaussian_releases_about_a_record_more_or_less() -> None:
    assert (TERMS.kind, TERMS.orders, TERMS.neighbouring) == (BudgetKind.GAUSSIAN, (), ADD_OR_REMOVE)


def test_a_noise_that_is_given_is_that_of_both_releases_together() -> None:
    asked = Settings(dp=True, loss="mean", initial="class_means", release=Release(sigma=3.0))
    # No budget is asked for: whether it is affordable is the curator's to say.
    both = [s for s in noises(asked, epsilon=1e-3, delta=1e-5) if s is not None]
    assert sum(s**-2 for s in both) == pytest.approx(3.0**-2)
    assert noises(replace(asked, initial="noise"), epsilon=1e-3, delta=1e-5) == (None, 3.0)
    assert noises(replace(asked, iterations=0), epsilon=1e-3, delta=1e-5) == (3.0, None)


@pytest.mark.parametrize("wrong", [{"encoders": 0}, {"frequencies": 0}, {"count_share": 1.0}, {"sigma": 0.0}])
def test_what_cannot_be_released_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Release(**wrong)  # type: ignore[arg-type]
