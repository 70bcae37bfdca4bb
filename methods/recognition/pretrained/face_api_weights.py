"""The weights of dlib's network as the npm package @vladmandic/face-api holds them: a binary file, and a manifest of what is where.

The manifest lists tensors in the order of the file. A tensor is float32, or quantised to bytes: value = minimum + scale * byte.
Convolutions are stored (height, width, in, out), each followed by a scale and a shift per channel:

    y = scale * (filters * x + bias) + shift  =  (scale * filters) * x + (scale * bias + shift)

so that one convolution with a bias does the work of both.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....platform.errors import BadInput
from .dlib_resnet import STAGES


def read_tensors(manifest: bytes, content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a manifest with one group, as float64.

    Raises:
        BadInput: the manifest is none, or the file is longer or shorter than it says.
    """
    try:
        (group,) = json.loads(manifest)
        entries = [_Entry(one) for one in group["weights"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput("the weights' manifest cannot be read", why=f"{type(error).__name__}") from None
    if (told := sum(one.length for one in entries)) != len(content):
        raise BadInput(f"the weights have {len(content):,} bytes", why=f"their manifest tells of {told:,}")
    found, start = {}, 0
    for entry in entries:
        found[entry.name] = entry.read(content[start : start + entry.length])
        start += entry.length
    return found


class _Entry:
    """One tensor of the manifest."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.name = str(data["name"])
        self.shape = tuple(int(size) for size in data["shape"])
        quantised = data.get("quantization")
        self.scale, self.least, kind = 1.0, 0.0, data["dtype"]
        if quantised:
            self.scale, self.least, kind = float(quantised["scale"]), float(quantised["min"]), quantised["dtype"]
        self.dtype = np.dtype({"float32": "<f4", "uint8": "u1"}[kind])
        self.length = math.prod(self.shape) * self.dtype.itemsize

    def read(self, content: bytes) -> np.ndarray:
        values = np.frombuffer(content, self.dtype).astype(np.float64)
        return (self.least + self.scale * values).reshape(self.shape)


def state_of(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The `DlibResNet` state of the package's tensors.

    Raises:
        BadInput: one is missing, or there are others.
    """
    left = dict(tensors)
    state: dict[str, Tensor] = {}

    def take(name: str) -> np.ndarray:
        if name not in left:
            raise BadInput(f"the weights hold no tensor {name}", why="they are not those of this network")
        return left.pop(name)

    def convolution(theirs: str, ours: str) -> None:
        filters, bias = take(f"{theirs}/conv/filters"), take(f"{theirs}/conv/bias")
        scale, shift = take(f"{theirs}/scale/weights"), take(f"{theirs}/scale/biases")
        state[f"{ours}.weight"] = _float32((filters * scale).transpose(3, 2, 0, 1))
        state[f"{ours}.bias"] = _float32(bias * scale + shift)

    convolution("conv32_down", "stem")
    for number, stage in enumerate(STAGES):
        for name, _, _ in stage:
            convolution(f"{name}/conv1", f"stages.{number}.{name}.first")
            convolution(f"{name}/conv2", f"stages.{number}.{name}.second")
    state["embed.weight"] = _float32(take("fc").T)
    if left:
        raise BadInput(f"the weights hold {len(left)} tensors too many", why=f"such as {next(iter(left))}")
    return state


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
