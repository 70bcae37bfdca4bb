"""What all kinds of face sets share: sizes, pairs, masks, and the sentences of the protocol.

All that is drawn (who is tested, which pairs, masks) depends on `protocol_seed` and not on the run's seed, so that runs of different
seeds are scored on the same pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..errors import BadInput
from ..privacy.validate import positive_int
from .face_folder import LEAVE_OUT, REFUSE, Names, read_faces, with_at_least
from .face_pairs import ReadPairs, make_pairs
from .faces import FaceData, FaceImages, FacePairs
from .picture_files import Exact, Prepare, Resized

FITS = ("exact", "resize")
CHECKS = ("decode", "headers")
ALLOW = "allow"


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn where no file names them: `genuine` and `impostor` pairs in each of `folds` folds of different people."""

    folds: int = 10
    genuine: int = 150
    impostor: int = 150

    def __post_init__(self) -> None:
        positive_int(folds=self.folds, genuine=self.genuine, impostor=self.impostor)


@dataclass(frozen=True)
class FaceSet:
    """What all kinds share.

    Args:
        name: of the data set.
        root: the folder that the paths are relative to, or that holds the set.
        size: height and width of all pictures (pixels).
        fit: "exact" refuses pictures of another size; "resize" takes the middle square of any, for faces that were cropped alike.
        crop: side of that square, as a fraction of the shorter side.
        fewest: people with fewer pictures are left out of the training part: relations between two pictures of one person need two.
        shared_names: "refuse" people of one name in both parts, since recognisers are scored on people they did not learn; "allow"
            them, where equal names are different people (001, 002), or a closed set is meant.
        draw: how pairs are drawn, where no file names them.
        protocol_seed: decides all that is drawn.
        masked: fraction of the bare test faces that are given a synthetic mask.
        templates: folder with mask templates; None: masks are drawn.
    """

    provides: ClassVar[str] = "faces"

    name: str = "faces"
    root: str | None = None
    size: int = 112
    fit: str = "exact"
    crop: float = 1.0
    fewest: int = 2
    shared_names: str = REFUSE
    draw: PairSettings = field(default_factory=PairSettings)
    protocol_seed: int = 7
    masked: float = 0.0
    templates: str | None = None

    def __post_init__(self) -> None:
        positive_int(size=self.size, fewest=self.fewest)
        one_of(FITS, fit=self.fit)
        one_of((REFUSE, ALLOW), shared_names=self.shared_names)
        if not 0 <= self.masked <= 1:
            raise BadInput(f"masked is {self.masked!r}", why="it is a fraction of the test faces", mend="use 0 to 1")
        if self.crop != 1 and self.fit == "exact":
            raise BadInput("crop is given, and fit is exact", mend="set data.fit=resize, or leave data.crop out")
        self.prepare()

    def prepare(self) -> Prepare:
        """What becomes of a picture."""
        return Exact(self.size) if self.fit == "exact" else Resized(self.size, self.crop)

    def load(self, *, seed: int, key: bytes) -> FaceData:
        """Load it. Neither `seed` nor `key` matters: `protocol_seed` draws, and people keep the names of their folders.

        Raises:
            BadInput: files are missing or damaged, of another size, nothing to learn from, or people that are in both parts.
        """
        found = self._read()
        train, without = with_at_least(found.train, self.fewest)
        both = self._in_both(train, found)
        told = [found.protocol, f"{counted(train)} are learnt from."]
        if without:
            told.append(f"Left out of them: {without:,} people with fewer than {self.fewest} pictures.")
        told.append(f"{counted(found.test)} are tested, {pairs_in_words(found.pairs)}.")
        if both:
            told.append(f"By their names, {both:,} people are in both parts.")
        test = found.test
        if self.masked:
            # They need torch, which takes a while to import.
            from .face_masks import MaskMaker
            from .masked_faces import with_masks

            maker = MaskMaker(templates=Path(self.templates) if self.templates else None)
            test = with_masks(test, maker, fraction=self.masked, seed=self.protocol_seed).faces
            told.append(f"{self.masked:.0%} of the bare test faces were given a synthetic mask.")
        return FaceData(train, test, found.pairs, self.name, " ".join(told), self.protocol_seed, self.masked)

    def _read(self) -> FaceData:
        """Both parts and the pairs; the protocol says how they came about."""
        raise NotImplementedError

    def _in_both(self, learnt: FaceImages, found: FaceData) -> int:
        """How many people are learnt from and tested, by their names, where that may be."""
        train, test = found.train, found.test
        # The hash reads every file, so it is asked for only where the names, which are part of it, are the same.
        if train.names == test.names and train.pictures.content_hash() == test.pictures.content_hash():
            raise BadInput(
                f"the same {len(train):,} pictures are to be learnt from and tested",
                why="a recogniser would be scored on the faces it learnt",
                mend="give faces of other people, or one folder as data.faces, whose people are split",
            )
        both = len(set(learnt.people_names) & set(test.people_names))
        if both and self.shared_names == REFUSE:
            raise BadInput(
                f"{both:,} people are in both parts, by their names",
                why="a recogniser would be scored on people it learnt",
                mend="take them out of one part; if equal names are different people, or a closed set is meant, set "
                "data.shared_names=allow",
            )
        return both

    def place(self, path: str) -> Path:
        """A path that is relative to the root."""
        return Path(self.root or ".") / path

    def drawn_pairs(self, test: FaceImages) -> FacePairs:
        """Pairs of the test faces, where no file names them."""
        draw = self.draw
        return make_pairs(test, folds=draw.folds, genuine=draw.genuine, impostor=draw.impostor, seed=self.protocol_seed)

    def drawn_in_words(self, test: FaceImages) -> str:
        """How they are drawn."""
        across = "" if test.media is None else ", genuine ones of two media"
        return f"Pairs are drawn by seed {self.protocol_seed}, in {self.draw.folds} folds of different people{across}."


@dataclass(frozen=True)
class OwnFaces(FaceSet):
    """Faces to learn from in a folder or an uncompressed tar archive of one's own: one folder a person.

    Args:
        train: path of the folder or archive.
        media: regular expression that finds in a picture's path below its person's folder which video or session it is of.
        mask_pattern: regular expression that is found there if the face wears a mask.
        damaged: "refuse", or "leave_out" pictures that cannot be used.
        check: "decode" every picture once when loading, or look at "headers" only (for sets of a million).
    """

    train: str | None = None
    media: str = ""
    mask_pattern: str = ""
    damaged: str = REFUSE
    check: str = "decode"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of((REFUSE, LEAVE_OUT), damaged=self.damaged)
        one_of(CHECKS, check=self.check)
        self._names()

    def _names(self) -> Names:
        return Names(self.media, self.mask_pattern)

    def faces_at(self, path: str) -> tuple[FaceImages, str]:
        """The faces in a folder or an archive, and what has to be said of damaged ones."""
        place = self.place(path)
        faces, lost = read_faces(
            place, prepare=self.prepare(), names=self._names(), decode=self.check == "decode", damaged=self.damaged
        )
        return faces, f" Left out of {place.name}: {lost:,} damaged pictures." if lost else ""

    def people_to_learn(self) -> tuple[FaceImages, str]:
        """The faces in `train`, and what has to be said of damaged ones."""
        if self.train is None:
            raise BadInput(
                f"'{self.name}' has no faces to learn from",
                why="it holds test pairs only",
                mend="give data.train=PATH of a folder or an uncompressed tar with one folder a person, of other people",
            )
        return self.faces_at(self.train)


def one_of(known: tuple[str, ...], **given: str) -> None:
    """Raise `BadInput` for a setting that is none of the known words."""
    for name, value in given.items():
        if value not in known:
            raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")


def counted(faces: FaceImages) -> str:
    """How many pictures, of how many people, where that is known."""
    if not faces.identified:
        return f"{len(faces):,} pictures"
    return f"{len(faces):,} pictures of {faces.people:,} people"


def pairs_in_words(pairs: FacePairs) -> str:
    """How many pairs of each kind."""
    genuine = int(pairs.same.sum())
    return f"in {genuine:,} genuine and {len(pairs) - genuine:,} impostor pairs ({pairs.folds} folds)"


def read_in_words(read: ReadPairs) -> str:
    """Where pairs of a file come from, and what is missing of them."""
    told = "Pairs are those of the file"
    if read.dialect == "mfr2":
        told += ", dealt into folds by a seed (people may be in several folds)"
    if read.left_out:
        told += f"; {read.left_out:,} of them are left out, since a picture of theirs is not there"
    return told + "."
