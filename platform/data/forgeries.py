"""Forged tracks to train and test detectors on: one table of families, each by its own mechanism and with its own traces.

They are made from crops to learn on, never to be shown to anyone as a person: seams, jumps and blur are their purpose.

>>> print(FAMILIES["SBI"].artefact)
flicker: colours, place and mask change from frame to frame
>>> FAMILIES["FS"].needs_donor, FAMILIES["AE"].needs_codes, FAMILIES["HOLD"].order_only
(True, True, True)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .forgery_codecs import FaceCodes, with_coded_face, with_coded_mouth
from .forgery_order import held_order, local_order, shuffled_order
from .forgery_points import MarkedTrack
from .forgery_selfblends import inpainted, jittered, replayed, self_blended
from .forgery_swaps import reenacted, swapped, swapped_at_random


@dataclass(frozen=True, eq=False)
class Making:
    """What a family may use: the face, and a donor, codes and randomness where its entry in `FAMILIES` says so."""

    face: MarkedTrack
    rng: np.random.Generator
    donor: MarkedTrack | None = None
    codes: FaceCodes | None = None

    @property
    def other(self) -> MarkedTrack:
        """The donor.

        Raises:
            BadInput: there is none.
        """
        if self.donor is None:
            raise BadInput("no donor is given", why="this family of forgeries takes a face or an expression from one")
        return self.donor

    @property
    def coded(self) -> FaceCodes:
        """The codes.

        Raises:
            BadInput: there are none.
        """
        if self.codes is None:
            raise BadInput("no codes are given", why="this family codes faces", mend="learn them with FaceCodes.learnt")
        return self.codes


@dataclass(frozen=True)
class Family:
    """A family of forgeries.

    Args:
        name: its code.
        like: what it stands for.
        artefact: what gives it away.
        make: from a `Making` to uint8 (t, 3, side, side).
        needs_donor: whether it is made from a second person.
        needs_codes: whether it needs `FaceCodes`.
        order_only: whether all its frames are real ones.
    """

    name: str
    like: str
    artefact: str
    make: Callable[[Making], np.ndarray]
    needs_donor: bool = False
    needs_codes: bool = False
    order_only: bool = False


FAMILIES: dict[str, Family] = {
    found.name: found
    for found in (
        Family("FS", "FaceSwap", "a seam, and a face that trembles with its points",
               lambda m: swapped(m.face, m.other), needs_donor=True),
        Family("RE", "Face2Face", "skin that stands still",
               lambda m: reenacted(m.face, m.other), needs_donor=True),
        Family("NT", "NeuralTextures", "a blurred mouth",
               lambda m: with_coded_mouth(m.face, m.coded, m.rng), needs_codes=True),
        Family("AE", "Deepfakes", "a smooth face",
               lambda m: with_coded_face(m.face, m.coded), needs_codes=True),
        Family("SBI", "self-blended images, anew in each frame",
               "flicker: colours, place and mask change from frame to frame", lambda m: self_blended(m.face, m.rng)),
        Family("SBI_COHERENT", "self-blended images, alike in all frames", "a seam without flicker",
               lambda m: self_blended(m.face, m.rng, coherent=True)),
        Family("INP", "inpainting frame by frame", "smeared parts whose outline trembles",
               lambda m: inpainted(m.face, m.rng)),
        Family("TMP", "an incoherent swap", "a face that jumps",
               lambda m: swapped_at_random(m.face, m.other, m.rng), needs_donor=True),
        Family("REPLAY", "a patch of a recording", "eyes or a mouth that repeat themselves",
               lambda m: replayed(m.face, m.rng)),
        Family("JITTER", "a badly tracked overlay", "a face that trembles on its head",
               lambda m: jittered(m.face, m.rng)),
        Family("SHUF", "order alone", "frames in another order within clips of 16",
               lambda m: m.face.frames[shuffled_order(len(m.face), m.rng)], order_only=True),
        Family("LOCAL", "order alone", "frames in another order within windows of 4",
               lambda m: m.face.frames[local_order(len(m.face), m.rng)], order_only=True),
        Family("HOLD", "order alone", "6 of 16 frames repeat the one before",
               lambda m: m.face.frames[held_order(len(m.face), m.rng)], order_only=True),
    )
}  # fmt: skip


def check_families(names: Iterable[str]) -> tuple[Family, ...]:
    """The families with these names.

    Raises:
        BadInput: a name is unknown, or there twice.
    """
    given = list(names)
    for name in given:
        if name not in FAMILIES:
            near = difflib.get_close_matches(name.upper(), list(FAMILIES), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise BadInput(
                f"no family of forgeries is called {name!r}{hint}", mend=f"use some of {', '.join(FAMILIES)}"
            )
    if len(set(given)) != len(given):
        raise BadInput("a family of forgeries is named twice")
    return tuple(FAMILIES[name] for name in given)


def forge(
    family: str,
    face: MarkedTrack,
    rng: np.random.Generator,
    *,
    donor: MarkedTrack | None = None,
    codes: FaceCodes | None = None,
) -> np.ndarray:
    """Return a forged track, uint8 (t, 3, side, side); the same generator state gives the same one.

    Args:
        family: one of `FAMILIES`.
        face: the real track.
        rng: where what is random comes from.
        donor: a track of someone else, for the families that need one.
        codes: learnt from tracks to train on, for the families that need them.

    Raises:
        BadInput: no family has this name, or what it needs is missing or does not fit the face.
    """
    (found,) = check_families([family])
    return found.make(Making(face, rng, donor, codes))
