"""Teachers from files: a checkpoint of an architecture of this package, TorchScript, ONNX, and dlib's network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...platform.errors import BadInput, MissingExtra
from .networks import Recogniser
from .seen import Seen
from .teacher import NetworkTeacher, TeacherSettings

STATE = ("state_dict", "model", "student")  # where trainings put the weights among other things
NECK = "neck.1.weight"


def read_teacher(settings: TeacherSettings, *, side: int, channels: int) -> nn.Module:
    """The teacher in a file, as it is there: no training, no download.

    Args:
        settings: `source` is not train.
        side, channels: of the data's pictures.

    Raises:
        BadInput: the file is missing, damaged, of another architecture, or its embedding has another length than `network` says.
    """
    if settings.path is None:
        raise BadInput(f"no path of the teacher's {settings.source} file", mend="set method.teacher.path=PATH")
    path = Path(settings.path)
    if not path.exists():
        raise BadInput(f"{path} does not exist", why="a teacher is read from disk", mend="set method.teacher.path=PATH")
    if settings.source == "dlib":
        from .pretrained.teacher import load_pretrained

        return load_pretrained(path)
    size = settings.size or side
    if settings.source == "checkpoint":
        network: nn.Module = _from_checkpoint(path, settings, size, channels)
    else:
        network = _Embedding(_scripted(path) if settings.source == "torchscript" else _Onnx(path))
    found = network.eval()(settings.preprocessing(torch.full((2, channels, size, size), 0.5)))
    wanted = settings.network.embedding_length
    if wanted is not None and found.embedding.shape[1] != wanted:
        raise BadInput(
            f"the teacher's embedding has {found.embedding.shape[1]} numbers, not {wanted}",
            why=f"{path.name} is of another network than method.teacher.network says",
            mend=f"set method.teacher.network.embedding_length={found.embedding.shape[1]}, or give another file",
        )
    return NetworkTeacher(
        network, name=settings.name or path.name, licence=settings.licence, size=size, preprocessing=settings.preprocessing,
        embedding_length=found.embedding.shape[1], maps=tuple(one.shape[1] for one in found.maps),
    )  # fmt: skip


def _from_checkpoint(path: Path, settings: TeacherSettings, size: int, channels: int) -> Recogniser:
    state = _backbone(_state(path))
    wanted, there = settings.network.embedding_length, state.get(NECK)
    if wanted is not None and there is not None and there.shape[0] != wanted:
        raise BadInput(
            f"the teacher's embedding has {there.shape[0]} numbers, not {wanted}",
            why=f"so it is in {path.name}",
            mend=f"set method.teacher.network.embedding_length={there.shape[0]}, or give another file",
        )
    network = settings.network.fresh(side=size, channels=channels, seed=0)
    try:
        network.load_state_dict(state)
    except RuntimeError:  # Its message lists every name; what matters is which network was asked for.
        raise BadInput(
            f"{path} does not hold weights of {settings.network.name} for pictures of {size} pixels",
            why="names or shapes of its tensors are others",
            mend="set method.teacher.network.name, method.teacher.size and .embedding_length as it was trained",
        ) from None
    _check_finite(state, path)
    return network


def _state(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read as weights", why=type(error).__name__) from None
    except Exception as error:  # Of a damaged or poisoned file torch and pickle raise whatever they stumble on.
        raise BadInput(
            f"{path} cannot be read as weights",
            why=f"{type(error).__name__}: it is damaged, or holds more than tensors, which are not loaded",
            mend="save the network's state_dict() alone, or use safetensors",
        ) from None
    for name in STATE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        raise BadInput(f"{path} holds no state_dict", mend="save the network's state_dict() alone")
    return found


def _backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes of wrappers, and without a head."""
    cut = {name.removeprefix("module.").removeprefix("recogniser."): one for name, one in state.items()}
    return {name: one for name, one in cut.items() if not name.startswith("head.")}


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    if not all(bool(torch.isfinite(one).all()) for one in state.values()):
        raise BadInput(f"{path} holds values that are not finite", mend="give another file")


class _Embedding(nn.Module):
    """A network that gives an embedding and nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Seen:
        found = self.network(pictures)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(pictures):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise BadInput(
                f"the teacher gives {shape} for {len(pictures)} pictures", why="an embedding each was expected"
            )
        return Seen(found.float())


def _scripted(path: Path) -> nn.Module:
    try:
        return torch.jit.load(path, map_location="cpu")
    except Exception as error:  # Of a damaged file torch raises whatever it stumbles on.
        raise BadInput(f"{path} cannot be read as TorchScript", why=type(error).__name__) from None


class _Onnx(nn.Module):
    """An ONNX graph with one input (B, c, h, w) and an embedding as its first output, run on the CPU."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra(
                "an ONNX teacher needs onnxruntime",
                why=str(error),
                mend="pip install -e '.[recognition]' in the source folder",
            ) from None
        self._bytes = path.read_bytes()
        try:
            self._session: Any = onnxruntime.InferenceSession(self._bytes, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has classes of its own for every kind of damage.
            raise BadInput(f"{path} cannot be read as ONNX", why=type(error).__name__) from None
        self._input = self._session.get_inputs()[0]
        # The graph's bytes, so that a hash of this module's state is one of the graph.
        self.register_buffer("graph", torch.from_numpy(np.frombuffer(self._bytes, np.uint8).copy()))

    def forward(self, pictures: Tensor) -> Tensor:
        batch = pictures.detach().cpu().numpy().astype(np.float32)
        # Many published graphs are fixed to one picture.
        pieces = [batch] if not isinstance(self._input.shape[0], int) else np.split(batch, len(batch))
        try:
            found = [self._session.run(None, {self._input.name: piece})[0] for piece in pieces]
        except Exception as error:
            raise BadInput(
                f"the teacher's graph does not take pictures of shape {tuple(batch.shape[1:])}",
                why=f"{type(error).__name__}; its input is {self._input.shape}",
                mend="set method.teacher.size to the pixels that it wants",
            ) from None
        return torch.from_numpy(np.concatenate(found)).to(pictures.device)
