"""Settings of a detector small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.methods.recognition.naco.method import Naco
from stillhouse.methods.recognition.naco.settings import (
    Augmentation,
    Clips,
    Finetuning,
    Form,
    Judging,
    Pretraining,
    Training,
)
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

QUIET = Augmentation(flip=0.0, gain=0.05, shift=0.02, grey=0.0)
CLIPS = Clips(length=8, side=32, margin=0)
FORM = Form(width=16, layers=1, heads=2, hidden=32, dropout=0.0)


def training(
    steps: int, batch_size: int = 4, learning_rate: float = 2e-3, every: int = 1000, **options: Any
) -> Training:
    return Training(steps=steps, batch_size=batch_size, learning_rate=learning_rate, warm_up=2, every=every, **options)


def little(**options: Any) -> Naco:
    """A method of a few steps; options replace whole sections."""
    plain = Naco(
        clips=CLIPS, network=FORM,
        pretraining=Pretraining(joint=training(3), cached=training(4, batch_size=6), augmentation=QUIET),
        finetuning=Finetuning(training=training(4), augmentation=QUIET), judging=Judging(draws=100, timelines=2),
    )  # fmt: skip
    return replace(plain, **options)


def silent_run(folder: Path, seed: int = 0, **options: Any) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=Silent(), **options)
