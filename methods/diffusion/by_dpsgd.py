"""V1 and the DP teacher: a denoiser trained by DP-SGD is released as it is, or teaches a small student.

Everything that the second one's distillation sees comes from the DP teacher: its samples, its estimates, noise. No record enters, so
losses are not clipped and the critic is not protected, and the student costs what the teacher cost.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...platform.diffusion.networks import Denoiser, Network, fresh
from ...platform.diffusion.sampling import sample
from ...platform.errors import BadInput
from ...platform.training.run import Run
from ..labelled import LabelledData
from ..private import PrivateWork
from ..transfer import BudgetTerms
from .described import opponent_of
from .distilling import Question, distil, refuse_coupled_student
from .made import Made, hash_of
from .modes import Mode
from .plan import Named, Plan, make_plan
from .settings import Settings
from .works import PrivateDenoiser, PrivateHistogram, shares


def released_by_dpsgd(
    settings: Settings, data: LabelledData, terms: BudgetTerms, run: Run, key: dict[str, Any]
) -> Made:
    """Plan, charge, train the denoiser; the student follows from it without further cost.

    Raises:
        BudgetExhausted: the plan does not fit; nothing was spent.
    """
    curator = data.curator
    if curator is None:
        raise BadInput("DP-SGD needs all records in one place, with a curator who charges")
    network = settings.student if settings.which is Mode.DPSGD_STUDENT else settings.teacher
    histogram = PrivateHistogram(settings.histogram_sigma) if settings.labels == "histogram" else None

    def events(multiplier: float) -> list[Named]:
        named: list[Named] = [("denoiser by DP-SGD", settings.dpsgd.event(curator.records, multiplier))]
        return [*named, *(histogram.events(curator.records) if histogram else [])]

    plan = make_plan(events, terms, epsilon=data.epsilon, delta=data.delta, noise_multiplier=settings.noise_multiplier)
    work = PrivateDenoiser(network, settings.schedule, settings.dpsgd, settings.draws, plan.noise_multiplier)
    works: list[PrivateWork] = [work, *([histogram] if histogram else [])]
    question = key | {"noise_multiplier": plan.noise_multiplier, "network": asdict(network)}
    work.refuse_unless_trainable(data.shape, data.classes)
    found = run.stage("releases", partial(_release, works, plan, data, run), inputs=question, once=True)
    label_shares = shares(found[1]) if histogram else None
    statement = plan.statement(data.delta)
    note = (
        f"DP-SGD with noise multiplier {plan.noise_multiplier:.4g}, {settings.draws} draws of the loss within the clip"
    )
    if settings.which is Mode.DPSGD_STUDENT:
        return Made(network, found[0], settings.rungs, statement, label_shares=label_shares, notes=(note,))
    student = _taught(settings, data, run, network, found[0], question)
    return Made(settings.student, student, settings.rungs, statement, network, found[0], label_shares, (note,))


def _release(works: list[PrivateWork], plan: Plan, data: LabelledData, run: Run) -> list[Any]:
    assert data.curator is not None
    data.curator.refuse_unless_affordable(
        plan.events, mend="raise the budget with `stillhouse ledger grant`, or method.noise_multiplier"
    )
    return [data.curator.release(work, run) for work in works]


def _taught(
    settings: Settings, data: LabelledData, run: Run, network: Network, weights: dict[str, Tensor], key: dict[str, Any]
) -> dict[str, Tensor]:
    """The student of a DP teacher."""
    teacher: Denoiser = fresh(network, data.shape, data.classes, 0).to(run.device)
    teacher.load_state_dict(weights)
    teacher.eval().requires_grad_(False)
    schedule, distillation = settings.schedule, settings.distillation
    label = torch.arange(settings.teacher_images) % data.classes
    asked = key | {"teacher": hash_of(weights)}

    def drawn() -> Tensor:
        return sample(
            teacher, schedule, label, data.shape, rungs=settings.rungs, generator=run.generator, device=run.device
        )

    images = run.stage("teacher-images", drawn, inputs=asked, once=True)
    student = fresh(settings.student, data.shape, data.classes, run.seed_for("student"))
    refuse_coupled_student(student, data.shape)

    def ask(batch: tuple[Tensor, Tensor]) -> Question:
        step = torch.randint(schedule.steps, (len(batch[0]),), device=batch[0].device)
        noisy = schedule.noisy(batch[0], step, torch.randn_like(batch[0]))
        with torch.no_grad():
            targets = schedule.clean(teacher(noisy, step, batch[1]), noisy, step)
        return Question(noisy, step, batch[1], targets)

    loader = run.loader((images, label), min(distillation.batch_size, len(images)))
    return distil(
        run, student, schedule, loader, ask, distillation,
        opponent=opponent_of(settings, data.shape, data.classes, run), name="student", inputs=asked,
    )  # fmt: skip
