"""The schema of a run: every key, its type and its default. The YAML files of `configs/` fill it in.

`method`, `data`, `privacy.mechanism` and `silos.teacher` have no fixed schema: the class they name is their schema (`choices.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Privacy:
    """The mechanism, the budget that a simulated officer grants when the data set has none yet, and where the ledger lies."""

    mechanism: dict[str, Any] = field(default_factory=dict)
    target_epsilon: float = 10.0
    target_delta: float = 1e-5
    kind: str | None = None  # None: what the method's accounting needs (gaussian for plain votes)
    orders: list[float] = field(default_factory=list)  # of kind rdp, where the method does not say
    ledger: str | None = None  # a database URL; None: sqlite in the run root
    high_water: str | None = None  # None: beside the ledger


@dataclass
class Silos:
    """The ensemble: how many silos, which teacher, how they are packed into Ray actors, how long the aggregator waits."""

    teachers: int = 40
    teacher: dict[str, Any] = field(default_factory=dict)
    per_actor: int | None = None  # None: as many as spread the silos over the CPUs
    quorum: int | None = None  # None: all of them
    deadline_seconds: float = 300.0
    cpus_per_actor: float = 1.0
    gpus_per_actor: float = 0.0
    label: str | None = None  # pin silo i to the nodes whose Ray label of this name is the silo's name
    start_seconds: float = 120.0  # for all actors to be placed
    training_seconds: float = 86400.0  # then those that are ready go on without the others, if they are a quorum
    lost_seconds: float = 120.0  # for silos whose node is gone to be placed again, before the run goes on without them
    secure: bool = (
        False  # Flower clients add their votes up under masks, each with its share of the noise: nobody sees a vote
    )
    dropped: int = 0  # of `secure`: so many silos may be lost in a round
    colluding: int = 1  # of `secure`: so many may tell the server all they know; one that is merely curious counts
    address: str | None = None  # an aggregator that runs already; None: start one and simulate the silos
    token_file: str | None = None
    ca_file: str | None = None


@dataclass
class Cluster:
    """Ray: where, how many workers train the method, on what. `workers: 0` trains in Ray Train's local mode."""

    address: str | None = None
    num_cpus: int | None = None
    workers: int = 0
    use_gpu: bool = False
    cpus_per_worker: float = 1.0
    label_selector: dict[str, str] = field(default_factory=dict)
    max_failures: int = 0  # restarts of the workers, each from the last checkpoint; -1: without number
    autoscaling: bool = False  # wait for machines that have yet to come, instead of refusing what does not fit
    carrier: str = "ray"  # who holds simulated silos: ray (actors), or flower (clients on this machine)
    precision: str = "float32"  # or bfloat16, float16: of the trainings that the shared loop does


@dataclass
class RunConfig:
    """One run, whole. `data` holds the object that its section describes; the other free sections stay dictionaries."""

    method: dict[str, Any] = field(default_factory=dict)
    data: Any = field(default_factory=dict)
    privacy: Privacy = field(default_factory=Privacy)
    silos: Silos = field(default_factory=Silos)
    cluster: Cluster = field(default_factory=Cluster)
    seed: int = 0
    name: str = ""
    root: str = "runs"
    diagnostics: bool = True
