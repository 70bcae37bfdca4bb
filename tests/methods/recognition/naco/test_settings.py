"""Settings that make no sense together are refused when they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stillhouse.methods.recognition.naco.settings import (
    Augmentation,
    Clips,
    Finetuning,
    Form,
    Judging,
    NacoSettings,
    Pretraining,
    Spatial,
    Temporal,
    Training,
)
from stillhouse.platform.errors import BadInput

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Clips(length=3), "no order to shuffle"),
    (lambda: Clips(side=16), "32 or more"),
    (lambda: Clips(margin=-1), "whole number of pixels"),
    (lambda: Form(backbone="vgg"), "use one of thin"),
    (lambda: Form(width=30, heads=4), "multiple of 4"),
    (lambda: Form(dropout=1.0), "share"),
    (lambda: Form(weights="file"), "no ImageNet weights"),
    (lambda: Form(backbone="resnet18", norm="group"), "thin backbone"),
    (lambda: Form(temporal=False, head_bypass=False), "sees nothing"),
    (lambda: Augmentation(flip=1.5), "from 0 to 1"),
    (lambda: Training(steps=-1), "from 0 up"),
    (lambda: Training(batch_size=0), "batch_size"),
    (lambda: Spatial(ratio=1.0), "masked and visible"),
    (lambda: Spatial(target="pixels"), "use one of deviation"),
    (lambda: Temporal(loss="softmax"), "use one of triplet"),
    (lambda: Temporal(negatives=0), "negatives"),
    (lambda: Pretraining(spatial=Spatial(weight=0.0), temporal=Temporal(weight=0.0)), "without either module"),
    (lambda: Finetuning(training=Training(batch_size=3)), "even one"),
    (lambda: Finetuning(mode="head", aux_ssl=1.0), "head alone"),
    (lambda: Finetuning(fakes="mine"), "use one of given"),
    (lambda: Judging(levels=(0,)), "1 to 5"),
    (lambda: Judging(perturbations=("XX",)), "no perturbation is called"),
    (lambda: NacoSettings(network=Form(temporal=False)), "no representation to pretrain"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()


def test_all_perturbations_by_one_word_and_each_once() -> None:
    assert len(Judging(perturbations=("all",)).kinds) == 7
    assert Judging(perturbations=("CC", "GB", "CC")).kinds == ("CC", "GB")
