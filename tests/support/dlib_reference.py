"""dlib's network once more, by NumPy alone: channels last, scale and shift apart from the convolutions, as the package stores it."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

WIDTHS = {
    "conv32_1": (32, 32), "conv32_2": (32, 32), "conv32_3": (32, 32),
    "conv64_down": (32, 64), "conv64_1": (64, 64), "conv64_2": (64, 64), "conv64_3": (64, 64),
    "conv128_down": (64, 128), "conv128_1": (128, 128), "conv128_2": (128, 128),
    "conv256_down": (128, 256), "conv256_1": (256, 256), "conv256_2": (256, 256), "conv256_down_out": (256, 256),
}  # fmt: skip


@cache
def made_up_tensors(seed: int) -> dict[str, np.ndarray]:
    """Random tensors of the network's shapes, in the order and under the names of the package."""
    rng = np.random.default_rng(seed)

    def convolution(name: str, size: int, before: int, width: int) -> dict[str, np.ndarray]:
        spread = 1 / (size * np.sqrt(before))
        return {
            f"{name}/conv/filters": rng.normal(0, spread, (size, size, before, width)),
            f"{name}/conv/bias": rng.normal(0, 0.1, width),
            f"{name}/scale/weights": rng.uniform(0.5, 1.5, width),
            f"{name}/scale/biases": rng.normal(0, 0.1, width),
        }

    found = convolution("conv32_down", 7, 3, 32)
    for name, (before, width) in WIDTHS.items():
        found |= convolution(f"{name}/conv1", 3, before, width) | convolution(f"{name}/conv2", 3, width, width)
    return found | {"fc": rng.normal(0, 0.1, (256, 128))}


def embedding(tensors: dict[str, np.ndarray], chip: np.ndarray) -> np.ndarray:
    """The embedding (128,) of a chip (150, 150, 3), 0 to 255."""
    maps = _convolved(tensors, "conv32_down", (chip - np.array([122.782, 117.001, 104.298])) / 256, step=2, around=0)
    maps = _windows(np.maximum(maps, 0), 3, 2).max((2, 3))
    for name in WIDTHS:
        down = "down" in name
        body = _convolved(tensors, f"{name}/conv1", maps, step=2 if down else 1, around=0 if down else 1)
        body = _convolved(tensors, f"{name}/conv2", np.maximum(body, 0), step=1, around=1)
        beside = _windows(maps, 2, 2).mean((2, 3)) if down else maps
        total = np.zeros([max(pair) for pair in zip(body.shape, beside.shape, strict=True)])
        for part in (body, beside):
            total[tuple(map(slice, part.shape))] += part
        maps = np.maximum(total, 0)
    return np.asarray(maps.mean((0, 1)) @ tensors["fc"])


def _windows(maps: np.ndarray, size: int, step: int) -> np.ndarray:
    """(rows, columns, size, size, channels)."""
    seen = np.lib.stride_tricks.sliding_window_view(maps, (size, size), (0, 1))[::step, ::step]
    return seen.transpose(0, 1, 3, 4, 2)


def _convolved(tensors: dict[str, np.ndarray], name: str, maps: np.ndarray, *, step: int, around: int) -> np.ndarray:
    filters = tensors[f"{name}/conv/filters"]
    padded = np.pad(maps, ((around, around), (around, around), (0, 0)))
    plain = np.tensordot(_windows(padded, len(filters), step), filters, 3) + tensors[f"{name}/conv/bias"]
    return np.asarray(plain * tensors[f"{name}/scale/weights"] + tensors[f"{name}/scale/biases"])


def stored(tensors: dict[str, np.ndarray], *, in_bytes: bool) -> tuple[bytes, bytes, dict[str, np.ndarray]]:
    """The manifest and the file of tensors, each value a byte or a float32, and what a reader must find in them."""
    entries, pieces, found = [], [], {}
    for name, values in tensors.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if in_bytes:
            least, scale = float(values.min()), float(max(values.max() - values.min(), 1e-9) / 255)
            content = np.rint((values - least) / scale).astype(np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": least}
            found[name] = least + scale * content.astype(np.float64)
        else:
            content = values.astype("<f4")
            found[name] = content.astype(np.float64)
        entries.append(entry)
        pieces.append(content.tobytes())
    return json.dumps([{"weights": entries, "paths": ["x.bin"]}]).encode(), b"".join(pieces), found
