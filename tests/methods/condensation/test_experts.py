"""Experts: made once, found by whoever needs the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.condensation import experts as module
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.encoders import fresh_network
from stillhouse.methods.condensation.experts import Expert, ExpertPool
from stillhouse.methods.condensation.recipe import Recipe
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.seeds import seed_for

POOL = ExpertPool(count=2, recipe=Recipe(steps=3, batch_size=16, augmentation=Augmentation("color_crop")), images=4)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits").private


@pytest.fixture
def piece(digits: ImageData, tmp_path: Path) -> Callable[..., Expert]:
    def of(**more: Any) -> Expert:
        settings = {"pool": POOL, "number": 0, "architecture": "convnet", "data": digits, "shared": tmp_path, **more}
        return Expert(standard=Standard.of(settings["data"]), **settings)

    return of


def test_an_expert_is_made_once_and_found_afterwards(
    piece: Callable[..., Expert], digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not piece().made()
    expert = piece().make(reporter=Silent())
    assert piece().made()
    assert not piece(number=1).made()
    first = fresh_network("convnet", digits.shape, 10, seed_for(0, "expert", 0)).state_dict()
    assert all(torch.equal(expert["first"][name], value) for name, value in first.items())
    assert not any(torch.equal(expert["trained"][name], first[name]) for name in ("head.weight", "blocks.0.weight"))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train_network", never)
    again = piece().make(reporter=Silent())
    for end in ("first", "trained"):
        assert all(torch.equal(again[end][name], value) for name, value in expert[end].items())


def test_two_runs_that_want_one_expert_at_once_make_it_once(
    piece: Callable[..., Expert], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, another = threading.Event(), threading.Event()
    trainings: list[str] = []
    real = module.train_network

    def spy(*given: Any, **named: Any) -> None:
        trainings.append(named["name"])
        if len(trainings) > 1:
            another.set()
        started.set()
        another.wait(1.0)  # time enough for the other run, if nothing stopped it
        real(*given, **named)

    monkeypatch.setattr(module, "train_network", spy)
    said: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    def late() -> Any:
        assert started.wait(60)
        return piece().make(reporter=Listener())

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(piece().make, reporter=Silent()), pool.submit(late)
        own, found = first.result(), second.result()
    assert trainings == ["expert-0"]
    assert [text.split(":")[0] for text in said] == ["expert 0", "expert"]  # waited for, then found
    for end in ("first", "trained"):
        assert all(torch.equal(found[end][name], value) for name, value in own[end].items())


def test_experts_differ_and_each_is_the_same_wherever_it_is_made(piece: Callable[..., Expert], tmp_path: Path) -> None:
    own, other, elsewhere = (
        p.make(reporter=Silent())["trained"]["head.weight"]
        for p in (piece(), piece(number=1), piece(shared=tmp_path / "elsewhere"))
    )
    assert torch.equal(own, elsewhere)
    assert not torch.equal(own, other)


def test_the_folder_follows_from_all_that_the_weights_depend_on(
    piece: Callable[..., Expert], digits: ImageData
) -> None:
    base = piece()
    changed = digits.images.copy()
    changed[5, 0, 0, 0] ^= 1
    others = [
        piece(data=replace(digits, images=changed)),
        piece(data=digits.take(np.arange(999))),
        piece(architecture="resnet10"),
        piece(pool=replace(POOL, images=None)),
        piece(pool=replace(POOL, recipe=replace(POOL.recipe, learning_rate=0.02))),
        piece(pool=replace(POOL, recipe=replace(POOL.recipe, augmentation=Augmentation("crop")))),
        replace(base, standard=Standard.constant(1)),
    ]
    digests = [each.digest() for each in (base, *others)]
    assert len(set(digests)) == len(digests)
    # Not on how many there are, nor on where they lie: a larger pool finds those of a smaller one.
    assert piece(pool=replace(POOL, count=9)).folder() == base.folder()
    assert piece(shared=base.shared / "x").digest() == base.digest()
    assert len({piece(number=n).folder() for n in range(3)}) == 3


@pytest.mark.parametrize("images", [4, None])
def test_experts_learn_from_the_first_images_of_each_class(
    images: int | None, piece: Callable[..., Expert], digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spy(run: Any, network: Any, images: torch.Tensor, labels: torch.Tensor, *_: Any, **__: Any) -> None:
        given.append((images, labels))

    monkeypatch.setattr(module, "train_network", spy)
    piece(pool=replace(POOL, images=images)).make(reporter=Silent())
    ((found, labels),) = given
    if images is None:
        assert np.array_equal(found.numpy(), digits.images)
        return
    assert labels.tolist() == np.repeat(np.arange(10), images).tolist()
    for c in range(10):
        assert np.array_equal(found[labels == c].numpy(), digits.images[digits.labels == c][:images])


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("images", 0), ("count", 1.5)])
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=name):
        ExpertPool(**{name: value})
