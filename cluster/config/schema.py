"""The schema of a run: every key, its type and its default. The YAML files of `configs/` fill it in.

`method`, `privacy.mechanism` and `silos.teacher` have no fixed schema: the class they name is their schema (`choices.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Suggested:
    """What fits a data set, for other sections to refer to."""

    teachers: int = 40
    queries: int = 300
    batch_size: int = 256  # of DP-SGD
    threshold: float = 20.0
    sigma1: float = 8.0
    sigma2: float = 5.0
    epsilon: float = 10.0
    delta: float = 1e-5
    augmentation: str = "color_crop_scale_rotate"  # in trainings; with flip where a mirror image shows the same


@dataclass
class Data:
    """Which data set, where it lies, whether it may be downloaded."""

    name: str = "digits"
    root: str | None = None
    download: bool = False
    score: str = "protocol"  # "test": the whole test set, for methods that need no public pool
    suggested: Suggested = field(default_factory=Suggested)


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


@dataclass
class RunConfig:
    """One run, whole."""

    method: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    privacy: Privacy = field(default_factory=Privacy)
    silos: Silos = field(default_factory=Silos)
    cluster: Cluster = field(default_factory=Cluster)
    seed: int = 0
    name: str = ""
    root: str = "runs"
    diagnostics: bool = True
