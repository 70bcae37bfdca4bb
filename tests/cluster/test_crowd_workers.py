"""Learning from a crowd on two Ray Train workers: what one process ends with, up to the order of sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.train import fit
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone
from stillhouse.methods.noisy_labels.crowd.method import NoisyCrowd
from stillhouse.platform.data.crowd import CrowdAnswers, CrowdData
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

ITEMS, PEOPLE, CLASSES = 96, 8, 3


def crowd() -> CrowdData:
    """Points about three centres; one to three answers an item, so that workers have unlike numbers of them."""
    draw = np.random.default_rng(0)
    truth, test = draw.integers(0, CLASSES, ITEMS), draw.integers(0, CLASSES, 60)
    centres = 2 * np.eye(CLASSES)
    inputs, seen = (
        (centres[labels] + 0.5 * draw.normal(size=(len(labels), CLASSES))).astype(np.float32)
        for labels in (truth, test)
    )
    about = np.arange(ITEMS).repeat(1 + np.arange(ITEMS) % 3)
    people = np.concatenate([draw.permutation(PEOPLE)[: 1 + n % 3] for n in range(ITEMS)])
    said = np.where(draw.random(len(about)) < 0.75, truth[about], draw.integers(0, CLASSES, len(about)))
    return CrowdData(
        inputs=inputs, truth=truth, test_inputs=seen, test_labels=test,
        answers=CrowdAnswers(about, people, said, ITEMS, PEOPLE, CLASSES),
        item_names=tuple(f"item {n}" for n in range(ITEMS)), annotator_names=tuple(f"person {r}" for r in range(PEOPLE)),
        class_names=("a", "b", "c"), name="small", protocol="made for a test",
    )  # fmt: skip


@pytest.mark.slow
def test_two_workers_end_where_one_process_does(tmp_path: Path) -> None:
    data = crowd()
    with ray_session(num_cpus=2):
        for algorithm, virtual in (("ccc", "whole"), ("conal", "whole")):
            method = NoisyCrowd(
                algorithm=algorithm, virtual_step=virtual, backbone=Backbone(hidden=8, dropout=0.0), warm_up=1, epochs=2,
                batch_size=16, learning_rate=0.05, milestones=(), confusion_rate=10.0, meta_batch=12, meta_size=30, groups=2,
                report_groups=2, smallest_group=2,
            )  # fmt: skip
            alone = execute(method, data, LocalRun(tmp_path / algorithm / "alone", seed=3, reporter=Silent()))
            both = fit(method, data, folder=tmp_path / algorithm / "both", seed=3, workers=2, reporter=Silent())
            assert both.metrics["student_accuracy"] == alone.metrics["student_accuracy"]
            assert both.metrics["confusion_error"].value == pytest.approx(
                alone.metrics["confusion_error"].value, abs=1e-4
            )
            weights = [load_file(tmp_path / algorithm / name / "student.safetensors") for name in ("alone", "both")]
            for name, value in weights[0].items():
                assert torch.allclose(weights[1][name], value, atol=1e-4), (algorithm, name)
