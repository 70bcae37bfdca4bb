"""Training together is training one by one: every teacher has its own weights, order of records, and number of steps."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.silo.cnn_teacher import CnnTeacher
from stillhouse.platform.silo.teachers import TEACHER_KINDS

SMALL = {"epochs": 6, "width": 4, "hidden": 8, "batch_size": 10}


@pytest.mark.parametrize("together", [2, 50])
def test_together_is_one_by_one(shards: list[ImageData], queries: np.ndarray, together: int) -> None:
    seeds = [3, 1, 4, 1, 5]
    alone = CnnTeacher(**SMALL).fit(shards, seeds)
    group = CnnTeacher(**SMALL, together=together).fit(shards, seeds)
    for i in range(5):
        for name, value in alone.state(i).items():
            assert torch.allclose(value, group.state(i)[name], rtol=1e-3, atol=1e-4), (i, name)
    assert (alone.vote(queries) == group.vote(queries)).mean() > 0.99


def test_training_moves_every_teacher_and_seeds_tell_them_apart(shards: list[ImageData]) -> None:
    start = CnnTeacher(**SMALL)._network((1, 8, 8), 10, seed=7).state_dict()
    one, other = (CnnTeacher(**SMALL).fit(shards[:1], [seed]).state(0) for seed in (7, 8))
    for name, value in one.items():
        assert not torch.equal(value, start[name]), name
        assert not torch.equal(value, other[name]), name


def test_a_long_shard_does_not_train_a_short_one_longer(shards: list[ImageData]) -> None:
    kind = CnnTeacher(**SMALL, together=2)
    long = ImageData(np.tile(shards[2].images, (3, 1, 1, 1)), np.tile(shards[2].labels, 3), 10, "long")
    beside_short = kind.fit([shards[0], shards[1]], [0, 1]).state(0)
    beside_long = kind.fit([shards[0], long], [0, 1]).state(0)
    for name, value in beside_short.items():
        assert torch.allclose(value, beside_long[name], rtol=1e-3, atol=1e-4), name


def test_training_leaves_the_global_random_state_alone(shards: list[ImageData]) -> None:
    before = torch.random.get_rng_state()
    CnnTeacher(**SMALL).fit(shards[:1], [0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_fits_its_own_shard(shards: list[ImageData]) -> None:
    votes = CnnTeacher(epochs=100, batch_size=8).fit(shards[:1], [0]).vote(shards[0].images)
    assert (votes[0] == shards[0].labels).mean() > 0.95


def test_how_many_train_together_is_no_property_of_a_teacher() -> None:
    assert CnnTeacher(together=8).to_json() == CnnTeacher().to_json()


def test_unequal_classes_and_other_queries_are_refused(shards: list[ImageData]) -> None:
    kind = CnnTeacher(**SMALL)
    fewer = ImageData(shards[0].images, np.zeros(len(shards[0]), np.int64), 2, "fewer")
    with pytest.raises(BadInput, match="classes"):
        kind.fit([shards[0], fewer], [0, 1])
    with pytest.raises(BadInput, match="queries"):
        kind.fit(shards[:1], [0]).vote(np.zeros((1, 1, 9, 9), np.uint8))


def test_naming_the_kinds_does_not_load_torch() -> None:
    assert list(TEACHER_KINDS) == ["scatter_ridge", "cnn", "diffusion"] and TEACHER_KINDS["cnn"] is CnnTeacher
    program = (
        "import sys; from stillhouse.platform.silo.teachers import TEACHER_KINDS, TeacherKind;"
        "assert 'cnn' in set(TEACHER_KINDS) and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("together", [1, 2])
def test_a_teacher_is_plain_sgd_on_its_own_records(shards: list[ImageData], together: int) -> None:
    shard = shards[0].take(np.arange(23))  # 23 records in batches of 10: the last batch is short
    kind = CnnTeacher(**SMALL, together=together)
    found = kind.fit([shard, shards[1]][:together], [5, 6][:together]).state(0)
    network, order = kind._network((1, 8, 8), 10, seed=5), torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(
        network.parameters(), kind.learning_rate, kind.momentum, weight_decay=kind.weight_decay, nesterov=True
    )
    images, labels, step = torch.tensor(shard.images) / 255, torch.tensor(shard.labels), 0
    for _ in range(kind.epochs):
        for batch in torch.randperm(23, generator=order).split(10):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch])
            (loss * (1 - step / (3 * kind.epochs))).backward()
            optimizer.step()
            step += 1
    for name, value in network.state_dict().items():
        assert torch.allclose(value, found[name], rtol=1e-3, atol=1e-4), name


def test_first_weights_come_from_the_seed() -> None:
    first, again, other = (CnnTeacher()._network((1, 8, 8), 10, seed=seed).state_dict() for seed in (7, 7, 8))
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])
