"""V2 and V3: the teachers are asked for the gradient of their loss by the student's images, at every step of its training.

Inputs are states of the student's own chain, from noise: they follow from earlier answers alone, and so does the Jacobian that a
sanitised gradient is pulled back through. Nothing else of the teachers reaches the student: no loss is logged, no rate follows one.

The whole training is one process's: a second one would ask, and pay, again. A training that is killed goes on from its checkpoint; the
steps since then are asked again with the same bits, and answered from the aggregator's store.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...platform.diffusion.average import Average
from ...platform.diffusion.networks import fresh
from ...platform.diffusion.sampling import descend
from ...platform.diffusion.sanitise import surrogate
from ...platform.diffusion.teacher import DIRECTIONS
from ...platform.diffusion.teacher import GRADIENTS as TASK
from ...platform.privacy.vector_mean import ALL, ONE, VectorMean
from ...platform.training.loop import train
from ...platform.training.run import Run
from ..condensation.evaluation import by_itself
from ..transfer import BudgetTerms, TransferData
from .distilling import refuse_coupled_student
from .made import Made
from .modes import Mode
from .oracle import Draw
from .plan import GRADIENTS, ONE_GRADIENT, Named, make_plan, refuse_unless_affordable, vector_events
from .released import teachers_of, vectors_of
from .settings import Settings


def gradient_events(settings: Settings, multiplier: float, *, width: int, teachers: int) -> list[Named]:
    """What a whole training charges."""
    one = settings.which is Mode.SHARDED_OUTPUT_GRAD
    mechanism = VectorMean(bound_of(settings), multiplier, ONE if one else ALL)
    distillation = settings.distillation
    return vector_events(
        ONE_GRADIENT if one else GRADIENTS, mechanism, rows=distillation.batch_size, width=width, teachers=teachers,
        times=distillation.steps,
    )  # fmt: skip


def bound_of(settings: Settings) -> float:
    """What the aggregator holds a row's length to: C, or 1 where directions are asked for."""
    return 1.0 if settings.normalise else settings.clip


def taught_by_gradients(
    settings: Settings, data: TransferData, terms: BudgetTerms, run: Run, key: dict[str, Any]
) -> Made:
    """Plan, then train the student; every step is charged before its answer is drawn.

    Raises:
        BudgetExhausted: the plan does not fit, into the target or into what is left; nothing was spent. Where the silos are elsewhere
            only the first is seen beforehand (`refuse_unless_affordable`).
    """
    teachers, width = teachers_of(data, run, key), math.prod(data.score.shape)
    plan = make_plan(
        lambda multiplier: gradient_events(settings, multiplier, width=width, teachers=teachers), terms,
        epsilon=data.epsilon, delta=data.delta, noise_multiplier=settings.noise_multiplier,
    )  # fmt: skip
    refuse_unless_affordable(plan, data, run, key)
    refuse_coupled_student(fresh(settings.student, data.score.shape, data.classes, 0), data.score.shape)
    asked = key | {"noise_multiplier": plan.noise_multiplier, "teachers": teachers}
    weights = run.stage(
        "student", lambda: _trained(settings, data, run, plan.noise_multiplier, asked), inputs=asked, once=True
    )
    most = "" if settings.normalise else " at most"
    over = 1 if settings.which is Mode.SHARDED_OUTPUT_GRAD else teachers
    note = (
        f"each step asks for {settings.distillation.batch_size} gradients of length {settings.clip:g}{most}, with noise of "
        f"{2 * settings.clip * plan.noise_multiplier / over:.3g} on every number of them"
    )
    return Made(settings.student, weights, settings.rungs, plan.statement(data.delta), notes=(note,))


def _trained(
    settings: Settings, data: TransferData, run: Run, noise_multiplier: float, key: dict[str, Any]
) -> dict[str, Tensor]:
    distillation, schedule, shape = settings.distillation, settings.schedule, data.score.shape
    alone = by_itself(run, "student")
    student = fresh(settings.student, shape, data.classes, run.seed_for("student")).to(run.device)
    ladder = schedule.ladder(settings.rungs)
    draw: Draw = ONE if settings.which is Mode.SHARDED_OUTPUT_GRAD else ALL
    ensemble = vectors_of(data)

    def loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
        label = batch[0] % data.classes
        rung = int(torch.randint(settings.rungs, (1,)))
        noise = torch.randn(len(label), *shape).to(run.device)
        noisy = descend(model, schedule, noise, label, rungs=settings.rungs, down_to=rung)
        step = torch.full_like(label, ladder[rung])
        output = schedule.clean(model(noisy, step, label), noisy, step, clamp=False).float()
        # Its images are single precision as well: numpy has no bfloat16.
        inputs = {"x": noisy.float(), "step": step, "label": label, "student": output.detach()}
        inputs["signal"] = schedule.signal(step)
        answer = ensemble.ask_vectors(
            DIRECTIONS if settings.normalise else TASK, {name: value.cpu().numpy() for name, value in inputs.items()},
            clip=bound_of(settings),
            noise_multiplier=noise_multiplier, centre=None, draw=draw, run=alone,
        )  # fmt: skip
        scale = settings.clip / bound_of(settings)
        return surrogate(output, scale * torch.from_numpy(np.array(answer, np.float32)))

    optimizer = torch.optim.Adam(student.parameters(), distillation.learning_rate)
    average = Average(student, distillation.averaging)
    # A row's number is its label, in turn: every batch is of the size that was charged for.
    loader = alone.loader(
        torch.arange(distillation.steps * distillation.batch_size), distillation.batch_size, shuffle=False
    )
    train(
        alone, student, loss, loader, optimizer, epochs=1, name="student",
        after_step=lambda step: average.update(), extras={"average": average},
        inputs={"schedule": asdict(schedule), "of": key}, checkpoint_seconds=20.0, check_every=20,
    )  # fmt: skip
    return average.weights
