"""Settings of DP-SAD, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...platform.diffusion.denoising import Training
from ...platform.diffusion.networks import Network
from ...platform.diffusion.schedule import Schedule
from ...platform.errors import BadInput
from ...platform.privacy.statement import NOT_ESTABLISHED
from ...platform.privacy.validate import positive, positive_int
from ...platform.silo.teachers import VECTORS
from ...platform.training.dpsgd import DpSgd
from ...platform.training.files import check_name
from .distilling import Distillation
from .judging import Judging
from .modes import Mode

LABELS = ("uniform", "histogram")
# Settings of a distillation that belong to the teachers where these are asked for gradients.
OF_THE_TEACHERS = ("adversarial", "saturating", "critic", "critic_rate")


@dataclass(frozen=True)
class Settings:
    """Settings of `DpSad`.

    Args:
        algorithm: the name that reports give it.
        mode: which variant (see `modes`).
        acknowledge_no_guarantee: must be set for mode=as_described, which has no epsilon.
        schedule: the forward process; teachers that are asked must have the same.
        student: its network. distillation: its training. (Teachers that are asked for gradients have critics of their own.)
        rungs: steps of the student's chain; released_targets: as many rounds, each at one rung, from pure noise down.
        queries: rows that are asked for in all (released_targets), a part of them in each round.
        clip: C, the largest L2 length of a row: of a teacher's estimate less the centre, or of a gradient.
        normalise: bring rows to length C instead of cutting longer ones to it; gradients only (V2, V3, as_described).
        noise_multiplier: sigma, in units of the sensitivity 2 C; None: the least that the budget allows.
        centre: the grey value about which estimates are clipped in the first round, in [-1, 1]; chosen without looking at records.
        recentre: clip about the student's own estimate in later rounds, which was released before.
        teachers: how many there are, as the budget of sharded_output_grad must be told in advance.
        teacher, training: the network and training of a teacher who has all records (dp_teacher: its network).
        dilution: divide the noise by the number of diffusion steps, as published (as_described alone).
        use_real: the published loss's distance to the record (as_described alone).
        dpsgd, draws: DP-SGD's settings, and noise draws a record within the clip (dpsgd_student, dp_teacher).
        teacher_images: samples that the student of a DP teacher is fed, noised.
        labels: uniform, or histogram: classes by a noisy histogram, bought with `histogram_sigma` (dpsgd_student, dp_teacher).
        histogram_sigma: noise of the histogram's counts.
        judging: how the result is judged.
    """

    algorithm: str = "dpsad"
    mode: str = "released_targets"
    acknowledge_no_guarantee: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    student: Network = field(default_factory=lambda: Network(hidden=128))
    distillation: Distillation = field(default_factory=Distillation)
    rungs: int = 4
    queries: int = 1000
    clip: float = 5.0
    normalise: bool = False
    noise_multiplier: float | None = None
    centre: float = -1.0
    recentre: bool = True
    teachers: int = 100
    teacher: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    dilution: bool = True
    use_real: bool = True
    dpsgd: DpSgd = field(default_factory=lambda: DpSgd(batch_size=256, steps=1000, learning_rate=1e-3, adaptive=True))
    draws: int = 8
    teacher_images: int = 2000
    labels: str = "uniform"
    histogram_sigma: float = 20.0
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        if self.mode not in list(Mode):
            raise BadInput(f"mode is {self.mode!r}", mend=f"use one of {', '.join(Mode)}")
        positive_int(
            rungs=self.rungs, queries=self.queries, teachers=self.teachers, draws=self.draws,
            teacher_images=self.teacher_images,
        )  # fmt: skip
        positive(clip=self.clip, histogram_sigma=self.histogram_sigma)
        if self.noise_multiplier is not None:
            positive(noise_multiplier=self.noise_multiplier)
        if not -1 <= self.centre <= 1:
            raise BadInput(f"centre is {self.centre!r}", why="images are in [-1, 1]")
        self.schedule.ladder(self.rungs)
        self._check_together()

    def _check_together(self) -> None:
        mode = self.which
        if mode is Mode.AS_DESCRIBED and not self.acknowledge_no_guarantee:
            raise BadInput(
                "mode=as_described promises nothing",
                why=NOT_ESTABLISHED,
                mend="use another mode, or set method.acknowledge_no_guarantee=true to reproduce the publication",
            )
        if self.labels not in LABELS:
            raise BadInput(f"labels is {self.labels!r}", mend=f"use one of {', '.join(LABELS)}")
        if self.labels == "histogram" and not mode.by_dpsgd:
            raise BadInput(
                f"mode={mode.value} with a histogram of classes",
                why="the histogram of the records is private, and nobody sells it there",
                mend="set method.labels=uniform",
            )
        if self.normalise and not mode.of_gradients:
            raise BadInput(
                f"mode={mode.value} with normalise",
                why="only gradients have a direction that is worth having without their length",
                mend="set method.normalise=false",
            )
        if mode in (Mode.AGGREGATED_OUTPUT_GRAD, Mode.SHARDED_OUTPUT_GRAD):
            unused = [
                name for name in OF_THE_TEACHERS if getattr(self.distillation, name) != getattr(Distillation(), name)
            ]
            if unused:
                raise BadInput(
                    f"mode={mode.value} with method.distillation.{unused[0]}",
                    why="there each teacher has a critic of its own, and the student's side has none",
                    mend="leave it out; set silos.teacher.adversarial, .critic or .critic_rate",
                )
        if mode is Mode.RELEASED_TARGETS and self.queries < self.rungs:
            raise BadInput(f"{self.queries} queries for {self.rungs} rounds", mend="ask at least one a round")
        if mode is Mode.AS_DESCRIBED and self.noise_multiplier is None:
            raise BadInput("mode=as_described needs its sigma", mend="set method.noise_multiplier=1.0")

    @property
    def which(self) -> Mode:
        """The mode."""
        return Mode(self.mode)

    @property
    def why_uncovered(self) -> str:
        """What stands beside an infinite epsilon."""
        return self.which.why_uncovered(dilution=self.dilution)

    @property
    def works_on(self) -> str:
        """Teachers with a shard each, or records in one place."""
        return "ensemble" if self.which.asks_teachers else "labelled"

    @property
    def charges(self) -> bool:
        """Whether anything is charged to a ledger."""
        return self.which.covered

    @property
    def asks(self) -> bool:
        """Whether teachers are needed."""
        return self.which.asks_teachers

    @property
    def wants(self) -> str:
        """What teachers are asked for."""
        return VECTORS
