"""Settings so small that a whole run takes a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillhouse.methods.condensation.evaluation import Evaluation
from stillhouse.methods.condensation.recipe import Recipe
from stillhouse.methods.diffusion import DpSad
from stillhouse.methods.diffusion.distilling import Distillation
from stillhouse.methods.diffusion.judging import Judging
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.labelled import LabelledData
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion.denoising import Training
from stillhouse.platform.diffusion.discriminator import Critic
from stillhouse.platform.diffusion.networks import Network
from stillhouse.platform.diffusion.teacher import DiffusionTeacher
from stillhouse.platform.training.dpsgd import DpSgd

from .local_ensemble import LocalCurator, LocalEnsemble, few_digits

TEACHER = DiffusionTeacher(hidden=16, steps=8, batch_size=16, critic_width=16)
JUDGING = Judging(
    images=40, evaluation=Evaluation(repeats=1, recipe=Recipe(steps=2)), proxy=Recipe(steps=2, cutmix=0.0), audit=30
)
DELTA = 1e-4


def method(mode: str | Mode = Mode.RELEASED_TARGETS, **changes: Any) -> DpSad:
    """DP-SAD with tiny parts."""
    # Where teachers are asked for gradients, critics are theirs.
    critic = Critic() if mode in (Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD) else Critic(width=16)
    described = {"noise_multiplier": 1.0, "acknowledge_no_guarantee": True} if mode == Mode.AS_DESCRIBED else {}
    parts = {
        "mode": str(mode), "student": Network(hidden=16), "teacher": Network(hidden=16), "queries": 25, "teachers": 3,
        "training": Training(steps=8, batch_size=16), "draws": 2, "teacher_images": 40, "judging": JUDGING,
        "distillation": Distillation(steps=6, batch_size=10, critic=critic),
        "dpsgd": DpSgd(batch_size=20, steps=4, learning_rate=1e-3, adaptive=True, physical_batch=32),
    }  # fmt: skip
    return DpSad(**(parts | described | changes))  # type: ignore[arg-type]


def ensemble(teachers: int = 3, **changes: Any) -> LocalEnsemble:
    """Teachers of ten digits each."""
    settings = DiffusionTeacher(**(TEACHER.to_json() | changes))
    return LocalEnsemble.trained(settings, [few_digits(10, start=10 * k) for k in range(teachers)])


def labelled_data(records: int = 60, *, private: bool, epsilon: float = 10.0) -> tuple[LabelledData, LocalCurator]:
    """Digits, in the hands of a curator where they are private."""
    train = few_digits(records)
    test: ImageData = load("digits").score.take(range(60))
    curator = LocalCurator(train)
    data = LabelledData(
        train=None if private else train, test=test, protocol="", identity=f"digits-{records}", shared=Path(),
        epsilon=epsilon, delta=DELTA, curator=curator if private else None,
    )  # fmt: skip
    return data, curator
