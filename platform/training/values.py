"""Nested values (dicts, lists, tuples, numbers, texts, numpy arrays, torch tensors) in one safetensors file.

Tensors go in as they are; the structure around them is JSON in the file's metadata. No pickle: reading a file
cannot run code, and `safetensors` in any language opens it.

>>> import numpy as np, tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "value.safetensors"
>>> save_value(path, {"votes": np.arange(3), "sizes": (2, 1), 7: None})
>>> load_value(path)
{'votes': array([0, 1, 2]), 'sizes': (2, 1), 7: None}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from safetensors.torch import save_file

from ..errors import BadInput

_STRUCTURE = "structure"
_TAGS = ("$array", "$tensor", "$tuple", "$items")


def encode(value: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split a value into a JSON structure and the tensors it points to."""
    tensors: dict[str, torch.Tensor] = {}
    return _encode(value, "value", tensors), tensors


def decode(structure: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Put a value together again."""
    if isinstance(structure, list):
        return [decode(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        return structure
    if len(structure) == 1:
        ((tag, content),) = structure.items()
        if tag == "$tensor":
            return tensors[content]
        if tag == "$array":
            return tensors[content].numpy()
        if tag == "$tuple":
            return tuple(decode(item, tensors) for item in content)
        if tag == "$items":
            return {decode(key, tensors): decode(item, tensors) for key, item in content}
    return {key: decode(item, tensors) for key, item in structure.items()}


def save_value(path: Path, value: Any, *, about: Mapping[str, str] | None = None) -> None:
    """Write a value to a file; `about` is more metadata, for people."""
    structure, tensors = encode(value)
    save_file(tensors, str(path), metadata={**(about or {}), _STRUCTURE: json.dumps(structure)})


def load_value(path: Path) -> Any:
    """Read what `save_value` wrote."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        return decode(json.loads(metadata[_STRUCTURE]), tensors)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadInput(f"{path} cannot be read as a kept value", why=f"{type(error).__name__}: {error}") from None


def value_to_bytes(value: Any) -> bytes:
    """A value as bytes, to send to another process."""
    structure, tensors = encode(value)
    text = torch.frombuffer(bytearray(json.dumps(structure).encode()), dtype=torch.uint8)
    return save_bytes({**tensors, _STRUCTURE: text})


def value_from_bytes(data: bytes) -> Any:
    """Read what `value_to_bytes` made."""
    tensors = load_bytes(data)
    return decode(json.loads(bytes(tensors.pop(_STRUCTURE).numpy())), tensors)


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None:
        return None
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)  # Sub-classes (enums) become their base: a fresh value and a kept one are alike.
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise BadInput(f"{path} is a sparse or quantised tensor", mend="convert it with .to_dense() first")
        # A copy: tied weights share memory, which safetensors refuses, and training goes on in place meanwhile.
        return {"$tensor": _add(tensors, path, value.detach().to("cpu", copy=True).contiguous())}
    if isinstance(value, np.ndarray):
        return {"$array": _add(tensors, path, _tensor(value, path))}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not any(tag in value for tag in _TAGS):
            return {key: _encode(item, f"{path}.{key}", tensors) for key, item in value.items()}
        pairs = enumerate(value.items())
        return {"$items": [[_encode(k, path, tensors), _encode(v, f"{path}.{i}", tensors)] for i, (k, v) in pairs]}
    raise BadInput(
        f"{path} is a {type(value).__name__}, which cannot be kept",
        why="stages and checkpoints hold dicts, lists, tuples, numbers, texts, arrays and tensors, never pickles",
        mend="return its to_json() or its state_dict()",
    )


def _add(tensors: dict[str, torch.Tensor], path: str, tensor: torch.Tensor) -> str:
    while path in tensors:  # {"a.b": x, "a": {"b": y}} would meet here.
        path += "'"
    tensors[path] = tensor
    return path


def _tensor(array: np.ndarray, path: str) -> torch.Tensor:
    if array.dtype.kind not in "biufc":
        raise BadInput(f"{path} is an array of {array.dtype}", mend="keep numbers in arrays and texts in lists")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True))
