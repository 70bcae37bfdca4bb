"""Settings of G2D and of the recognisers that it is compared with, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....platform.data.face_masks import MaskMaker
from ....platform.data.resampling import Resampler
from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int
from ....platform.training.files import check_name
from ..augmentation import Augmentation
from ..teacher import TeacherSettings
from .classifying import Classifying, Joint
from .distilling import Distilling
from .inpainting import Inpainting
from .mask_map import KINDS as MASK_MAPS
from .stages import Network
from .training import Training

ENCODERS = ("pretrained", "random_frozen", "end_to_end")


@dataclass(frozen=True)
class Judging:
    """How the end is judged.

    Args:
        mirror: an embedding is that of a face and its mirror image together.
        fmr: the threshold that is kept with the weights lets this share of bare impostor pairs to come pass at most, with confidence
            .95, if there are enough of them to set it on.
        shown: faces of the training people in the pictures of a report; 0: none are shown.
    """

    mirror: bool = True
    fmr: float = 0.01
    shown: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.shown, bool) or not isinstance(self.shown, int) or self.shown < 0:
            raise BadInput(f"judging.shown is {self.shown!r}", why="it is a whole number from 0 up")
        if not 0 < self.fmr < 1:
            raise BadInput(f"judging.fmr is {self.fmr!r}", why="it is a share of impostors, between 0 and 1")


@dataclass(frozen=True)
class Settings:
    """Settings of `G2D`.

    Args:
        algorithm: the name that reports give it.
        size: pixels of a side that the network sees; a multiple of 4.
        network: form of encoder, decoder and reformer.
        encoder: pretrained (by inpainting, then frozen: G2D), random_frozen (frozen as it is born) or end_to_end (no first stage; it is
            trained with the reformer).
        mask_map: what the encoder is told about the mask: predicted (by a small network), dropped (the true map for half of the
            training faces, nothing in use) or zeros (nothing).
        unmasked: share of every batch that goes without a mask, so that bare faces keep being known.
        validation: share of each person's training pictures that is kept apart, to say how the stages went. 1/7 in the paper.
        resampler: what brings pictures to `size`.
        augmentation: what is done to training faces before they get masks.
        masks: the synthetic masks.
        teacher: the general recogniser that sees faces without masks.
        segmenter: training of the network that predicts the map.
        inpainting, distilling, classifying, joint: the stages.
        judging: of the end.
    """

    algorithm: str = "g2d"
    size: int = 64
    network: Network = field(default_factory=Network)
    encoder: str = "pretrained"
    mask_map: str = "predicted"
    unmasked: float = 0.4
    validation: float = 1 / 7
    resampler: Resampler = field(default_factory=Resampler)
    augmentation: Augmentation = field(default_factory=Augmentation)
    masks: MaskMaker = field(default_factory=MaskMaker)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    segmenter: Training = field(default_factory=lambda: Training(epochs=3, learning_rate=1e-2))
    inpainting: Inpainting = field(default_factory=Inpainting)
    distilling: Distilling = field(default_factory=Distilling)
    classifying: Classifying = field(default_factory=Classifying)
    joint: Joint = field(default_factory=Joint)
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        check_name(self.algorithm)  # It names the run's folder.
        positive_int(size=self.size)
        if self.size % 4 or self.size < 16:
            raise BadInput(
                f"size is {self.size}", why="the encoder halves it twice", mend="use a multiple of 4 from 16 up"
            )
        for name, value, known in (("encoder", self.encoder, ENCODERS), ("mask_map", self.mask_map, MASK_MAPS)):
            if value not in known:
                raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")
        if not 0 <= self.unmasked <= 1:
            raise BadInput(f"unmasked is {self.unmasked!r}", why="it is a share of a batch, from 0 to 1")
        if not 0 < self.validation < 1:
            raise BadInput(f"validation is {self.validation!r}", why="it must lie strictly between 0 and 1")
        if self.unmasked == 1 and (self.encoder == "pretrained" or self.mask_map != "zeros"):
            raise BadInput(
                "unmasked is 1, and something is to be learnt about masks", why="no face would wear one",
                mend="set method.encoder=end_to_end and method.mask_map=zeros, or lower method.unmasked",
            )  # fmt: skip
        if self.mask_map == "zeros" and self.network.descriptor.kind == "partial_conv":
            raise BadInput(
                "partial convolutions without a map of the mask", why="they would leave nothing out",
                mend="set method.mask_map=predicted",
            )  # fmt: skip
        adversary = self.inpainting.adversary
        if self.encoder == "pretrained" and adversary.weight and self.size < 32:
            raise BadInput(f"a critic of patches on {self.size} pixels", mend="use 32 pixels or more, or no adversary")
