"""What every kind of teacher must satisfy: the contract behind the privacy of votes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.silo.cnn_teacher import CnnTeacher
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.teachers import TEACHER_KINDS, TeacherKind, teacher_kind_from_json

KINDS = [ScatterRidge(), CnnTeacher(epochs=3, width=4, hidden=8), CnnTeacher(epochs=3, width=4, hidden=8, together=5)]
SEEDS = [11, 12, 13, 14, 15]


@pytest.fixture(params=KINDS, ids=["scatter_ridge", "cnn", "cnn-together"])
def kind(request: pytest.FixtureRequest) -> TeacherKind:
    return request.param  # type: ignore[no-any-return]


def altered(shard: ImageData, record: int) -> ImageData:
    images, labels = shard.images.copy(), shard.labels.copy()
    images[record] = 255 - images[record]
    labels[record] = (labels[record] + 5) % shard.classes
    return ImageData(images, labels, shard.classes, shard.name)


def histogram(votes: np.ndarray) -> np.ndarray:
    return np.stack([(votes == k).sum(0) for k in range(10)], axis=1)


def test_votes_are_labels_one_per_teacher_and_query(
    kind: TeacherKind, shards: list[ImageData], queries: np.ndarray
) -> None:
    ready: list[int] = []
    votes = kind.fit(shards, SEEDS, progress=ready.append).vote(queries)
    assert votes.shape == (5, len(queries)) and votes.dtype == np.int64
    assert set(np.unique(votes)) <= set(range(10))
    assert ready[-1] == 5 and ready == sorted(ready)


def test_the_same_again_is_the_same(kind: TeacherKind, shards: list[ImageData]) -> None:
    first, second = kind.fit(shards, SEEDS), kind.fit(shards, SEEDS)
    for i in range(5):
        a, b = first.state(i), second.state(i)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_group_is_what_its_members_are_alone(kind: TeacherKind, shards: list[ImageData]) -> None:
    group = kind.fit(shards, SEEDS)
    for i, (shard, seed) in enumerate(zip(shards, SEEDS, strict=True)):
        alone = kind.fit([shard], [seed]).state(0)
        for name, value in group.state(i).items():
            assert torch.allclose(value, alone[name], rtol=1e-3, atol=2e-5), name


def test_a_kept_teacher_votes_as_before(kind: TeacherKind, shards: list[ImageData], queries: np.ndarray) -> None:
    fitted = kind.fit(shards, SEEDS)
    loaded = kind.load([fitted.state(i) for i in range(5)], shape=(1, 8, 8), classes=10)
    assert np.array_equal(fitted.vote(queries), loaded.vote(queries))


@pytest.mark.parametrize("record", [0, 7, 20])
def test_changing_a_record_changes_one_teacher_and_the_histogram_by_one_vote(
    kind: TeacherKind, shards: list[ImageData], queries: np.ndarray, record: int
) -> None:
    before = kind.fit(shards, SEEDS)
    neighbour = [*shards[:2], altered(shards[2], record), *shards[3:]]
    after = kind.fit(neighbour, SEEDS)
    for i in (0, 1, 3, 4):
        assert all(torch.equal(v, after.state(i)[name]) for name, v in before.state(i).items())
    assert any(not torch.equal(v, after.state(2)[name]) for name, v in before.state(2).items())
    one, other = histogram(before.vote(queries)), histogram(after.vote(queries))
    assert np.abs(one - other).sum(1).max() <= 2
    assert ((one - other) ** 2).sum(1).max() <= 2
    assert np.abs(one.max(1) - other.max(1)).max() <= 1


def test_settings_survive_json(kind: TeacherKind) -> None:
    back = teacher_kind_from_json(kind.to_json())
    assert back.to_json() == kind.to_json() and type(back) is type(kind)


def test_unknown_kinds_and_settings_are_refused() -> None:
    assert set(TEACHER_KINDS) == {"scatter_ridge", "cnn", "diffusion"}
    with pytest.raises(BadInput, match="unknown teacher kind"):
        teacher_kind_from_json({"name": "oracle"})
    with pytest.raises(BadInput, match="wrong settings"):
        teacher_kind_from_json({"name": "cnn", "epoch": 3})
    with pytest.raises(BadInput, match="epochs"):
        CnnTeacher(epochs=0)
    with pytest.raises(BadInput, match="penalty"):
        ScatterRidge(penalty=-1.0)


def test_they_learn_something(shards: list[ImageData]) -> None:
    score = load("digits").score
    for kind, least in ((ScatterRidge(), 0.65), (CnnTeacher(epochs=200), 0.5)):
        votes = kind.fit(shards[:2], SEEDS[:2]).vote(score.images)
        assert (votes == score.labels).mean() > least, kind


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_together_is_several_times_faster() -> None:
    import time

    private = load("digits").private
    parts = [private.take(np.arange(i * 20, (i + 1) * 20)) for i in range(50)]
    seconds = []
    for together in (1, 50):
        kind = CnnTeacher(epochs=20, together=together)
        kind.fit(parts[:2], [0, 1], device="cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        kind.fit(parts, list(range(50)), device="cuda")
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    assert seconds[0] / seconds[1] > 3
