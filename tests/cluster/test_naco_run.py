"""NACO through the cluster: a run from its configuration to the report, and two workers that end where one process does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import run, summary
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.train import fit
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
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from support.few_videos import few_videos

TINY = [
    "method=naco", "data=procedural_videos", "data.side=38", "data.frames=12", "data.train_people=3",
    "data.validation_people=2", "data.test_people=2", "data.forging.families=[SBI]", "data.forging.held_out=[HOLD]",
    "method.clips.length=8", "method.clips.side=32", "method.network.width=16", "method.network.layers=1",
    "method.network.heads=2", "method.network.hidden=32", "method.pretraining.joint.steps=2",
    "method.pretraining.joint.batch_size=2", "method.pretraining.cached.steps=2", "method.pretraining.cached.batch_size=4",
    "method.finetuning.training.steps=2", "method.finetuning.training.batch_size=4", "method.judging.draws=50",
    "method.judging.timelines=1",
]  # fmt: skip


@pytest.mark.slow
def test_a_run_goes_from_its_configuration_to_the_report(tmp_path: Path) -> None:
    with ray_session(num_cpus=1):
        finished = run(compose([*TINY, f"root={tmp_path}", "name=tiny", "cluster.num_cpus=1"]))
    assert finished.outcome.method == "naco" and "held_out_auc" in finished.outcome.metrics
    told = summary(finished)
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    for words in ("Families", "timelines", "HOLD", "frame difference"):
        assert words in page, words
    assert told["method"] == "naco"
    assert (finished.folder / "card.json").exists()


def method(mode: str) -> Naco:
    """Group norms, no dropout, no augmentation: then two halves of a batch are one batch, up to the order of sums."""
    still = Augmentation(flip=0.0, gain=0.0, shift=0.0, grey=0.0)

    def training(steps: int) -> Training:
        return Training(steps=steps, batch_size=8, learning_rate=1e-3, warm_up=1, every=steps)

    return Naco(
        clips=Clips(length=8, side=32, margin=0),
        network=Form(
            width=16, layers=1, heads=2, hidden=32, dropout=0.0, head_dropout=0.0, norm="group", token_scale="none"
        ),
        pretraining=Pretraining(joint=replace(training(3), steps=0), cached=training(3), augmentation=still, views=1),
        finetuning=Finetuning(mode=mode, training=training(4), augmentation=still, keep="last"),
        judging=Judging(draws=50, timelines=0),
    )  # fmt: skip


@pytest.mark.slow
def test_two_workers_learn_together(tmp_path: Path) -> None:
    """Stage 2 from the same weights: one process and two end alike. Stage 1 draws masks on each process, so it is only run."""
    data = few_videos()
    alone = method("full")
    alone = replace(alone, pretraining=replace(alone.pretraining, cached=replace(alone.pretraining.cached, steps=0)))
    first = execute(alone, data, LocalRun(tmp_path / "one", seed=3, reporter=Silent()))
    with ray_session(num_cpus=2):
        both = fit(alone, data, folder=tmp_path / "two", seed=3, workers=2, reporter=Silent())
        whole = replace(
            method("full"), pretraining=replace(method("full").pretraining, joint=alone.finetuning.training)
        )
        ended = fit(whole, data, folder=tmp_path / "whole", seed=3, workers=2, reporter=Silent())
    assert both.metrics["seen_auc"].value == pytest.approx(first.metrics["seen_auc"].value, abs=0.1)
    one, two = (load_file(tmp_path / name / "detector.safetensors") for name in ("one", "two"))
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=2e-4), name
    assert {"spm_r2", "shuffled_farther", "held_out_auc"} <= set(ended.metrics)
