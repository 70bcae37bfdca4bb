"""A pretrained teacher, read from the folder that `stillhouse fetch-teacher` wrote. Nothing is downloaded here.

teacher = load_pretrained("teachers/dlib")
seen = teacher(images)                        # float (B, 3, 112, 112) in [0, 1], aligned for ArcFace, RGB
seen.embedding.shape                          # (B, 128), not normalised
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ....platform.errors import BadInput
from ..card import FILE, Card
from ..seen import Seen
from .crop import ALIGNED, DlibCrop
from .dlib_resnet import LENGTH, MAPS, SIDE, DlibResNet

ARCHITECTURE = "dlib_resnet"


class DlibTeacher(nn.Module):
    """dlib's network on aligned faces.

    The weights are frozen; a gradient still reaches the pictures.

    Attributes:
        name: what it is called in reports.
        licence: of the weights.
        size: pixels of a side of the faces it takes.
        embedding_length: 128.
        maps: channels of its five maps.
    """

    name = "dlib ResNet-29"
    size = ALIGNED
    embedding_length = LENGTH
    maps = MAPS

    def __init__(self, network: DlibResNet, *, licence: str) -> None:
        super().__init__()
        self.licence = licence
        self.crop = DlibCrop(SIDE)
        self.network = network.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Seen:
        """Look at faces, float (B, 3, 112, 112) in [0, 1].

        Raises:
            BadInput: they are of another shape.
        """
        maps = self.network.trunk(self.crop(images) * 255)
        return Seen(self.network.embedding(maps[-1]), maps)


def load_pretrained(path: Path | str) -> DlibTeacher:
    """The teacher in a folder (or that a file of weights in it holds).

    Raises:
        BadInput: there is none, its card names another network, or the weights are not those of the card.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise BadInput(
            f"{path} does not exist",
            why="a pretrained teacher is read from disk, never downloaded on the way",
            mend="fetch it once: stillhouse fetch-teacher dlib --to FOLDER",
        )
    card = Card.read(folder)
    if path.is_file() and path.name not in (card.weights, FILE):
        raise BadInput(f"{path} has no card", why=f"the {FILE} beside it tells of {card.weights}")
    return teacher_of(card, folder)


def teacher_of(card: Card, folder: Path) -> DlibTeacher:
    """The teacher of a card that was read from the folder.

    Raises:
        BadInput: the card names another network, or the weights do not fit it.
    """
    if card.architecture != ARCHITECTURE:
        raise BadInput(
            f"{folder} holds weights of '{card.architecture}', not of a pretrained teacher known here",
            mend=f"give the folder of a fetched teacher ({ARCHITECTURE})",
        )
    network = DlibResNet()
    try:
        network.load_state_dict(load_file(folder / card.weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        why = f"{type(error).__name__}: they are not whole, or of another network"
        raise BadInput(f"{folder / card.weights} cannot be read", why=why, mend="fetch the teacher again") from None
    if not all(bool(torch.isfinite(one).all()) for one in network.state_dict().values()):
        raise BadInput(f"{folder / card.weights} holds values that are not finite", mend="fetch the teacher again")
    return DlibTeacher(network, licence=card.licence)
