"""Settings of NACO, and what does not fit together.

What the paper's abstract says is fixed in the code; numbers that it does not state are defaults here, and ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ....platform.data.clip_perturbations import LEVELS, PERTURBATIONS, find_perturbation
from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive, positive_int
from ....platform.training.files import check_name
from .form import Clips, Form, one_of, share


@dataclass(frozen=True)
class Augmentation:
    """What is done to a clip, one draw for all its frames (noise of its own in each frame would hide what is to be learned).

    Args:
        flip: share of clips that are mirrored.
        gain: factor of brightness, from 1 - gain to 1 + gain.
        shift: added to brightness, from -shift to shift (pictures lie in 0 .. 1).
        grey: share of clips without colour.
    """

    flip: float = 0.5
    gain: float = 0.2
    shift: float = 0.1
    grey: float = 0.3

    def __post_init__(self) -> None:
        share(gain=self.gain, shift=self.shift)
        for name in ("flip", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it is a share, from 0 to 1")


@dataclass(frozen=True)
class Training:
    """One training by AdamW: a rise over `warm_up` steps, then a cosine to zero.

    Args:
        steps: of it; 0: it is left out.
        batch_size: clips (stage 1: pairs of clips of one video) in a batch, over all processes together.
        learning_rate, weight_decay: no decay on biases and norms.
        warm_up: steps.
        clip_norm: gradients are clipped to this norm; None: not.
        every: steps between two looks at the validation videos.
    """

    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warm_up: int = 50
    clip_norm: float | None = 1.0
    every: int = 100

    def __post_init__(self) -> None:
        positive_int(batch_size=self.batch_size, every=self.every)
        positive(learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        for name in ("steps", "warm_up"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadInput(f"{name} is {value!r}", why="it is a whole number from 0 up")
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)


@dataclass(frozen=True)
class Spatial:
    """The Spatial Predictive Module: masked features are predicted from the representation.

    Args:
        weight: of its loss; 0 leaves it out.
        ratio: share of a clip's frames (of each cell's, with grid tokens) that are masked.
        target: deviation (from the mean of the visible frames, so that only what changes in the clip counts) or feature.
        loss: mse, cosine or smooth_l1.
    """

    weight: float = 1.0
    ratio: float = 0.5
    target: str = "deviation"
    loss: str = "mse"

    def __post_init__(self) -> None:
        non_negative(weight=self.weight)
        if not 0 < self.ratio < 1:
            raise BadInput(
                f"mask ratio {self.ratio!r}", why="a clip needs masked and visible frames", mend="use e.g. 0.5"
            )
        one_of(("deviation", "feature"), target=self.target)
        one_of(("mse", "cosine", "smooth_l1"), loss=self.loss)


@dataclass(frozen=True)
class Temporal:
    """The Temporal Contrastive Module: the representation of another clip is nearer than that of the same clip out of order.

    Args:
        weight: of its loss; 0 leaves it out.
        loss: triplet, or infonce (cosine; other videos are negatives too).
        margin: of the triplets.
        temperature: of infonce.
        negatives: shuffled copies of each positive clip.
        shuffle: frame (any order), segment (four pieces) or local (within windows of four).
        after: share of the steps of stage 1, of both its trainings together, after which its loss joins the spatial one (where there is
            none, it is there from the start). Order is learned in a few dozen steps, and drives all else out of the tokens: a predictor
            that knows nothing by then never learns anything. What the predictor knows already stays.
    """

    weight: float = 1.0
    loss: str = "triplet"
    margin: float = 0.5
    temperature: float = 0.2
    negatives: int = 2
    shuffle: str = "frame"
    after: float = 0.5

    def __post_init__(self) -> None:
        non_negative(weight=self.weight)
        share(after=self.after)
        positive(margin=self.margin, temperature=self.temperature)
        positive_int(negatives=self.negatives)
        one_of(("triplet", "infonce"), loss=self.loss)
        one_of(("frame", "segment", "local"), shuffle=self.shuffle)


@dataclass(frozen=True)
class Pretraining:
    """Stage 1, on real videos only.

    Args:
        joint: training of everything together, from pixels.
        cached: after it, training of all but the backbone on features that are computed once; cheap.
        cached_dropout: of the Transformer in it.
        views: augmented looks at each video whose features are kept for it.
        spatial, temporal: the two modules.
        augmentation: of clips.
        videos: how many of the real videos are used, the first ones of a random order; None: all.
    """

    joint: Training = field(default_factory=Training)
    cached: Training = field(default_factory=lambda: Training(steps=1000, batch_size=32, learning_rate=1e-3, every=250))
    cached_dropout: float = 0.0
    views: int = 2
    spatial: Spatial = field(default_factory=Spatial)
    temporal: Temporal = field(default_factory=Temporal)
    augmentation: Augmentation = field(default_factory=Augmentation)
    videos: int | None = None

    def __post_init__(self) -> None:
        positive_int(views=self.views)
        share(cached_dropout=self.cached_dropout)
        if self.videos is not None:
            positive_int(videos=self.videos)
        if self.done and not self.spatial.weight + self.temporal.weight:
            raise BadInput("pretraining without either module", mend="weigh one, or set both trainings' steps to 0")

    @property
    def done(self) -> bool:
        """Whether there is a stage 1 at all."""
        return self.joint.steps + self.cached.steps > 0


@dataclass(frozen=True)
class Finetuning:
    """Stage 2: telling forged clips from real ones.

    Args:
        mode: full (every weight), head (all else frozen, in evaluation mode), or none (stage 1 is all there is).
        frames: training of backbone and bypass on single frames before it, half of them forged; without steps it is left out.
        training: of it; half of a batch is forged. Without steps, a detector that `start` names is only tested.
        body_rate: learning rate of all but the head, in mode full; None: that of the head.
        pairs: beside each forged clip the real clip of the same video, start and augmentation; otherwise any real clip.
        fakes: what is learned to be forged: given (the training videos'), self_blended (made from real ones, Shiohara & Yamasaki
            2022) or shuffled (real clips out of order, as the temporal module's `shuffle` says: no forgery is seen at all).
        blended: whether self-blended clips are drawn anew for each frame, or once a clip.
        aux_ssl: weight of the losses of stage 1, on the real clips of each batch.
        augmentation: of clips.
        keep: best (by AUC on the validation videos, which are of seen families only) or last.
    """

    mode: str = "full"
    frames: Training = field(default_factory=lambda: Training(steps=0, batch_size=48, learning_rate=1e-3, warm_up=20))
    training: Training = field(default_factory=lambda: Training(steps=300, batch_size=16, every=50))
    body_rate: float | None = None
    pairs: bool = True
    fakes: str = "given"
    blended: str = "frame"
    aux_ssl: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    keep: str = "best"

    def __post_init__(self) -> None:
        one_of(("full", "head", "none"), mode=self.mode)
        one_of(("given", "self_blended", "shuffled"), fakes=self.fakes)
        one_of(("frame", "clip"), blended=self.blended)
        one_of(("best", "last"), keep=self.keep)
        non_negative(aux_ssl=self.aux_ssl)
        if self.body_rate is not None:
            positive(body_rate=self.body_rate)
        if self.training.batch_size % 2 or self.frames.batch_size % 2:
            raise BadInput("an odd batch_size in stage 2", why="half of a batch is forged", mend="use an even one")
        if self.frames.steps and (self.mode != "full" or self.fakes == "shuffled" or not self.training.steps):
            raise BadInput(
                "finetuning.frames without what it begins",
                why="single frames teach the backbone, which then learns from clips; they show no order",
                mend="use it with mode=full, given or self-blended fakes, and steps of finetuning.training",
            )
        if self.mode == "head" and (self.aux_ssl or self.body_rate is not None):
            raise BadInput("mode head trains the head alone", mend="leave aux_ssl and body_rate out, or use mode=full")


@dataclass(frozen=True)
class Judging:
    """How the detector is judged.

    Args:
        max_frames: of a video that are looked at; they are cut into clips that do not overlap.
        score: of a video: the mean of its clips' logits (logit) or of their probabilities (probability).
        draws: of the bootstrap over identities.
        perturbations: codes of `platform.data.clip_perturbations`, under which AUC on seen families (where none was learned from, on
            what is tested) is measured as well; `all`: every one.
        levels: of them.
        timelines: of that many videos, those with the clips of which the detector is most certain, and of as many with the least.
        show_frames: draw frames of these clips, and of a real video beside its forgeries; for generated videos only: faces of people
            do not belong in a report.
    """

    max_frames: int = 110
    score: str = "logit"
    draws: int = 1000
    perturbations: tuple[str, ...] = ()
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)
    timelines: int = 3
    show_frames: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "perturbations", tuple(self.perturbations))
        object.__setattr__(self, "levels", tuple(self.levels))
        one_of(("logit", "probability"), score=self.score)
        positive_int(max_frames=self.max_frames, draws=self.draws)
        if self.timelines:
            positive_int(timelines=self.timelines)
        if any(level not in range(1, LEVELS + 1) for level in self.levels) or not self.levels:
            raise BadInput(f"levels of perturbation are not all from 1 to {LEVELS}")
        for kind in self.kinds:
            find_perturbation(kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Codes of the perturbations, each once."""
        return tuple(PERTURBATIONS) if "all" in self.perturbations else tuple(dict.fromkeys(self.perturbations))


@dataclass(frozen=True)
class NacoSettings:
    """Settings of `Naco`.

    Args:
        algorithm: the name that reports give it.
        clips: what the network sees.
        network: its form.
        pretraining, finetuning: the two stages.
        judging: what is measured.
        start: folder of a finished run with the same network, whose weights stage 1 (or, if that has no steps, stage 2) begins with.
    """

    algorithm: str = "naco"
    clips: Clips = field(default_factory=Clips)
    network: Form = field(default_factory=Form)
    pretraining: Pretraining = field(default_factory=Pretraining)
    finetuning: Finetuning = field(default_factory=Finetuning)
    judging: Judging = field(default_factory=Judging)
    start: str | None = None

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        if not self.network.temporal and (self.pretraining.done or self.finetuning.aux_ssl):
            raise BadInput(
                "a network without Transformer has no representation to pretrain",
                mend="set both of pretraining's steps to 0 and leave aux_ssl out",
            )
        if self.only_tested and (self.start is None or self.pretraining.done):
            raise BadInput(
                "stage 2 without steps tests a finished detector",
                mend="name its run by method.start and set both of pretraining's steps to 0, or give stage 2 steps",
            )
        if self.finetuning.frames.steps and not self.network.head_bypass:
            raise BadInput(
                "finetuning.frames needs the bypass, which alone sees a frame", mend="set network.head_bypass=true"
            )
        if self.finetuning.aux_ssl and not self.pretraining.spatial.weight + self.pretraining.temporal.weight:
            raise BadInput("aux_ssl without either module", mend="weigh pretraining.spatial or pretraining.temporal")

    @property
    def only_tested(self) -> bool:
        """Whether nothing is trained."""
        return self.finetuning.mode != "none" and not self.finetuning.training.steps
