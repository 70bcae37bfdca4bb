"""V0, the method as it is described, whose epsilon is not established; and the teacher alone, without any privacy.

The description (a secondary source; the publication's own proof could not be read): a teacher trained on all records; at each step a
batch of records is noised by the forward process, teacher and student estimate the clean images, a critic tells them apart, and the
gradient by the student's output is clipped and noised, the noise divided by the number of diffusion steps T. Taken at its word that
divides the noise multiplier by T. It is kept to be reproduced and measured, never to be relied on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.diffusion.networks import fresh
from ...platform.diffusion.sampling import centred
from ...platform.diffusion.sanitise import sanitised
from ...platform.errors import BadInput
from ...platform.privacy.noise import Noise, SystemNoise
from ...platform.privacy.statement import PrivacyStatement, uncovered
from ...platform.training.run import Run
from ..labelled import LabelledData
from .distilling import Opponent, Question, distil, refuse_coupled_student
from .made import Made, hash_of
from .settings import Settings
from .works import nonprivate_teacher


def described_deviation(clip: float, noise_multiplier: float, timesteps: int) -> float:
    """The noise on a number of a gradient: sigma C / T. A record moves the gradient by up to C at every one of T steps."""
    return noise_multiplier * clip / timesteps


def as_described(
    settings: Settings, data: LabelledData, run: Run, key: dict[str, Any], noise: Noise | None = None
) -> Made:
    """Reproduce the description."""
    records = records_of(data)
    assert settings.noise_multiplier is not None
    weights = _teacher(settings, data, records, run)
    teacher = fresh(settings.teacher, data.shape, data.classes, 0).to(run.device)
    teacher.load_state_dict(weights)
    teacher.eval().requires_grad_(False)
    student = fresh(settings.student, data.shape, data.classes, run.seed_for("student"))
    refuse_coupled_student(student, data.shape)
    schedule, drawn = settings.schedule, noise or SystemNoise()
    timesteps = schedule.steps if settings.dilution else 1
    deviation = described_deviation(settings.clip, settings.noise_multiplier, timesteps)

    def ask(batch: tuple[Tensor, Tensor]) -> Question:
        images, label = centred(batch[0]), batch[1]
        step = torch.randint(schedule.steps, (len(images),), device=images.device)
        noisy = schedule.noisy(images, step, torch.randn_like(images))
        with torch.no_grad():
            targets = schedule.clean(teacher(noisy, step, label), noisy, step)
        return Question(noisy, step, label, targets, images if settings.use_real else None)

    def sanitise(gradient: Tensor) -> Tensor:
        return sanitised(gradient, clip=settings.clip, deviation=deviation, noise=drawn, normalise=settings.normalise)

    loader = run.loader(
        (torch.from_numpy(records.images), torch.from_numpy(records.labels)),
        min(settings.distillation.batch_size, len(records)),
    )
    opponent = opponent_of(settings, data.shape, data.classes, run)
    learnt = distil(
        run, student, schedule, loader, ask, settings.distillation, opponent=opponent, name="student",
        inputs=key | {"teacher": hash_of(weights)}, sanitise=sanitise,
    )  # fmt: skip
    statement = statement_of(settings)
    return Made(settings.student, learnt, settings.rungs, statement, settings.teacher, weights)


def nonprivate(settings: Settings, data: LabelledData, run: Run, key: dict[str, Any]) -> Made:
    """The teacher, as the student: what all of this would give if nothing had to be protected."""
    weights = _teacher(settings, data, records_of(data), run)
    return Made(settings.teacher, weights, settings.rungs, statement_of(settings))


def _teacher(settings: Settings, data: LabelledData, records: ImageData, run: Run) -> dict[str, Tensor]:
    """The teacher's weights. They depend on the records and the seed: one that was trained for another student is found again."""
    return nonprivate_teacher(run, settings.teacher, settings.schedule, records, settings.training, data.identity)


def statement_of(settings: Settings) -> PrivacyStatement:
    """Infinite, and why."""
    return uncovered(settings.why_uncovered)


def opponent_of(settings: Settings, shape: tuple[int, int, int], classes: int, run: Run) -> Opponent | None:
    """The critic, unless the adversarial term is off."""
    if not settings.distillation.adversarial:
        return None
    return Opponent(settings.distillation, shape, classes, seed=run.seed_for("critic"), run=run)


def records_of(data: LabelledData) -> ImageData:
    """The records, which a run without a promise holds.

    Raises:
        BadInput: they are kept by their curator.
    """
    if data.train is None:
        raise BadInput("this mode looks at records", mend="use another method.mode, which asks their curator")
    return data.train
