"""What a method works on that learns from labelled images; what it needs made beforehand is made side by side, as Ray tasks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray
import torch

from ..methods.labelled import LabelledData, Preparation
from ..platform.data.sources import Source, whole_test_set
from ..platform.errors import BadInput
from ..platform.training.outcome import Outcome
from ..platform.training.progress import Silent
from ..platform.training.run import LocalRun
from . import budget
from .config.compose import Resolved
from .curation import LedgerCurator
from .reporting import Told, tell_labelled
from .session import ray_session
from .simulation import naming_key


@dataclass(frozen=True, eq=False)
class LabelledGround:
    """The data, and what the run's end is told from."""

    resolved: Resolved
    data: LabelledData

    def told(self, outcome: Outcome) -> Told:
        """What the report shows of it."""
        return tell_labelled(self.resolved, outcome)


@contextmanager
def labelled_ground(resolved: Resolved, source: Source, local: LocalRun, ledger_url: str) -> Iterator[LabelledGround]:
    """Yield the data, once all preparations lie in the shared folder."""
    config, method = resolved.config, resolved.method
    if config.silos.address:
        raise BadInput(
            f"silos.address is set, and {method.algorithm} works on the images themselves",
            why="only votes leave a silo", mend="leave silos.address out, or use a method of knowledge transfer",
        )  # fmt: skip
    # No pool is set apart: nobody is asked about it. (Under data.score=test the score set is the whole test set already.)
    test = source.score if config.data.score == "test" else whole_test_set(source).score
    protocol = f"{source.about}{len(source.private):,} training images, scored on all {len(test):,} test images."
    root = Path(config.root).resolve()
    # Under the root's secret: a plain hash of private records would tell a guessed data set from its neighbour.
    identity = hmac.new(naming_key(root), source.private.content_hash().encode(), hashlib.sha256).hexdigest()[:16]
    data = LabelledData(
        train=source.private, test=test, protocol=protocol, identity=identity, shared=root / "shared",
        epsilon=config.privacy.target_epsilon, delta=config.privacy.target_delta,
    )  # fmt: skip
    if method.charges:
        budget.grant(resolved, ledger_url, local.say, records=len(source.private))
        high_water = Path(config.privacy.high_water) if config.privacy.high_water else None
        curator = LedgerCurator(source.private, config.data.name, ledger_url, high_water)
        data = replace(data, train=None, curator=curator)
    _prepare(method.preparations(data), resolved, local)
    yield LabelledGround(resolved, data)


def _prepare(pieces: Sequence[Preparation], resolved: Resolved, local: LocalRun) -> None:
    """Make what is missing: in this process if it is one piece, else as Ray tasks."""
    missing = [piece for piece in pieces if not piece.made()]
    cluster = resolved.config.cluster
    if len(missing) < 2:
        return
    with ray_session(address=cluster.address, num_cpus=cluster.num_cpus, say=local.say):
        make = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=1 if cluster.use_gpu else 0)(_make)
        pending = [make.remote(piece, cluster.use_gpu) for piece in missing]
        with local.progress(len(pending), "preparing") as bar:
            while pending:
                done, pending = ray.wait(pending)
                ray.get(done)
                bar.advance(len(done))


def _make(piece: Preparation, use_gpu: bool) -> None:
    """One piece, in a Ray worker; its result stays in the shared folder."""
    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
    piece.make("cuda" if use_gpu else "cpu", Silent())
