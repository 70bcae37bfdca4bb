"""A run: all that a method knows of the outside.

`Run` is what a method is given; `LocalRun` is the one that writes into a folder on this machine. On a cluster the
same calls reach Ray Train, so a method runs in a notebook, in a test, on one GPU or on sixteen unchanged.

    run = LocalRun(Path("runs/first"), seed=0)
    outcome = M3D(ipc=10).fit(data, run)

The folder: `metrics.jsonl`, `images/`, `stages/`, `checkpoints/`; `log.jsonl` too, if the run is given one to write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ..errors import BadInput
from .checkpoints import Checkpoints
from .event_log import NOWHERE, EventLog
from .files import check_name
from .loading import make_loader
from .memory import keep_freed_memory
from .metrics import MetricsLog
from .precision import Precision, autocast, check_precision
from .progress import Bar, ConsoleReporter, Reporter, counting
from .seeds import restarted, seed_for, seeded
from .stages import MISSING, Stages
from .values import decode, encode
from .world import World


class Run(Protocol):
    """What a method may ask of the outside."""

    folder: Path
    seed: int
    device: torch.device
    world: World
    generator: torch.Generator
    reused: list[str]
    precision: Precision

    def seed_for(self, *names: str | int) -> int:
        """A seed of its own for whatever is named: a teacher, a model's first weights."""

    def progress(self, total: int | None, name: str) -> AbstractContextManager[Bar]:
        """Count something visibly: `with run.progress(250, "teachers") as bar: bar.advance()`."""

    def say(self, text: str) -> None:
        """One line for whoever watches."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Metrics at a step."""

    def image(self, name: str, array: Any) -> Path:
        """Keep a picture: (h, w), (c, h, w) or (h, w, 3); uint8, or floats in [0, 1]."""

    def checkpoint(self, state: Any, name: str = "main") -> None:
        """Keep a state to go on from. On disk when this returns. Every process of the world must call it."""

    def restore(self, name: str = "main") -> Any | None:
        """The last kept state, or None."""

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on its device, wrapped for training on several processes where there are several."""

    def autocast(self) -> AbstractContextManager[None]:
        """Multiply in the run's precision inside the block, for trainings that are not done by `loop.train`."""

    def loader(self, dataset: Any, batch_size: int, *, shuffle: bool = True) -> DataLoader[Any]:
        """Batches from the run's generator; `batch_size` counts all processes together."""

    def stage(self, name: str, fn: Callable[[], Any], inputs: Any = None, *, once: bool = False) -> Any:
        """The value of `fn`, kept: a later start with the same inputs finds it. `once`: on one process only."""

    def agree(self, value: bool) -> bool:
        """What the first process says, on every process."""

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Averages over all processes. Every process of the world must call it."""

    def gather(self, value: Any) -> list[Any]:
        """Every process's nested value, in order of rank, on every process. Every process of the world must call it."""


class LocalRun:
    """A run in one process, in one folder."""

    def __init__(
        self,
        folder: Path | str,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        reporter: Reporter | None = None,
        world: World | None = None,
        precision: Precision = "float32",
        events: EventLog = NOWHERE,
    ) -> None:
        """`world` other than the default is for wrappers that spread a run over processes. `events` is told what happens.

        `precision` is that of trainings. What was kept under another one is not found again: it would be another result.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise BadInput(f"seed {seed!r} is not a whole number from 0 up", mend="give for example seed=0")
        keep_freed_memory()
        self.folder = Path(folder)
        self.seed = seed
        self.device = torch.device(device)
        self.world = world or World()
        self.precision = check_precision(precision)
        self.reporter: Reporter = reporter or ConsoleReporter()
        self.generator = torch.Generator().manual_seed(seed_for(seed, "run"))
        self.reused: list[str] = []
        self.events = events
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stages = Stages(self.folder / "stages", seed=seed, say=self.say)
        self._metrics = MetricsLog(self.folder / "metrics.jsonl")

    def seed_for(self, *names: str | int) -> int:
        """A seed of its own for whatever is named."""
        return seed_for(self.seed, *names)

    def progress(self, total: int | None, name: str) -> AbstractContextManager[Bar]:
        """Count something visibly."""
        return counting(self.reporter, name, total, self.events)

    def say(self, text: str) -> None:
        """One line for whoever watches."""
        self.reporter.say(text)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Metrics at a step, into `metrics.jsonl`."""
        self._metrics.log(metrics, step)

    def image(self, name: str, array: Any) -> Path:
        """Keep a picture in `images/`."""
        path = self.folder / "images" / f"{check_name(name)}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(_pixels(array)).save(path)
        return path

    def checkpoint(self, state: Any, name: str = "main") -> None:
        """Keep a state; the last two are kept, checksummed."""
        self.keep_checkpoint(state, name)

    def keep_checkpoint(self, state: Any, name: str) -> Path:
        """Write a state into this folder and give its file."""
        began = time.monotonic()
        path = self.checkpoints(name).save(state)
        self.events.write(
            "checkpoint.kept", of=name, bytes=path.stat().st_size, seconds=round(time.monotonic() - began, 3)
        )
        return path

    def restore(self, name: str = "main") -> Any | None:
        """The last state that is whole, or None."""
        return self.checkpoints(name).load()

    def checkpoints(self, name: str) -> Checkpoints:
        """Where the states of that name lie."""
        return Checkpoints(self.folder / "checkpoints" / check_name(name), say=self.say)

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on this run's device."""
        return model.to(self.device)

    def loader(self, dataset: Any, batch_size: int, *, shuffle: bool = True) -> DataLoader[Any]:
        """Batches in an order drawn from the run's generator."""
        pinned = self.device.type == "cuda"
        return make_loader(
            dataset, batch_size, shuffle=shuffle, generator=self.generator, world=self.world, pinned=pinned
        )

    def autocast(self) -> AbstractContextManager[None]:
        """Multiply in this run's precision inside the block."""
        return autocast(self.device, self.precision)

    def stage(self, name: str, fn: Callable[[], Any], inputs: Any = None, *, once: bool = False) -> Any:
        """The value of `fn`, kept with a hash of the run's seed and the inputs (in one process, `once` or not)."""
        value = self.find_stage(name, inputs)
        return self.run_stage(name, fn, inputs) if value is MISSING else value

    def find_stage(self, name: str, inputs: Any) -> Any:
        """The kept value of a stage, or `MISSING`; says so when there is one."""
        value = self._stages.find(name, self._under_precision(inputs))
        if value is not MISSING:
            self.note_reuse(name)
        return value

    def note_reuse(self, name: str) -> None:
        """Remember and say that a stage was found."""
        self.reused.append(name)
        self.events.write("stage.found", stage=name)
        self.say(f"{name}: found from an earlier start, not run again")

    def run_stage(self, name: str, fn: Callable[[], Any], inputs: Any) -> Any:
        """Run a stage on random numbers of its own, and keep its value if this process is the one that writes."""
        own = self.seed_for("stage", name)
        with self.events.around("stage", stage=name), seeded(own), restarted(self.generator, own):
            # Through the file's form and back, so that a fresh value and a found one cannot differ in type.
            value = decode(*encode(fn()))
        if self.world.first:
            self._stages.keep(name, self._under_precision(inputs), value)
        return value

    def _under_precision(self, inputs: Any) -> Any:
        return inputs if self.precision == "float32" else {"inputs": inputs, "precision": self.precision}

    def agree(self, value: bool) -> bool:
        """There is nobody to disagree."""
        return value

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """There is nobody to average with."""
        return dict(values)

    def gather(self, value: Any) -> list[Any]:
        """There is nobody to gather from."""
        return [value]


def _pixels(array: Any) -> np.ndarray:
    pixels = np.asarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array)
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise BadInput("the picture holds values that are not finite")
        pixels = np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise BadInput(f"a picture of {pixels.dtype}", mend="give uint8, or floats in [0, 1]")
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[-1] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[-1] == 3):
        raise BadInput(f"a picture of shape {pixels.shape}", mend="give (h, w), (c, h, w) or (h, w, 3) with c 1 or 3")
    return np.ascontiguousarray(pixels)
