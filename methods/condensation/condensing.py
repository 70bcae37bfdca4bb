"""The one loop of all methods: decode a class's images, ask each term how to move them, step.

The published loops step inside the class loop with one SGD over the whole set S, so each class's gradient goes on acting through the
momentum while the other classes have their turn. Rows of other classes get no gradient, the encoder does not change during the sweep:
for one class, C class steps with momentum m are together one step

    v <- m^C v + g        S <- S - rate (1 - m^C) / (1 - m) v

(a geometric sum). So classes may be taken in any order, all at once, or on different machines, and the result is the same but for
the clamp, which here comes after the whole step and there before its tail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...platform.errors import RunFailed
from ...platform.training.run import Run
from .formation import decode
from .matching import Term

CHECKPOINT = "condensing"
CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 10


@dataclass(frozen=True)
class Steps:
    """How a gradient moves the images: SGD with momentum, of which `sweep` steps pass between two gradients of a class."""

    rate: float
    momentum: float
    sweep: int

    def move(self, images: Tensor, velocity: Tensor, gradient: Tensor) -> None:
        """Take the step in place; `velocity` is that after the sweep's first step."""
        kept = self.momentum**self.sweep
        velocity.mul_(kept).add_(gradient)
        images.sub_(velocity, alpha=self.rate * (1 - kept) / (1 - self.momentum))


@dataclass(frozen=True)
class Loop:
    """What does not change while condensing.

    Args:
        terms: what moves the images, in this order in each iteration.
        steps: how.
        factor, most: of the decoding: tiles along a side, and decoded images of a class at most (a random choice of them otherwise).
        iterations: how many.
        together: classes in one computation; 0: all.
        pixels: whether the stored images are pixels, which are kept in [0, 1]; otherwise network inputs (DM as published).
    """

    terms: Sequence[Term]
    steps: Steps
    factor: int
    most: int
    iterations: int
    together: int
    pixels: bool = True


def condense(
    run: Run, loop: Loop, start: Tensor, *, key: Mapping[str, Any],
    watch: Callable[[int, Tensor], None] | None = None, watch_every: int = 0,
) -> Tensor:  # fmt: skip
    """Return the condensed images (C, ipc, c, h, w), on the CPU, from `start` of the same shape.

    Every process of the run condenses its own classes. `key` (JSON) names what the result depends on: a checkpoint of something else is
    not taken over. `watch` is called with the number of iterations made and all images, every `watch_every` iterations before the last.

    Raises:
        RunFailed: a loss is not finite.
    """
    classes = list(range(len(start)))[run.world.rank :: run.world.size]
    images = start[classes].to(run.device)
    velocity, first = torch.zeros_like(images), 0
    state = run.restore(CHECKPOINT)
    if state is not None and state["key"] == dict(key):
        first = int(state["number"])
        images, velocity = (state[name][classes].to(run.device) for name in ("images", "velocity"))
        run.say(f"condensing: going on from iteration {first}")
    together = loop.together or len(classes) or 1
    kept_at = time.monotonic()
    with run.progress(loop.iterations, "condensing") as bar:
        bar.begin_at(first)
        since: list[dict[str, float]] = []
        for number in range(first, loop.iterations):
            since.append(_iterate(run, loop, images, velocity, classes, number, together))
            bar.advance()
            done = number + 1
            if watch is not None and watch_every and done % watch_every == 0 and done < loop.iterations:
                watch(done, _whole(run, images, start))
            if done % LOG_EVERY and done < loop.iterations:
                continue
            # Of a class, over the iterations since the last line: encoders differ, and under reuse they take turns.
            share = run.world.size / len(start) / len(since)
            means = run.mean({name: share * sum(sums[name] for sums in since) for name in since[0]})
            since.clear()
            _refuse_unless_finite(means, done)
            run.log({f"condensing/{name}": value for name, value in means.items()}, done)
            bar.advance(0, say=", ".join(f"{name} {value:.4g}" for name, value in means.items()))
            if run.agree(done == loop.iterations or time.monotonic() - kept_at >= CHECKPOINT_SECONDS):
                whole = {name: _whole(run, own, start) for name, own in (("images", images), ("velocity", velocity))}
                run.checkpoint({"key": dict(key), "number": done, **whole}, CHECKPOINT)
                kept_at = time.monotonic()
    return _whole(run, images, start)


def _iterate(
    run: Run, loop: Loop, images: Tensor, velocity: Tensor, classes: Sequence[int], number: int, together: int
) -> dict[str, float]:
    if loop.pixels:
        images.clamp_(0, 1)
    sums = dict.fromkeys((term.name for term in loop.terms), 0.0)
    for term in loop.terms:
        for begin in range(0, len(classes), together):
            here = slice(begin, begin + together)
            leaf = images[here].detach().clone().requires_grad_()
            decoded = [
                _chosen(decode(own, loop.factor), loop.most, run.seed_for("chosen", term.name, number, c))
                for own, c in zip(leaf, classes[here], strict=True)
            ]
            losses = term(decoded, classes[here], number)
            total = torch.stack(losses).sum()
            (gradient,) = torch.autograd.grad(total, leaf)
            loop.steps.move(images[here], velocity[here], gradient)
            sums[term.name] += float(total.detach())
    return sums


def _chosen(images: Tensor, most: int, seed: int) -> Tensor:
    """At most so many of the decoded images, at random."""
    if len(images) <= most:
        return images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:most]
    return images[order.to(images.device)]


def _whole(run: Run, own: Tensor, like: Tensor) -> Tensor:
    """All classes' rows, from those of each process."""
    whole = torch.empty_like(like)
    for rank, rows in enumerate(run.gather(own.cpu())):
        whole[rank :: run.world.size] = rows
    return whole


def _refuse_unless_finite(means: Mapping[str, float], done: int) -> None:
    wrong = [name for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        raise RunFailed(
            f"condensing: {', '.join(wrong)} is {means[wrong[0]]} at iteration {done}",
            why="the step size is too large for this loss, or the images hold values that are not finite",
            mend="lower method.learning_rate; it is meant for images, losses and networks of one scale",
        )
