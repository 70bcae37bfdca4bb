"""Settings that make no sense together are refused when they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
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

CONFIGS = Path(__file__).parents[4] / "configs"
JOINT_BATCH, TUNED_BATCH = 8, 12

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


def test_shipped_comparisons_give_every_method_as_many_pictures_through_the_network() -> None:
    """What has no stage 1 makes up for its steps from pixels, which see two clips of each video."""
    length = Clips().length

    def pictures(joint: int, tuned: int, frames: int = 0) -> int:
        return length * (joint * 2 * JOINT_BATCH + tuned * TUNED_BATCH) + frames * Finetuning().frames.batch_size

    def method(name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((CONFIGS / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
        return loaded

    whole, scratch = method("naco"), method("naco_scratch")["finetuning"]["training"]["steps"]
    joint, tuned = whole["pretraining"]["joint"], whole["finetuning"]["training"]
    assert (joint["batch_size"], tuned["batch_size"]) == (JOINT_BATCH, TUNED_BATCH)
    assert pictures(0, scratch) == pytest.approx(pictures(joint["steps"], tuned["steps"]), rel=0.03)
    for name in ("naco_frame", "naco_random"):
        assert method(name)["defaults"][0] == "naco_scratch" and "training" not in method(name).get("finetuning", {})
    for name in ("face_videos", "video_leave_one_out"):
        arms = yaml.safe_load((CONFIGS / "compare" / f"{name}.yaml").read_text(encoding="utf-8"))["arms"]
        found = {}
        for arm, told in arms.items():
            steps = dict(one.split("=", 1) for one in told["overrides"])
            keys = ("pretraining.joint", "finetuning.training", "finetuning.frames")
            found[arm] = pictures(*(int(steps.get(f"method.{key}.steps", 0)) for key in keys))
        assert max(found.values()) - min(found.values()) < length * TUNED_BATCH, found
