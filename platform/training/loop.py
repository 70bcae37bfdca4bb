"""The one training loop that all methods share.

    result = train(run, model, loss_fn, run.loader((images, labels), 128), optimizer, epochs=20, name="student")

`loss_fn(model, batch)` gives the loss, or a dict with "loss" and whatever else shall be logged. The loop brings batches
to the run's device, spreads the model over the run's processes, clips, steps, logs, and keeps checkpoints that hold
everything the rest depends on: weights, optimizer, scheduler, the position in the epoch and all generators. A run
killed at any moment and started again ends with the same bits on the same CPU and thread count; on several processes
that use dropout the masks after a restart are other ones.

The training draws from streams of its own (see `seeds`): it makes no difference to the rest of the run whether it was
trained now or found finished.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader

from ..errors import BadInput, RunFailed
from .files import canonical_json
from .precision import Precision, autocast, check_precision
from .progress import Bar
from .run import Run
from .seeds import restarted, seeded
from .step_time import StepTime

# Of what is kept: a checkpoint of another form is not read.
FORMAT = 2

LossFn = Callable[[torch.nn.Module, Any], torch.Tensor | Mapping[str, torch.Tensor]]


class Stateful(Protocol):
    """Anything with a state to keep: a scheduler, an average of weights, a second optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state over."""


@dataclass(frozen=True)
class Trained:
    """How a training ended: steps in all, mean of each logged quantity over the last epoch, step it was resumed at."""

    steps: int
    means: Mapping[str, float]
    resumed_at: int | None = None

    @property
    def loss(self) -> float:
        """Mean loss over the last epoch."""
        return self.means["loss"]


def train(
    run: Run,
    model: torch.nn.Module,
    loss_fn: LossFn,
    loader: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    name: str = "train",
    scheduler: Any = None,
    scheduler_every: Literal["step", "epoch"] = "epoch",
    clip_norm: float | None = None,
    precision: Precision | None = None,
    evaluate: Callable[[torch.nn.Module], Mapping[str, float]] | None = None,
    after_step: Callable[[int], None] | None = None,
    extras: Mapping[str, Stateful] | None = None,
    inputs: Any = None,
    checkpoint_seconds: float = 60.0,
    check_every: int = 100,
) -> Trained:
    """Train `model` in place.

    `evaluate` runs after each epoch and is logged; `after_step` after each step; `extras` are kept and restored with
    the rest. `inputs` (JSON) names what else the result depends on, such as a hash of the data: a checkpoint of other
    inputs, another seed, model, optimizer or number of epochs is not taken over. Whether a checkpoint is due
    (`checkpoint_seconds` since the last) is looked at every `check_every` steps and after each epoch. `precision` is that
    of the run, unless a training needs one of its own.
    """
    if epochs < 1 or check_every < 1 or len(loader) < 1:
        raise BadInput(f"training {name}: epochs, check_every and the number of batches must be at least 1")
    precision = check_precision(run.precision if precision is None else precision)
    prepared = run.prepare(model)
    parts: dict[str, Stateful] = {"optimizer": optimizer, **(extras or {})}
    if scheduler is not None:
        parts["scheduler"] = scheduler
    scaler = torch.amp.GradScaler(run.device.type, enabled=precision == "float16")
    parts["scaler"] = scaler
    key = _fingerprint(model, optimizer, loader, epochs, precision, clip_norm, [FORMAT, run.seed, inputs])
    position = _Position()

    own_seed = run.seed_for("train", name)
    with seeded(run.seed_for("train", name, run.world.rank)), restarted(run.generator, own_seed):
        resumed_at = _restore(run, name, key, model, parts, position)
        last_kept = time.monotonic()
        if position.epoch == epochs:
            run.reused.append(name)
            run.say(f"{name}: found trained from an earlier start")
            return Trained(position.step, run.mean(position.means()), resumed_at)
        with run.progress(epochs * len(loader), name) as bar:
            bar.begin_at(position.step)
            timer = StepTime(workers=run.world.size)
            while position.epoch < epochs:
                prepared.train()
                for batch in _batches(run, loader, position):
                    optimizer.zero_grad(set_to_none=True)
                    with autocast(run.device, precision):
                        losses = loss_fn(prepared, _to(batch, run.device))
                    losses = {"loss": losses} if isinstance(losses, torch.Tensor) else losses
                    scaler.scale(losses["loss"]).backward()
                    if clip_norm is not None:
                        scaler.unscale_(optimizer)
                        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                    scaler.step(optimizer)
                    scaler.update()
                    if scheduler is not None and scheduler_every == "step":
                        scheduler.step()
                    position.count(losses)
                    if after_step is not None:
                        after_step(position.step)
                    timer.count(batch)
                    bar.advance()
                    if position.batch % check_every == 0 and position.batch < len(loader):
                        _report(run, name, position, bar, timer)
                        if run.agree(time.monotonic() - last_kept >= checkpoint_seconds):
                            _keep(run, name, key, model, parts, position)
                            last_kept = time.monotonic()
                            timer.restart()
                if scheduler is not None and scheduler_every == "epoch":
                    scheduler.step()
                _report(run, name, position, bar, timer)
                if evaluate is not None:
                    model.eval()
                    with torch.no_grad():
                        scores = evaluate(model)
                    run.log({f"{name}/{k}": v for k, v in scores.items()}, position.step)
                position.end_epoch()
                if run.agree(position.epoch == epochs or time.monotonic() - last_kept >= checkpoint_seconds):
                    _keep(run, name, key, model, parts, position)
                    last_kept = time.monotonic()
                timer.restart()
    return Trained(position.step, run.mean(position.means()), resumed_at)


class _Position:
    """Where the training stands, and the sums behind the means it reports."""

    def __init__(self) -> None:
        self.epoch = self.batch = self.step = 0
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self.epoch_generator: torch.Tensor | None = None
        self.generators: dict[str, torch.Tensor] | None = None

    def count(self, losses: Mapping[str, torch.Tensor]) -> None:
        if self.batch == 0:
            self.sums, self.counts = {}, {}
        self.batch += 1
        self.step += 1
        for name, value in losses.items():
            # Summed on the device: reading each step's loss would make a GPU wait.
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def end_epoch(self) -> None:
        self.epoch += 1
        self.batch = 0
        self.epoch_generator = None

    def means(self) -> dict[str, float]:
        """Over the steps that told a quantity: a term may join after some."""
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}


def _batches(run: Run, loader: DataLoader[Any], position: _Position) -> Iterable[Any]:
    """The rest of the epoch: the order is drawn again from where the generator stood when the epoch began."""
    if position.epoch_generator is not None:
        run.generator.set_state(position.epoch_generator)
    position.epoch_generator = run.generator.get_state()
    batches = iter(loader)
    for _ in islice(batches, position.batch):
        pass
    if position.generators is not None:
        _set_generators(run, position.generators)
        position.generators = None
    return batches


def _generators(run: Run) -> dict[str, torch.Tensor]:
    states = {"run": run.generator.get_state(), "torch": torch.get_rng_state()}
    if run.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(run.device)
    return states


def _set_generators(run: Run, states: Mapping[str, torch.Tensor]) -> None:
    run.generator.set_state(states["run"])
    if not run.world.first:
        return  # The kept states are those of rank 0; the others must not draw the same dropout masks.
    torch.set_rng_state(states["torch"])
    if "cuda" in states and run.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], run.device)


def _keep(run: Run, name: str, key: str, model: torch.nn.Module, parts: Mapping[str, Stateful], at: _Position) -> None:
    # Averaged over the processes: all of them will go on from these.
    sums = run.mean({metric: float(value) for metric, value in at.sums.items()})
    run.checkpoint(
        {
            "key": key,
            "model": model.state_dict(),
            "parts": {part: item.state_dict() for part, item in parts.items()},
            "position": {"epoch": at.epoch, "batch": at.batch, "step": at.step, "counts": at.counts, "sums": sums},
            "epoch_generator": at.epoch_generator,
            "generators": _generators(run),
        },
        name,
    )


def _restore(
    run: Run, name: str, key: str, model: torch.nn.Module, parts: Mapping[str, Stateful], at: _Position
) -> int | None:
    state = run.restore(name)
    if state is None:
        return None
    if state.get("key") != key:
        run.say(f"{name}: the checkpoint here belongs to other settings or data; training from the start")
        return None
    model.load_state_dict(state["model"])
    for part, item in parts.items():
        item.load_state_dict(state["parts"][part])
    kept = state["position"]
    at.epoch, at.batch, at.step, at.counts = kept["epoch"], kept["batch"], kept["step"], dict(kept["counts"])
    at.sums = {
        name: torch.tensor(value, dtype=torch.float64, device=run.device) for name, value in kept["sums"].items()
    }
    at.epoch_generator = state["epoch_generator"]
    if at.batch == 0:  # Between two epochs nothing is drawn again, so the generators go on from here at once.
        _set_generators(run, state["generators"])
    else:
        at.generators = state["generators"]
    run.say(f"{name}: going on from step {at.step}")
    return at.step


def _report(run: Run, name: str, position: _Position, bar: Bar, timer: StepTime) -> None:
    means = run.mean(position.means())
    run.log({f"{name}/{metric}": value for metric, value in {**means, **timer.lap()}.items()}, position.step)
    bar.advance(0, say=f"loss {means['loss']:.4f}")
    if not math.isfinite(means["loss"]):
        raise RunFailed(
            f"training {name}: the loss is {means['loss']} at step {position.step}",
            why="the training diverged, or the inputs hold values that are not finite",
            mend="lower the learning rate, clip gradients (clip_norm=1.0), or train in float32 or bfloat16",
        )


def _fingerprint(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    epochs: int,
    precision: str,
    clip_norm: float | None,
    inputs: Any,
) -> str:
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    groups = [{k: repr(v) for k, v in g.items() if k not in ("params", "lr")} for g in optimizer.param_groups]
    rates = [repr(group.get("initial_lr", group.get("lr"))) for group in optimizer.param_groups]
    sizes = [len(loader), len(loader.dataset), epochs]  # type: ignore[arg-type]
    content = [shapes, type(optimizer).__name__, groups, rates, sizes, precision, clip_norm, inputs]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: _to(item, device) for key, item in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_to(item, device) for item in batch)
    return batch
