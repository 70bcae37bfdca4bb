"""Settings of a condensation, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.files import check_name
from . import initial
from .augment import Augmentation
from .discrepancy import DISCREPANCIES
from .evaluation import Evaluation
from .experts import ExpertPool
from .forward import Forward
from .matching import Reuse
from .private import KINDS as PRIVATE_KINDS
from .private import Release

ENCODERS = ("random", "middle")
LOSSES = tuple(name for name in DISCREPANCIES if name != "rff")
WITH_FEATURES = ("convnet", "resnet10")


@dataclass(frozen=True)
class Settings:
    """Settings of `Condensation`, whose parts make DM, M3D, DANCE, and what lies between them.

    Args:
        algorithm: the name that reports give it.
        ipc: stored images a class.
        factor: tiles along a side of a stored image (1: none).
        initial: first, random, herding, k_center, k_means, noise; with `dp`: noise or class_means (a noisy release).
        shrink: nearest or area: how a real image becomes a tile.
        architecture: of the encoders.
        encoder: random (DM, M3D) or middle (DANCE); encoder_every: iterations for which a random one serves.
        loss: mean (DM, DANCE), gaussian (M3D), linear, poly2.
        calibration: DANCE's cross entropy of the experts on the synthetic images.
        iterations: 0 leaves the start as it is: a selection baseline.
        learning_rate: of the pixels, times ipc, because an image's share in its class's mean is 1 / ipc.
        rate_by_ipc: whether it is multiplied by ipc.
        momentum: of the pixels' SGD.
        sweep: whether the momentum acts at every class's step (M3D, DANCE) or once an iteration (DM).
        pixels: whether what is stored and stepped on are pixels, kept in [0, 1] (M3D, DANCE), or network inputs (DM).
        real_batch: real images of a class in an iteration.
        most_synthetic: decoded images of a class in an iteration.
        augmentation: of both sides alike.
        reuse: whether real features serve more than once.
        forward: how images go through encoders.
        together: classes in one computation; None: one on a CPU, all on a GPU.
        experts: the pool, for middle encoders, and the full-data reference.
        evaluation: how the set is judged.
        evaluate_every: also judge after every so many iterations, by one network, for the learning curve; 0: never.
        full_data: train the first expert, if only to know what all the data are worth.
        audit: records in the membership audit; 0: none. Not with `dp`, where nobody may look at records.
        dp: condense from noisy releases, charged to the ledger, instead of the records.
        release: what is released then.
    """

    algorithm: str = "m3d"
    ipc: int = 10
    factor: int = 2
    initial: str = "first"
    shrink: str = "nearest"
    architecture: str = "convnet"
    encoder: str = "random"
    encoder_every: int = 5
    loss: str = "gaussian"
    calibration: bool = False
    iterations: int = 5000
    learning_rate: float = 1.0
    rate_by_ipc: bool = True
    momentum: float = 0.5
    sweep: bool = True
    pixels: bool = True
    real_batch: int = 128
    most_synthetic: int = 200
    augmentation: Augmentation = field(default_factory=Augmentation)
    reuse: Reuse = field(default_factory=Reuse)
    forward: Forward = field(default_factory=Forward)
    together: int | None = None
    experts: ExpertPool = field(default_factory=ExpertPool)
    evaluation: Evaluation = field(default_factory=Evaluation)
    evaluate_every: int = 0
    full_data: bool = False
    audit: int = 2000
    dp: bool = False
    release: Release = field(default_factory=Release)

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        positive_int(
            ipc=self.ipc, factor=self.factor, encoder_every=self.encoder_every, real_batch=self.real_batch,
            most_synthetic=self.most_synthetic,
        )  # fmt: skip
        for name in ("iterations", "evaluate_every", "audit"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadInput(f"{name} is {value!r}", why="it is a whole number from 0 up")
        if self.together is not None:
            positive_int(together=self.together)
        positive(learning_rate=self.learning_rate)
        non_negative(momentum=self.momentum)
        if self.momentum >= 1:
            raise BadInput(f"momentum is {self.momentum!r}", why="it must be below 1")
        initial.check_kind(self.initial, dp=self.dp)
        for name, value, known in (
            ("encoder", self.encoder, ENCODERS), ("loss", self.loss, LOSSES), ("architecture", self.architecture, WITH_FEATURES),
        ):  # fmt: skip
            if value not in known:
                raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")
        self._check_together()

    def _check_together(self) -> None:
        if self.calibration and self.encoder != "middle":
            raise BadInput("calibration asks trained experts", mend="set method.encoder=middle, or calibration=false")
        if not self.dp:
            return
        if self.encoder == "middle" or self.full_data or self.calibration:
            raise BadInput(
                "experts learn from records without noise",
                why="dp promises an epsilon",
                mend="set method.encoder=random",
            )
        if self.loss not in PRIVATE_KINDS:
            raise BadInput(f"loss {self.loss!r} has no private form", mend=f"use one of {', '.join(PRIVATE_KINDS)}")
        if self.initial == "noise" and not self.iterations:
            raise BadInput("noise, and no iteration: nothing would be learnt", mend="raise method.iterations")
        if not self.pixels:
            raise BadInput("dp steps on pixels", mend="set method.pixels=true")

    @property
    def charges(self) -> bool:
        """Whether anything is charged to a ledger."""
        return self.dp

    @property
    def rate(self) -> float:
        """The step size of the pixels."""
        return self.learning_rate * (self.ipc if self.rate_by_ipc else 1)

    @property
    def needs_experts(self) -> int:
        """How many experts are trained."""
        return self.experts.count if self.encoder == "middle" and self.iterations else int(self.full_data)
