"""What is chosen about a DGD run as a whole: its coverage, its questions, and how its parts are trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...platform.data.procedural import KINDS as PROCEDURAL
from ...platform.errors import BadInput
from ...platform.privacy.validate import positive, positive_int
from ..federated import Federation
from .baseline import Baseline
from .coverage import Coverage
from .generation import Generation
from .queries import SELECTIONS
from .student import StudentSettings
from .vae import VaeSettings

SOURCES = ("generator", "pool", *PROCEDURAL)


@dataclass(frozen=True)
class Settings:
    """Settings of DGD; see `Dgd`.

    Args:
        coverage: what the guarantee covers: labels_only, dpsgd_baseline, fed_dp_baseline, bootstrap_student, public_inputs or
            split_records.
        queries: images to ask at most; answers: answers to buy at most (None: as many as queries). Both are fixed before anything is
            spent, and the budget must hold them all.
        source: where queries come from: generator, a kind of procedural image, or pool (the public pool, for comparison).
        selection: uniform, or confident (see `queries.py`).
        batch_queries: how many go into one batch to the aggregator.
        synthetic: how many images are sampled from the generator, once.
        rounds: how often images are made, asked and learnt from; from the second on the generator may also seek the student's
            disagreement with the discriminator. Queries are divided among the rounds. (bootstrap_student has two at least.)
        noise_multiplier: of DP-SGD or DP-FedAvg; None: as little noise as the budget allows beside the queries.
        moments_sigma: noise of the released joint moments, in units of one record; None: they are not released.
        split: share of the records that train the baseline classifier under split_records.
        federation: how the baseline classifier is trained under fed_dp_baseline.
        baseline, generation, vae, student: the parts.
    """

    coverage: str = "dpsgd_baseline"
    queries: int = 300
    answers: int | None = None
    source: str = "generator"
    selection: str = "uniform"
    batch_queries: int = 500
    synthetic: int = 6000
    rounds: int = 1
    noise_multiplier: float | None = None
    moments_sigma: float | None = 20.0
    split: float = 0.3
    federation: Federation = field(default_factory=Federation)
    baseline: Baseline = field(default_factory=Baseline)
    generation: Generation = field(default_factory=Generation)
    vae: VaeSettings = field(default_factory=VaeSettings)
    student: StudentSettings = field(default_factory=StudentSettings)

    def __post_init__(self) -> None:
        if self.coverage not in list(Coverage):
            raise BadInput(f"unknown coverage {self.coverage!r}", mend=f"use one of {', '.join(Coverage)}")
        if self.source not in SOURCES:
            raise BadInput(f"unknown source of queries {self.source!r}", mend=f"use one of {', '.join(SOURCES)}")
        if self.selection not in SELECTIONS:
            raise BadInput(f"unknown selection {self.selection!r}", mend=f"use one of {', '.join(SELECTIONS)}")
        if isinstance(self.queries, bool) or not isinstance(self.queries, int) or self.queries < 0:
            raise BadInput(f"queries is {self.queries!r}", why="it is a whole number from 0 up")
        positive_int(batch_queries=self.batch_queries, synthetic=self.synthetic, rounds=self.rounds)
        if self.answers is not None and not 0 < self.answers <= self.queries:
            raise BadInput(f"answers is {self.answers!r}", why=f"of {self.queries} queries so many cannot be answered")
        for name in ("noise_multiplier", "moments_sigma"):
            if getattr(self, name) is not None:
                positive(**{name: getattr(self, name)})
        if not 0 < self.split < 1:
            raise BadInput(f"split is {self.split!r}", why="it is a share of the records, between 0 and 1")
        self._check_together()

    def _check_together(self) -> None:
        cover = Coverage(self.coverage)
        if cover is Coverage.PUBLIC_INPUTS and self.source == "generator":
            raise BadInput(
                "public_inputs has no generator", mend="set method.source to a procedural kind, for example mixed"
            )
        if cover is Coverage.BOOTSTRAP_STUDENT and self.rounds < 2:
            raise BadInput("bootstrap_student needs two rounds", mend="set method.rounds=2")
        if self.queries < self.rounds and not (self.queries == 0 and cover.has_baseline and self.student.distil != 0):
            raise BadInput(
                f"{self.queries} queries in {self.rounds} rounds",
                why="every round asks something; only a student that is distilled from a baseline classifier can do without",
                mend="raise method.queries",
            )
        if self.releases_moments and self.baseline.kind != "scatter_linear":
            raise BadInput(
                "joint moments are of the public scattering vectors, which this baseline classifier does not use",
                mend="set method.moments_sigma=null, or method.baseline.kind=scatter_linear",
            )

    @property
    def cover(self) -> Coverage:
        """The coverage."""
        return Coverage(self.coverage)

    @property
    def most_answers(self) -> int:
        """The answers that are bought at most."""
        return self.queries if self.answers is None else self.answers

    @property
    def uses_generator(self) -> bool:
        """Whether a generator is trained."""
        return self.source == "generator"

    def share(self, total: int, number: int) -> int:
        """The part of a total that falls to one round."""
        return total * (number + 1) // self.rounds - total * number // self.rounds

    @property
    def releases_moments(self) -> bool:
        """Whether joint moments are released, charged and matched: only where all else is private, and a generator uses them."""
        return bool(
            self.cover is Coverage.DPSGD_BASELINE and self.uses_generator and self.moments_sigma and self.generation.moments
        )  # fmt: skip
