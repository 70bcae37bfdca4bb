"""Pretrained teachers that can be fetched: where each comes from, under which licence, and how it is stored here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from safetensors.torch import save
from torch import Tensor

from ....platform.errors import BadInput
from ....platform.training.files import replace, write_text
from ..card import FILE, Card
from .crop import ALIGNED
from .dlib_resnet import LENGTH
from .face_api_weights import read_tensors, state_of
from .npm_package import NpmPackage, read_members
from .teacher import ARCHITECTURE, load_pretrained

_WEIGHTS = "package/model/face_recognition_model.bin"
_MANIFEST = "package/model/face_recognition_model-weights_manifest.json"
_LICENCE = "package/LICENSE"
LICENCE_FILE = "LICENSE.package.txt"


@dataclass(frozen=True)
class Source:
    """A teacher that can be fetched.

    Args:
        package: that holds it.
        members: files of the package that are read, and how many bytes each has at most.
        licence_member: which of them is the package's licence.
        convert: their contents to the weights of our module.
        card: all but the digest.
        notice: lines on origin and licences, for whoever fetches it.
    """

    package: NpmPackage
    members: Mapping[str, int]
    licence_member: str
    convert: Callable[[Mapping[str, bytes]], dict[str, Tensor]]
    card: Card
    notice: tuple[str, ...]


def _face_api(members: Mapping[str, bytes]) -> dict[str, Tensor]:
    return state_of(read_tensors(members[_MANIFEST], members[_WEIGHTS]))


_FACE_API = NpmPackage(
    name="@vladmandic/face-api",
    version="1.7.15",
    sha512="WDMmK3CfNLo8jylWqMoQgf4nIst3M0fzx1dnac96wv/dvMTN4DxC/Pq1DGtduDk1lktCamQ3MIDXFnvrdHTXDw==",
    size=12_677_476,
    licence="MIT",
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "dlib": Source(
            package=_FACE_API,
            members={_WEIGHTS: 8 << 20, _MANIFEST: 1 << 20, _LICENCE: 1 << 16},
            licence_member=_LICENCE,
            convert=_face_api,
            card=Card(
                architecture=ARCHITECTURE,
                resolution=ALIGNED,
                embedding_length=LENGTH,
                licence="CC0-1.0",
                trained_on="about 3 million faces of 7,485 people (FaceScrub, VGG and others), by dlib's author",
                source="npm @vladmandic/face-api 1.7.15, model/face_recognition_model.bin (stored in bytes)",
                weights="dlib_resnet.safetensors",
            ),
            notice=(
                "dlib's face recognition network (Davis King 2017), as it lies in npm @vladmandic/face-api 1.7.15",
                "licence of the weights: CC0 1.0, public domain; of the package: MIT (Vladimir Mandic)",
                "trained on photographs of public persons: before it judges people, read what law and licence ask of you",
            ),
        )
    }
)


def source_of(name: str) -> Source:
    """The source of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in SOURCES:
        raise BadInput(f"no teacher is called '{name}'", mend=f"use {', '.join(SOURCES)}")
    return SOURCES[name]


def store(source: Source, archive: bytes, folder: Path) -> Card:
    """Write a teacher from its checked archive: weights, card, and the package's licence. Gives the card.

    Raises:
        BadInput: the archive does not hold it, or the folder cannot be written or holds another recogniser.
    """
    _refuse_another(folder, source.card)
    members = read_members(archive, source.members)
    state = source.convert(members)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / source.card.weights, lambda aside: _fill(aside, save(state)))
        write_text(folder / LICENCE_FILE, members[source.licence_member].decode("utf-8", errors="replace"))
        card = source.card.write(folder)
    except OSError as error:
        raise BadInput(
            f"cannot write to {folder}",
            why=f"{type(error).__name__}: {error.strerror or error}",
            mend="give --to a folder that can be made and written, on a disk with room",
        ) from None
    load_pretrained(folder)
    return card


def _fill(aside: Path, content: bytes) -> None:
    aside.write_bytes(content)


def _refuse_another(folder: Path, card: Card) -> None:
    """A card in the folder may be that of a student somebody trained for days."""
    if not (folder / FILE).is_file():
        return
    try:
        same = Card.read(folder).architecture == card.architecture
    except BadInput:
        same = (folder / card.weights).is_file()  # A fetch that was stopped half-way.
    if not same:
        raise BadInput(f"{folder} holds another recogniser", mend="give --to a new folder")
