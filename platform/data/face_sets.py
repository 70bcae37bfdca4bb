"""Sets of faces by kind, as a run's configuration says it: own folders, InsightFace's `.bin`, LFW, CelebA, and drawn faces.

A kind is a frozen dataclass whose fields are its settings (public); `load` gives faces to learn from, faces of other people, and the
pairs of those that are verified.

>>> from stillhouse.platform.data.face_set import PairSettings
>>> data = FacesProcedural(train_people=3, test_people=4, draw=PairSettings(folds=2, genuine=4, impostor=4)).load(seed=0, key=b"")
>>> data.train.people, data.test.people, len(data.pairs)
(3, 4, 16)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadInput
from ..privacy.validate import positive_int
from .face_folder import LEAVE_OUT, REFUSE, split_people, with_mask_labels
from .face_pairs import read_pairs
from .face_public import read_celeba, read_lfw
from .face_set import CHECKS, FaceSet, OwnFaces, counted, one_of, read_in_words
from .faces import FaceData
from .insightface_bin import bin_faces
from .procedural_faces import draw_people

BARE, UNKNOWN = "bare", "unknown"
STRANGERS = 1_000_000  # number of the first drawn person to be tested: nobody draws as many to learn from


@dataclass(frozen=True)
class FacesFolder(OwnFaces):
    """Folders of one's own: either `faces`, whose people are split in two, or `train` and `test`.

    Args:
        faces: path of the folder or archive whose people are split: sorted by name, shuffled by Python's
            `random.Random(protocol_seed)`, the first `test_people` are tested.
        test_people: how many.
        test: path of the faces to be scored on.
        pairs: a pairs.txt in LFW's or MFR2's dialect, or of paths (see `face_pairs`), about the test part; None: pairs are drawn.
        missing: "refuse", or "leave_out" pairs of pictures that are not there.
        mask_labels: MFR2's list of which test pictures show a mask; None: `mask_pattern` tells, if anything does.
        wearers: what holds of the test faces where neither of them is given: all are "bare", or who wears a mask is "unknown". Where
            one is given it tells of every picture, and this of none.
    """

    name: str = "faces_folder"
    faces: str | None = None
    test_people: int = 100
    test: str | None = None
    pairs: str | None = None
    missing: str = REFUSE
    mask_labels: str | None = None
    wearers: str = BARE

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(test_people=self.test_people)
        one_of((REFUSE, LEAVE_OUT), missing=self.missing)
        one_of((BARE, UNKNOWN), wearers=self.wearers)
        if self.masked and not self._wearers_known:
            raise BadInput(
                f"masked is {self.masked}, and wearers is unknown",
                why="synthetic masks are put on bare faces, and nothing tells which are",
                mend="give data.mask_labels or data.mask_pattern, or leave data.masked out",
            )
        if self.faces is not None and not (self.train is None and self.test is None):
            raise BadInput(
                "faces is given with train or test", why="it is split into both", mend="give one or the others"
            )

    @property
    def _wearers_known(self) -> bool:
        return self.wearers == BARE or self.mask_labels is not None or bool(self.mask_pattern)

    def _read(self) -> FaceData:
        if self.faces is None and self.test is None:
            raise BadInput(
                f"'{self.name}' names no folder",
                mend="give data.faces=PATH, whose people are split, or data.train=PATH and data.test=PATH; each a folder or an "
                "uncompressed tar with one folder a person",
            )
        if self.faces is not None:
            everybody, lost = self.faces_at(self.faces)
            train, test = split_people(everybody, self.test_people, self.protocol_seed)
            how = (
                f"{self.name}: {counted(everybody)}. The people are sorted by name and shuffled by seed {self.protocol_seed}; the "
                f"first {self.test_people} are tested.{lost}"
            )
        else:
            train, train_lost = self.people_to_learn()
            test, test_lost = self.faces_at(self.test or "")
            how = f"{self.name}: separate folders.{train_lost}{test_lost}"
        if self.mask_labels is not None:
            test = with_mask_labels(test, self.place(self.mask_labels))
        if not self._wearers_known:
            test = replace(test, wearers_known=False)
            how += " Who of the tested wears a mask is not known."
        if self.pairs is None:
            return FaceData(train, test, self.drawn_pairs(test), self.name, f"{how} {self.drawn_in_words(test)}")
        read = read_pairs(
            self.place(self.pairs), test, missing=self.missing, folds=self.draw.folds, seed=self.protocol_seed
        )
        return FaceData(train, test, read.pairs, self.name, f"{how} {read_in_words(read)}")


@dataclass(frozen=True)
class FacesBin(OwnFaces):
    """Test pairs of an InsightFace `.bin` file, and a folder of other people to learn from.

    Args:
        bin: path of the file.
    """

    name: str = "faces_bin"
    bin: str = "lfw.bin"

    def _read(self) -> FaceData:
        train, lost = self.people_to_learn()
        test, pairs = bin_faces(self.place(self.bin), prepare=self.prepare(), decode=self.check == "decode")
        how = f"{self.name}: the pairs of {Path(self.bin).name}, in ten folds one after another.{lost}"
        return FaceData(train, test, pairs, self.name, how)


@dataclass(frozen=True)
class Lfw(OwnFaces):
    """Labeled Faces in the Wild (Huang et al. 2007): its 6,000 official pairs, and a folder of other people to learn from.

    Args:
        version: original, funneled or deepfunneled.
        download: let torchvision try to fetch it.
        missing: "refuse", or "leave_out" pairs of pictures that are not there.
    """

    name: str = "lfw"
    version: str = "deepfunneled"
    download: bool = False
    missing: str = REFUSE

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of((REFUSE, LEAVE_OUT), missing=self.missing)

    def _read(self) -> FaceData:
        train, lost = self.people_to_learn()
        test, read = read_lfw(
            None if self.root is None else Path(self.root), self.version, prepare=self.prepare(), download=self.download,
            missing=self.missing,
        )  # fmt: skip
        how = f"LFW ({self.version}), {self._fit_in_words()}.{lost} {read_in_words(read)}"
        return FaceData(train, test, read.pairs, self.name, how)

    def _fit_in_words(self) -> str:
        return "pictures as they are" if self.fit == "exact" else f"the middle {self.crop:.0%} of each picture, resized"


@dataclass(frozen=True)
class CelebA(FaceSet):
    """CelebA (Liu et al. 2015), 10,177 people: its training part is learnt from, its test part scored; the people are different ones.

    Args:
        aligned: bring faces to the 112 template by the published landmarks; otherwise `fit` says what becomes of the pictures, which
            are 178 x 218.
        download: let torchvision fetch what is missing.
        check: "decode" every picture once when loading, or look at "headers" only.
    """

    name: str = "celeba"
    aligned: bool = True
    download: bool = False
    check: str = "headers"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(CHECKS, check=self.check)
        if self.aligned and (self.size != 112 or self.fit != "exact"):
            raise BadInput(
                "alignment makes pictures of 112 x 112",
                why=f"size is {self.size}, fit is {self.fit}",
                mend="set data.aligned=false to resize instead",
            )

    def _read(self) -> FaceData:
        train, test = read_celeba(
            None if self.root is None else Path(self.root), aligned=self.aligned, prepare=self.prepare(),
            download=self.download, decode=self.check == "decode",
        )  # fmt: skip
        how = f"CelebA, {'aligned by the published landmarks' if self.aligned else 'resized'}; the published parts."
        return FaceData(train, test, self.drawn_pairs(test), self.name, f"{how} {self.drawn_in_words(test)}")


@dataclass(frozen=True)
class FacesProcedural(FaceSet):
    """Drawn faces of people who do not exist (`procedural_faces`).

    Args:
        train_people: to learn from.
        test_people: other people, who are scored.
        sessions: of each person; light and background differ between them.
        frames: pictures in each session.
        nuisance: how much pictures of one person differ.
    """

    name: str = "faces_procedural"
    train_people: int = 120
    test_people: int = 60
    sessions: int = 3
    frames: int = 4
    nuisance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(
            train_people=self.train_people, test_people=self.test_people, sessions=self.sessions, frames=self.frames
        )
        if self.train_people > STRANGERS:
            raise BadInput(f"train_people is {self.train_people}", mend=f"use at most {STRANGERS:,}")
        if self.fit != "exact":
            raise BadInput("drawn faces are not resized", mend="leave data.fit out; data.size is drawn as it is")

    def _read(self) -> FaceData:
        train, test = (
            draw_people(
                people, media=self.sessions, frames=self.frames, side=self.size, seed=self.protocol_seed, first=first,
                nuisance=self.nuisance,
            )
            for people, first in ((self.train_people, 0), (self.test_people, STRANGERS))
        )  # fmt: skip
        how = "Drawn faces of people who do not exist; what is measured on them says that a method works, not how it does on people."
        return FaceData(train, test, self.drawn_pairs(test), self.name, f"{how} {self.drawn_in_words(test)}")


FACE_KINDS: dict[str, type[FaceSet]] = {
    "faces_folder": FacesFolder,
    "faces_bin": FacesBin,
    "lfw": Lfw,
    "celeba": CelebA,
    "faces_procedural": FacesProcedural,
}
