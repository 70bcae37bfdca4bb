"""Faces of known people: pictures, who is on them, and pairs of pictures that are verified.

Pictures may lie in memory or on disk; whoever uses them asks for the ones it needs:

>>> pictures = InMemory(np.zeros((4, 3, 112, 112), np.uint8))
>>> faces = FaceImages(pictures, np.array([0, 0, 1, 1]), media=np.array([0, 1, 2, 3]), names=("a/1", "a/2", "b/1", "b/2"))
>>> len(faces), faces.people, faces.read([2, 3]).shape
(4, 2, (2, 3, 112, 112))
>>> pairs = FacePairs(np.array([0, 0]), np.array([1, 2]), np.array([True, False]), np.array([0, 1]))
>>> len(pairs), pairs.folds
(2, 2)
>>> faces.take([2, 3]).identities
array([0, 0])
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import BadInput
from .images import check_images


class Pictures(Protocol):
    """RGB pictures of one size, by number."""

    def __len__(self) -> int:
        """How many."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    def read(self, numbers: Any) -> np.ndarray:
        """The pictures with these numbers, in this order: uint8 (m, 3, height, width)."""

    def content_hash(self) -> str:
        """SHA-256 that changes with any picture."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Pictures as one array, uint8 (n, 3, height, width)."""

    images: np.ndarray

    def __post_init__(self) -> None:
        if check_images(self.images, "pictures").shape[1] != 3:
            raise BadInput(f"pictures of {self.images.shape[1]} channels", why="faces are in colour: red, green, blue")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.images.shape[2:]
        return height, width

    def read(self, numbers: Any) -> np.ndarray:
        """The pictures with these numbers, in this order."""
        return np.asarray(self.images[np.asarray(numbers, dtype=np.int64)])

    def content_hash(self) -> str:
        """SHA-256 over shape and pixels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some of the pictures of `whole`: those with the numbers `kept`, int64 (n,), in this order."""

    whole: Pictures
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.whole.size

    def read(self, numbers: Any) -> np.ndarray:
        """The pictures with these numbers, in this order."""
        return self.whole.read(self.kept[np.asarray(numbers, dtype=np.int64)])

    def content_hash(self) -> str:
        """SHA-256 that changes with any picture of the whole, and with the choice."""
        digest = hashlib.sha256(self.whole.content_hash().encode())
        digest.update(np.ascontiguousarray(self.kept).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Aligned faces, and who they are.

    Args:
        pictures: where the pixels lie.
        identities: int64 (n,), 0 .. people - 1, every number used.
        names: of the pictures, unique: a path in their folder.
        media: int64 (n,): which video or session a picture comes from; two of one medium are nearly the same. None: one each.
        masked: bool (n,): whether the face wears a mask; None: none does, unless nobody knows (`wearers_known`).
        people_names: of the identities, in their order; empty: unknown.
        identified: whether every person has one identity only. False where nothing is known but pairs (an InsightFace `.bin`): two
            identities may then be one person, so nobody can be looked for among the others.
        wearers_known: whether it is known who wears a mask. False where some do and nothing tells who; `masked` is then None.
    """

    pictures: Pictures
    identities: np.ndarray
    names: tuple[str, ...]
    media: np.ndarray | None = None
    masked: np.ndarray | None = None
    people_names: tuple[str, ...] = ()
    identified: bool = True
    wearers_known: bool = True

    def __post_init__(self) -> None:
        n = len(self.pictures)
        identities = np.asarray(self.identities)
        if identities.shape != (n,) or identities.dtype.kind not in "iu" or len(self.names) != n:
            raise BadInput(
                f"{n} pictures, {len(self.names)} names, identities {identities.dtype} of shape {identities.shape}",
                mend="give one name and one whole number a picture",
            )
        people = len(np.unique(identities))
        if n and (identities.min() != 0 or identities.max() != people - 1):
            raise BadInput("identities are not numbered from 0 without gaps", mend="number them by numpy.unique")
        if self.people_names and len(self.people_names) != people:
            raise BadInput(f"{len(self.people_names)} names of people for {people} identities")
        for what in ("media", "masked"):
            given = getattr(self, what)
            if given is not None and np.asarray(given).shape != (n,):
                raise BadInput(f"{what} of shape {np.asarray(given).shape} for {n} pictures")
        if not self.wearers_known and self.masked is not None:
            raise BadInput("masked tells who wears a mask, and wearers_known is false", mend="give one of them")
        object.__setattr__(self, "identities", identities.astype(np.int64))

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def people(self) -> int:
        """Number of identities."""
        return int(self.identities.max()) + 1 if len(self) else 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        return self.pictures.size

    def read(self, numbers: Any) -> np.ndarray:
        """Pictures, uint8 (m, 3, height, width)."""
        return self.pictures.read(numbers)

    def take(self, numbers: Any) -> FaceImages:
        """The pictures with these numbers, in this order; the people on them numbered anew, in the same order."""
        kept = np.asarray(numbers, dtype=np.int64)
        who, identities = np.unique(self.identities[kept], return_inverse=True)
        return FaceImages(
            Chosen(self.pictures, kept),
            identities.reshape(-1),
            tuple(self.names[number] for number in kept.tolist()),
            media=None if self.media is None else np.asarray(self.media)[kept],
            masked=None if self.masked is None else np.asarray(self.masked)[kept],
            people_names=tuple(self.people_names[one] for one in who.tolist()) if self.people_names else (),
            identified=self.identified,
            wearers_known=self.wearers_known,
        )

    def content_hash(self) -> str:
        """SHA-256 over pictures and identities, and over who wears a mask, where some do."""
        digest = hashlib.sha256(self.pictures.content_hash().encode())
        digest.update(np.ascontiguousarray(self.identities).data)
        if self.masked is not None:
            digest.update(np.ascontiguousarray(self.masked, dtype=bool).data)
        if not self.wearers_known:
            digest.update(b"wearers unknown")
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Pairs of pictures of one `FaceImages`: int64 (m,) numbers, whether both are one person, and the fold (0 .. folds - 1)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.asarray(one).shape for one in (self.first, self.second, self.same, self.fold)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise BadInput(f"pairs of shapes {sorted(shapes)}", mend="give four arrays of one length")
        for name, kind in (("first", np.int64), ("second", np.int64), ("same", np.bool_), ("fold", np.int64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(kind))

    def __len__(self) -> int:
        return len(self.same)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1 if len(self) else 0


@dataclass(frozen=True, eq=False)
class FaceData:
    """Faces to learn from, faces of other people to be scored on, and the pairs among those that are verified.

    `protocol` says in words how the parts came about; `protocol_seed` decides all that is drawn for the test, whatever a run's seed.
    `masks_put`: fraction of the bare test faces whose mask is a synthetic one; `test.masked` does not tell it from a real one.
    """

    train: FaceImages
    test: FaceImages
    pairs: FacePairs
    name: str
    protocol: str
    protocol_seed: int = 7
    masks_put: float = 0.0

    def __post_init__(self) -> None:
        numbers = np.concatenate([self.pairs.first, self.pairs.second])
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self.test)):
            raise BadInput(f"pairs name pictures that are not among the {len(self.test)} of the test set")
        if self.train.size != self.test.size:
            raise BadInput(
                f"training pictures are of size {self.train.size}, test pictures of {self.test.size}",
                mend="bring both to one size",
            )

    def content_hash(self) -> str:
        """SHA-256 over both parts and the pairs."""
        digest = hashlib.sha256((self.train.content_hash() + self.test.content_hash()).encode())
        for one in (self.pairs.first, self.pairs.second, self.pairs.same, self.pairs.fold):
            digest.update(np.ascontiguousarray(one).data)
        return digest.hexdigest()
