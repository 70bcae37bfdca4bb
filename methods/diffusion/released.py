"""V4, released targets: the teachers' mean estimate of the clean image is bought once for each of M inputs, and all else is free.

The cost is that of M Gaussian releases, however long the student, its critic and its average are trained on what was bought. It is
bought in rounds, one for each rung of the student's own chain, from pure noise down: the inputs of a round are where the student, as it
is by then, gets to from noise. So they follow from noise and earlier releases alone, and the student learns the teachers' answers just
where its own chain will ask for them.

From the second round on, the teachers' estimates are clipped about the student's own, which were released before: what is left to say
is short, so C can be small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...platform.diffusion.networks import Denoiser, fresh
from ...platform.diffusion.sampling import descend
from ...platform.diffusion.schedule import Schedule
from ...platform.diffusion.teacher import TARGETS as TASK
from ...platform.diffusion.teacher import DiffusionTeacher
from ...platform.errors import BadInput
from ...platform.privacy.vector_mean import VectorMean
from ...platform.training.run import Run
from ..transfer import BudgetTerms, TransferData
from .distilling import Opponent, Question, distil, refuse_coupled_student
from .made import Made
from .oracle import VectorEnsemble
from .plan import TARGETS, Named, Plan, make_plan, refuse_unless_affordable, vector_events
from .settings import Settings

# Rows in one question: an answer travels whole.
AT_ONCE = 256
DIFFUSION = "diffusion"  # the kind of teacher that the settings of `DiffusionTeacher` belong to


def released_targets(settings: Settings, data: TransferData, terms: BudgetTerms, run: Run, key: dict[str, Any]) -> Made:
    """Plan, buy, and teach the student, round by round.

    Raises:
        BudgetExhausted: the whole plan does not fit, into the target or into what is left; nothing was spent. Where the silos are
            elsewhere only the first is seen beforehand (`refuse_unless_affordable`).
    """
    teachers, width = teachers_of(data, run, key), math.prod(data.score.shape)

    def events(multiplier: float) -> list[Named]:
        mechanism = VectorMean(settings.clip, multiplier)
        return vector_events(TARGETS, mechanism, rows=settings.queries, width=width, teachers=teachers)

    plan = make_plan(events, terms, epsilon=data.epsilon, delta=data.delta, noise_multiplier=settings.noise_multiplier)
    refuse_unless_affordable(plan, data, run, key)
    shape, classes = data.score.shape, data.classes
    student = fresh(settings.student, shape, classes, run.seed_for("student")).to(run.device)
    refuse_coupled_student(student, shape)
    blur = 2 * settings.clip * plan.noise_multiplier / teachers
    bought: list[Mapping[str, Tensor]] = []
    weights: dict[str, Tensor] = {}
    for number, step in enumerate(settings.schedule.ladder(settings.rungs)):
        asked = key | {"round": number, "noise_multiplier": plan.noise_multiplier}

        def buy(number: int = number, step: int = step) -> dict[str, Tensor]:
            return _buy(settings, plan, data, run, student, number, step)

        bought.append(run.stage(f"targets-{number}", buy, inputs=asked, once=True))
        weights = _teach(settings, data, run, student, bought, blur, number, asked)
        student.load_state_dict(weights)
    note = (
        f"{settings.queries} targets from {teachers} teachers: noise of {blur:.3g} on every pixel of a target (images are "
        f"in [-1, 1]), sigma {plan.noise_multiplier:.4g} in units of the sensitivity"
    )
    return Made(settings.student, weights, settings.rungs, plan.statement(data.delta), notes=(note,))


def vectors_of(data: TransferData) -> VectorEnsemble:
    """The teachers, if they answer with vectors.

    Raises:
        BadInput: they do not.
    """
    if not hasattr(data.ensemble, "ask_vectors"):
        raise _labels_only()
    ensemble: Any = data.ensemble
    found: VectorEnsemble = ensemble
    return found


def _labels_only() -> BadInput:
    return BadInput("these teachers answer with labels only", mend="use silos=diffusion")


def refuse_other_teachers(schedule: Schedule, data: TransferData) -> None:
    """See, before anything is asked, whether these teachers can answer, where it is known here what they are: they give vectors, and
    mix the same noise in at the same steps.

    Where the silos are elsewhere each of them looks itself (`platform.diffusion.teacher.OtherSchedule`).

    Raises:
        BadInput: they only vote, or have another schedule.
    """
    if not data.teacher:
        return
    told = dict(data.teacher)
    if told.pop("name", None) != DIFFUSION:
        raise _labels_only()
    theirs = DiffusionTeacher(**told).schedule
    if not schedule.same_levels(theirs):
        mine, other = (f"{s.steps} steps with beta from {s.beta_start:g} to {s.beta_end:g}" for s in (schedule, theirs))
        raise BadInput(
            f"the student's schedule has {mine}, the silos' teachers have {other}",
            why="a teacher would take noise for image, or image for noise",
            mend="set method.schedule.steps and silos.teacher.timesteps alike, and both beta_end",
        )


def teachers_of(data: TransferData, run: Run, key: dict[str, Any]) -> int:
    """How many teachers there are, kept: where every answer is found in the run's folder, nobody is there to be counted."""
    return int(run.stage("teachers", lambda: vectors_of(data).teachers, inputs=key, once=True))


def _buy(
    settings: Settings, plan: Plan, data: TransferData, run: Run, student: Denoiser, number: int, step: int
) -> dict[str, Tensor]:
    """Inputs of a round and their noisy targets."""
    shape, schedule = data.score.shape, settings.schedule
    share, rest = divmod(settings.queries, settings.rungs)
    count = share + (number < rest)
    # Classes in turn, and on from where the last round stopped: uniform, without a look at anyone's histogram.
    label = (torch.arange(count) + number * share + min(number, rest)) % data.classes
    noise = torch.randn(count, *shape, generator=run.generator)
    student.eval()
    with torch.no_grad():
        noisy = descend(
            student, schedule, noise.to(run.device), label.to(run.device), rungs=settings.rungs, down_to=number
        ).cpu()
        steps = torch.full((count,), step)
        centre = torch.full_like(noisy, settings.centre)
        if number and settings.recentre:
            centre = estimates(settings, student, noisy, steps, label, run.device)
    targets = []
    for part in torch.arange(count).split(AT_ONCE):
        inputs = {
            "x": noisy[part].numpy(), "step": steps[part].numpy(), "label": label[part].numpy(),
            "signal": schedule.signal(steps[part]).numpy(),
        }  # fmt: skip
        answer = vectors_of(data).ask_vectors(
            TASK, inputs, clip=settings.clip, noise_multiplier=plan.noise_multiplier,
            centre=np.ascontiguousarray(centre[part].flatten(1).numpy()), draw="all", run=run,
        )  # fmt: skip
        targets.append(torch.from_numpy(np.array(answer, np.float32)).view(-1, *shape))
    return {"noisy": noisy, "step": steps, "label": label, "targets": torch.cat(targets)}


def estimates(
    settings: Settings, student: Denoiser, noisy: Tensor, step: Tensor, label: Tensor, device: torch.device
) -> Tensor:
    """The student's own estimates of the clean images, on the CPU."""
    parts = []
    for x, r, y in zip(noisy.split(AT_ONCE), step.split(AT_ONCE), label.split(AT_ONCE), strict=True):
        x, r, y = x.to(device), r.to(device), y.to(device)
        parts.append(settings.schedule.clean(student(x, r, y), x, r).cpu())
    return torch.cat(parts)


def _teach(
    settings: Settings, data: TransferData, run: Run, student: Denoiser, bought: list[Mapping[str, Tensor]],
    blur: float, number: int, key: dict[str, Any],
) -> dict[str, Tensor]:  # fmt: skip
    """Train on all that was bought so far; nothing in here costs anything."""
    distillation = settings.distillation
    names = ("noisy", "step", "label", "targets")
    tensors = tuple(torch.cat([part[name] for part in bought]) for name in names)
    loader = run.loader(tensors, min(distillation.batch_size, len(tensors[0])))
    opponent = None
    if distillation.adversarial:
        opponent = Opponent(distillation, data.score.shape, data.classes, seed=run.seed_for("critic", number), run=run)
    return distil(
        run, student, settings.schedule, loader, lambda batch: Question(*batch), distillation, opponent=opponent,
        name=f"student-{number}", inputs=key, blur=blur,
    )  # fmt: skip
