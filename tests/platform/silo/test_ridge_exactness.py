"""What the closed form promises to the last bit, and what a silo remembers about queries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.scattering import OFFSET, Scattering2D, features
from stillhouse.platform.silo import scatter_ridge as module
from stillhouse.platform.silo.features import QueryFeatures
from stillhouse.platform.silo.scatter_ridge import ScatterRidge, ridge


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), penalty=st.floats(0.01, 1000), seed=st.integers(0, 2**31))
def test_dual_and_primal_meet_the_normal_equations(rows: int, columns: int, penalty: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, columns, generator=generator, dtype=torch.double)
    targets = torch.randn(rows, 3, generator=generator, dtype=torch.double)
    found = ridge(inputs, targets, penalty)
    # The gradient of ||X W - Y||^2 + penalty ||W||^2 vanishes there; the objective is strictly convex, so nowhere else.
    assert (inputs.T @ (inputs @ found - targets) + penalty * found).abs().max() < 1e-7


def test_a_stored_teacher_scores_as_scikit_learns_ridge_does(shards: list[ImageData], queries: np.ndarray) -> None:
    kind, shard, transform = ScatterRidge(), shards[0], Scattering2D((1, 8, 8))
    state = kind.fit([shard], [0]).state(0)
    inputs, asked = (features(transform, images).double().numpy() for images in (shard.images, queries))
    mean, spread = inputs.mean(0), inputs.std(0) + kind.floor
    targets = np.where(np.arange(10) == shard.labels[:, None], 1.0, -1.0)
    oracle = Ridge(alpha=kind.penalty).fit((inputs - mean) / spread, targets)
    scores = asked @ state["weights"].double().numpy() + state["intercept"].double().numpy()
    assert np.allclose(scores, oracle.predict((asked - mean) / spread), atol=1e-3)


def test_records_in_several_batches_are_one_system(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = torch.randn(70, 9, dtype=torch.double), torch.randn(70, 3, dtype=torch.double)
    whole = ridge(inputs, targets, 2.0)
    monkeypatch.setattr(module, "RECORD_BATCH", 16)
    assert torch.allclose(ridge(inputs, targets, 2.0), whole, atol=1e-12)


def test_a_tiny_penalty_is_still_solved() -> None:
    inputs = torch.randn(30, 400).repeat(2, 1) * 30  # every record twice: singular but for the penalty
    found = ridge(inputs, torch.randn(60, 2), 1e-3)
    assert torch.isfinite(found).all()


def test_a_teacher_alone_and_in_a_group_is_the_same_to_the_last_bit(shards: list[ImageData]) -> None:
    seeds = list(range(len(shards)))
    group = ScatterRidge().fit(shards, seeds)
    for i, shard in enumerate(shards):
        alone = ScatterRidge().fit([shard], [99]).state(0)
        assert all(torch.equal(value, alone[name]) for name, value in group.state(i).items())


def test_a_class_that_a_shard_lacks_is_never_voted_for(shards: list[ImageData], queries: np.ndarray) -> None:
    for shard in shards:
        for lacking in ([3], [0, 9], [0, 1, 2, 4, 5, 6, 7, 9]):
            kept = shard.take(np.flatnonzero(~np.isin(shard.labels, lacking)))
            votes = ScatterRidge().fit([kept], [0]).vote(queries)
            assert not np.isin(votes, lacking).any()


def test_many_queries_are_one_by_one_and_again_the_same(
    shards: list[ImageData], queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ScatterRidge().fit(shards, [0] * 5).vote(queries)
    monkeypatch.setattr(module, "QUERY_BATCH", 7)
    teachers = ScatterRidge().fit(shards, [0] * 5)
    assert (teachers.vote(queries) == whole).mean() > 0.99
    assert np.array_equal(teachers.vote(queries), teachers.vote(queries))
    assert (
        np.concatenate([teachers.vote(queries[i : i + 1]) for i in range(20)], axis=1) == whole[:, :20]
    ).mean() > 0.99


def test_colour_works(queries: np.ndarray) -> None:
    colour = ImageData(np.repeat(queries[:30], 3, axis=1), np.arange(30) % 4, 4, "colour")
    assert ScatterRidge().fit([colour], [0]).vote(colour.images).shape == (1, 30)


def test_an_image_is_transformed_once_however_often_it_is_asked(
    queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformed: list[int] = []
    transform = Scattering2D((1, 8, 8))
    monkeypatch.setattr(
        "stillhouse.platform.silo.features.features",
        lambda t, images: transformed.append(len(images)) or features(t, images),
    )
    known = QueryFeatures(transform)
    first = known.of(queries[:10])
    again = known.of(np.concatenate([queries[5:15], queries[:2], queries[14:15]]))
    assert transformed == [10, 5]
    assert (
        torch.equal(again[:5], first[5:]) and torch.equal(again[10:12], first[:2]) and torch.equal(again[9], again[12])
    )
    assert torch.allclose(first, features(transform, queries[:10]), atol=1e-3)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(queries: np.ndarray) -> None:
    transform = Scattering2D((1, 8, 8))
    known = QueryFeatures(transform, limit=3 * 2 * transform.features)
    for batch in (queries[:3], queries[:1], queries[3:4]):
        assert known.of(batch).shape == (len(batch), transform.features)
    held = set(known._known)
    known.of(queries[:1])
    assert len(held) == 3 and set(known._known) == held
    # More images at once than there is room for are still all answered.
    assert torch.equal(known.of(queries[:20]), QueryFeatures(transform, limit=0).of(queries[:20]))
    assert len(known._known) == 3


def test_images_that_may_not_be_written_to_are_read_without_a_warning(
    shards: list[ImageData], recwarn: pytest.WarningsRecorder
) -> None:
    images = shards[0].images.copy()
    images.flags.writeable = False
    teachers = ScatterRidge().fit([ImageData(images, shards[0].labels, 10, "sealed")], [0])
    teachers.vote(images)
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_groups_and_queries_that_do_not_fit_are_refused(shards: list[ImageData], queries: np.ndarray) -> None:
    kind, teachers = ScatterRidge(), ScatterRidge().fit(shards[:1], [0])
    fewer = ImageData(shards[0].images, np.zeros(len(shards[0]), np.int64), 2, "fewer")
    wide = ImageData(np.zeros((2, 1, 8, 9), np.uint8), np.array([0, 1]), 10, "wide")
    for group, words in (([], "0 shards"), ([shards[0], fewer], "classes"), ([shards[0], wide], "shapes")):
        with pytest.raises(BadInput, match=words):
            kind.fit(group, [0] * len(group))
    with pytest.raises(BadInput, match="seeds"):
        kind.fit(shards[:2], [0])
    with pytest.raises(BadInput, match="no records"):
        kind.fit([shards[0].take([])], [0])
    with pytest.raises(BadInput, match="queries"):
        teachers.vote(wide.images)
    with pytest.raises(BadInput, match="queries"):
        teachers.vote(queries.astype(np.float32))
    with pytest.raises(BadInput, match="do not fit"):
        kind.load([teachers.state(0)], shape=(1, 8, 8), classes=4)


def test_rounding_about_zero_is_not_magnified() -> None:
    # Where an image is black, coefficients are rounding errors, and these differ between processors and batch sizes.
    images = np.zeros((40, 1, 28, 28), np.uint8)
    images[:, :, 10:16, 10:16] = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 6), np.uint8)
    transform = Scattering2D((1, 28, 28))
    found, exact = features(transform, images), features_in_double(images)
    assert (found.double() - exact).abs().max() < 1e-4


def features_in_double(images: np.ndarray) -> torch.Tensor:
    found = Scattering2D((1, 28, 28)).double()(torch.tensor(images).double() / 255)
    return (found.clamp(min=0) + OFFSET).pow(0.25)
