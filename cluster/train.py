"""A method under Ray Train: the same `fit(data, run)`, on this process, on several, on a cluster's GPUs.

    outcome = fit(M3D(ipc=10), data, folder=Path("runs/first"), seed=0, workers=2)

`workers=0` is Ray Train's local mode (in this process, some 15 ms more than a plain call); from 1 on a `TorchTrainer`
starts worker processes, in the current Ray session or in a private one. The folder is the same as that of a `LocalRun`,
and must be visible to every worker: on several machines, a shared file system. The outcome comes back through it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch.utils.data import DataLoader

from ..platform.errors import BadInput, RunFailed, StillhouseError
from ..platform.training.event_log import NOWHERE, EventLog
from ..platform.training.outcome import Method, Outcome, execute
from ..platform.training.precision import Precision
from ..platform.training.progress import ConsoleReporter, FileReporter, Mirror, Reporter, Silent
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from ..platform.training.values import value_from_bytes, value_to_bytes
from ..platform.training.world import World
from . import gauges
from .session import ray_session

_SCRATCH = "ray"
_PROGRESS = "progress.jsonl"


def fit(
    method: Method[Any],
    data: Any,
    *,
    folder: Path | str,
    seed: int,
    workers: int = 0,
    use_gpu: bool = False,
    cpus_per_worker: float = 1,
    label_selector: Mapping[str, str] | None = None,
    max_failures: int = 0,
    autoscaling: bool = False,
    precision: Precision = "float32",
    reporter: Reporter | None = None,
    address: str | None = None,
    events: EventLog = NOWHERE,
) -> Outcome:
    """Run a method and return its outcome. An error of the method comes back as itself, with its exit code.

    `data` travels to the workers by pickle, inside one trust domain. `max_failures` counts restarts after the death of
    a worker or an error; each goes on from the last checkpoint. `label_selector` picks nodes by their Ray labels.
    `address`: of the Ray cluster; None: the current session, or a private one.
    Asking for more than the cluster has is an error, unless `autoscaling` says that it grows. `precision`: of the
    trainings that the shared loop does (see `platform.training.precision`). `events` is told what happens.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise BadInput(f"workers={workers!r} is not a whole number from 0 up", mend="use workers=0 for this process")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or ConsoleReporter()
    work = partial(
        _work, method=method, data=data, folder=folder, seed=seed, use_gpu=use_gpu, precision=precision, events=events
    )
    if workers == 0:
        with _quiet():
            _trainer(partial(work, reporter=reporter), folder, workers=0).fit()
        return Outcome.read(folder)
    with (
        ray_session(address=address, say=reporter.say),
        _quiet(),
        _mirrored(folder / _PROGRESS, reporter),
        _kept_interrupt(),
    ):
        _check_room(room(workers, cpus_per_worker=cpus_per_worker, use_gpu=use_gpu), autoscaling, reporter)
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)  # An older start's: Ray would take it for this one's.
        trainer = _trainer(
            work,
            folder,
            workers=workers,
            use_gpu=use_gpu,
            resources_per_worker=room(1, cpus_per_worker=cpus_per_worker, use_gpu=use_gpu),
            label_selector=dict(label_selector) if label_selector else None,
            max_failures=max_failures,
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _cause(error) from None
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)  # Copies of what the folder holds itself.
    return Outcome.read(folder)


def room(workers: int, *, cpus_per_worker: float = 1, use_gpu: bool = False) -> dict[str, float]:
    """Return what so many workers take of a cluster, under Ray's names; nothing in local mode.

    >>> room(2, use_gpu=True), room(0)
    ({'CPU': 2, 'GPU': 2}, {})
    """
    return {"CPU": workers * cpus_per_worker} | ({"GPU": workers} if use_gpu else {}) if workers else {}


class RayRun(LocalRun):
    """A run inside a Ray Train worker. Rank 0 writes the files; every checkpoint is reported to Ray as well."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        use_gpu: bool,
        reporter: Reporter | None,
        precision: Precision = "float32",
        events: EventLog = NOWHERE,
    ) -> None:
        context = ray.train.get_context()
        world = World(context.get_world_rank(), context.get_world_size())
        if reporter is None:
            reporter = FileReporter(folder / _PROGRESS) if world.first else Silent()
        device = ray.train.torch.get_device() if use_gpu else torch.device("cpu")
        events = events if world.first else NOWHERE
        super().__init__(
            folder, seed=seed, device=device, reporter=reporter, world=world, precision=precision, events=events
        )
        self._last: dict[str, float] = {}

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Metrics at a step; the last ones go to Ray with the next checkpoint."""
        self._last.update({name: float(value) for name, value in metrics.items()})
        if self.world.first:
            super().log(metrics, step)
            gauges.show(self.folder.name, metrics)

    def image(self, name: str, array: Any) -> Path:
        """Keep a picture."""
        return super().image(name, array) if self.world.first else self.folder / "images" / f"{name}.png"

    def checkpoint(self, state: Any, name: str = "main") -> None:
        """Keep a state on rank 0 and report it. Every rank must call this the same number of times."""
        self.report([self.keep_checkpoint(state, name)] if self.world.first else [])

    def report(self, files: list[Path]) -> None:
        """Tell Ray where the run stands. (Without a checkpoint Ray's result would have no metrics.)"""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".report-") as aside:
            for file in files:
                os.link(file, Path(aside) / file.name)  # Ray copies it; a link spares one more copy.
            ray.train.report(
                self._last, checkpoint=ray.train.Checkpoint.from_directory(aside) if self.world.first else None
            )

    def restore(self, name: str = "main") -> Any | None:
        """The last whole state that rank 0 finds, on every rank."""
        return self._shared(lambda: super(RayRun, self).restore(name))

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """On the worker's device; DistributedDataParallel where there are several."""
        return ray.train.torch.prepare_model(model, move_to_device=self.device)

    def loader(self, dataset: Any, batch_size: int, *, shuffle: bool = True) -> DataLoader[Any]:
        """This rank's part of each batch, brought to the device by Ray."""
        loader = super().loader(dataset, batch_size, shuffle=shuffle)
        on_gpu = self.device.type != "cpu"
        return ray.train.torch.prepare_data_loader(loader, add_dist_sampler=False, move_to_device=on_gpu)

    def stage(self, name: str, fn: Callable[[], Any], inputs: Any = None, *, once: bool = False) -> Any:
        """Rank 0 looks for the kept value. If there is none every rank runs `fn`, or with `once` rank 0 alone."""
        value = self.find_stage(name, inputs) if self.world.first else None
        if self.agree(value is not MISSING):
            value = self._shared(lambda: value)
            if not self.world.first:
                self.reused.append(name)
            return value
        if once:
            return self._shared(lambda: self.run_stage(name, fn, inputs))
        return self.run_stage(name, fn, inputs)

    def agree(self, value: bool) -> bool:
        """What rank 0 says, on every rank."""
        return bool(self._shared(lambda: value))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Averages over all ranks."""
        if self.world.size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return dict(zip(values, (total / self.world.size).tolist(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        if self.world.size == 1:
            return [value]
        parcels: list[bytes | None] = [None] * self.world.size
        torch.distributed.all_gather_object(parcels, value_to_bytes(value))
        return [value_from_bytes(parcel) for parcel in parcels if parcel is not None]

    def _shared(self, make: Callable[[], Any]) -> Any:
        """A value made on rank 0, on every rank."""
        if self.world.size == 1:
            return make()
        parcel = [value_to_bytes(make()) if self.world.first else None]
        torch.distributed.broadcast_object_list(parcel, src=0, device=self.device)
        assert parcel[0] is not None
        return value_from_bytes(parcel[0])


def _work(
    *,
    method: Method[Any],
    data: Any,
    folder: Path,
    seed: int,
    use_gpu: bool,
    precision: Precision = "float32",
    reporter: Reporter | None = None,
    events: EventLog = NOWHERE,
) -> None:
    """What each worker does."""
    if not folder.is_dir():
        raise BadInput(
            f"a worker does not see the run's folder {folder.name}",
            why="it runs on another machine, and the folder is not on a shared file system",
            mend="put the run's folder on storage that all nodes mount at the same path",
        )
    run = RayRun(folder, seed=seed, use_gpu=use_gpu, reporter=reporter, precision=precision, events=events)
    execute(method, data, run)
    run.report([folder / "outcome.json"] if run.world.first else [])


def _trainer(
    work: Callable[[], None],
    folder: Path,
    *,
    workers: int,
    use_gpu: bool = False,
    resources_per_worker: dict[str, float] | None = None,
    label_selector: dict[str, str] | None = None,
    max_failures: int = 0,
) -> ray.train.torch.TorchTrainer:
    def train_loop() -> None:  # Ray insists on a function that takes nothing.
        work()

    return ray.train.torch.TorchTrainer(
        train_loop,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker=resources_per_worker,
            label_selector=label_selector,  # type: ignore[call-arg]  # typed as Train v1's
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(folder / _SCRATCH),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]
        ),
    )


def _cause(error: ray.train.TrainingFailedError) -> StillhouseError:
    """The method's own error, or a `RunFailed` that names what happened to the workers."""
    failures = dict(getattr(error, "worker_failures", {}))
    for rank, failure in failures.items():
        # Ray wraps what a worker raised, in one class or another according to its version.
        while inner := getattr(failure, "_base_exc", None) or getattr(failure, "cause", None):
            failure = inner
        if isinstance(failure, StillhouseError):
            return failure
        failures[rank] = failure
    rank, first = next(iter(failures.items()), (None, error))
    if isinstance(first, ray.exceptions.RayError):
        why, mend = "the process died", "look for a lack of memory; start again to go on from the last checkpoint"
    else:
        why, mend = f"{type(first).__name__}: {first}", "start again with workers=0 to see where it happens"
    where = "training under Ray" if rank is None else f"training worker {rank}"
    return RunFailed(f"{where} failed", why=why, mend=mend)


def _check_room(wanted: Mapping[str, float], autoscaling: bool, reporter: Reporter) -> None:
    """Ray waits for ever for what a cluster does not have."""
    whole, free = ray.cluster_resources(), ray.available_resources()
    for kind, amount in wanted.items():
        if amount > whole.get(kind, 0) and not autoscaling:
            raise BadInput(
                f"the training wants {amount:g} {kind}s, the cluster has {whole.get(kind, 0):g}",
                mend="use fewer workers, or a larger cluster; say autoscaling if the cluster grows by itself",
            )
        if amount > free.get(kind, 0):
            reporter.say(f"training waits for {amount:g} {kind}s; {free.get(kind, 0):g} are free now")


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Train tells this process's log what the progress shows anyway."""
    logger = logging.getLogger("ray.train")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _mirrored(path: Path, reporter: Reporter) -> Iterator[None]:
    """Show here what the workers write about their progress."""
    path.unlink(missing_ok=True)
    mirror, stop = Mirror(path, reporter), threading.Event()

    def follow() -> None:
        while not stop.wait(0.3):
            mirror.poll()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        mirror.poll()
        mirror.close()
        path.unlink(missing_ok=True)


@contextmanager
def _kept_interrupt() -> Iterator[None]:
    """Ray Train installs a Ctrl-C handler and leaves it; put back the one that was there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
