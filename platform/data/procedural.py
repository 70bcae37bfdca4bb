"""Images made by a rule, from a seed and nothing else: they are public whatever they are used for.

- `noise`: independent uniform pixels.
- `smooth`: Gaussian noise whose amplitude falls with frequency, as in photographs.
- `leaves`: dead leaves, opaque discs and boxes of power-law sizes over one another (Lee, Mumford & Huang 2001; as training images in
  Baradad et al. 2021, arXiv 2106.05963).
- `objects`: a few overlapping textured shapes near the middle of a dark ground, often mirrored: how a photographed object differs
  from a texture.
- `mixed`: the last three in equal parts.

>>> images = procedural_images(4, (1, 28, 28), kind="leaves", seed=0)
>>> images.shape, images.dtype
((4, 1, 28, 28), dtype('uint8'))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import BadInput

Shape = tuple[int, int, int]
BATCH = 2000
LEAVES = 40
MOST_PARTS = 5


def procedural_images(n: int, shape: Shape, *, kind: str = "mixed", seed: int) -> np.ndarray:
    """Return n images of that kind, uint8 (n, c, h, w); the same seed gives the same images.

    Raises:
        BadInput: the kind is unknown, or the shape is no image's.
    """
    if kind not in KINDS:
        raise BadInput(f"unknown kind of procedural image {kind!r}", mend=f"use one of {', '.join(KINDS)}")
    if n < 1 or len(shape) != 3 or min(shape) < 1:
        raise BadInput(f"{n} images of shape {shape}", why="there is at least one, of shape (channels, height, width)")
    rng = np.random.default_rng(seed)
    batches = [KINDS[kind](min(BATCH, n - start), shape, rng) for start in range(0, n, BATCH)]
    return np.rint(np.clip(np.concatenate(batches), 0, 1) * 255).astype(np.uint8)


def _noise(n: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return rng.random((n, *shape), dtype=np.float32)


def _smooth(n: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    height, width = shape[1:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    fall = rng.uniform(0.5, 2.0, (n, 1, 1, 1))
    spectrum = np.fft.rfft2(rng.standard_normal((n, *shape))) * np.maximum(radius, 1 / max(height, width)) ** -fall
    field = np.fft.irfft2(spectrum, s=(height, width))
    field -= field.mean((2, 3), keepdims=True)
    field /= field.std((2, 3), keepdims=True) + 1e-9
    return (0.5 + rng.uniform(0.05, 0.3, (n, 1, 1, 1)) * field).astype(np.float32)


def _leaves(n: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    images = np.broadcast_to(rng.random((n, shape[0], 1, 1)), (n, *shape)).astype(np.float32)
    for _ in range(LEAVES):
        size = 0.04 * rng.power(0.7, n) ** -0.8
        inside = _shape(n, shape, rng, centre=rng.uniform(-1.1, 1.1, (n, 2)), size=np.minimum(size, 0.8))
        images = np.where(inside, rng.random((n, shape[0], 1, 1)), images)
    return images.astype(np.float32)


def _objects(n: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    body = np.zeros((n, 1, *shape[1:]), bool)
    shade = np.zeros((n, *shape), np.float32)
    parts = rng.integers(1, MOST_PARTS + 1, n)
    for part in range(MOST_PARTS):
        centre = rng.uniform(-0.5, 0.5, (n, 2))
        inside = _shape(n, shape, rng, centre=centre, size=rng.uniform(0.15, 0.8, n))
        inside &= (parts > part)[:, None, None, None]
        shade = np.where(inside, rng.uniform(0.25, 1.0, (n, shape[0], 1, 1)), shade)
        body |= inside
    mirrored = rng.random(n) < 0.6
    body[mirrored] |= body[mirrored][..., ::-1]
    shade[mirrored] = np.maximum(shade[mirrored], shade[mirrored][..., ::-1])
    texture = 1 + rng.uniform(0, 1.0, (n, 1, 1, 1)) * (_smooth(n, shape, rng) - 0.5)
    return (body * shade * texture).astype(np.float32)


def _mixed(n: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    parts = (_smooth, _leaves, _objects)
    counts = [n // len(parts) + (i < n % len(parts)) for i in range(len(parts))]
    images = np.concatenate([part(count, shape, rng) for part, count in zip(parts, counts, strict=True) if count])
    return images[rng.permutation(n)]


def _shape(n: int, shape: Shape, rng: np.random.Generator, *, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Masks (n, 1, h, w) of rotated super-ellipses (between a rhombus and a box); the image spans -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[2]), indexing="ij")
    # Upright shapes are common in pictures of things, so half of them are.
    angle = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, np.pi, n))[:, None, None]
    right, down = x - centre[:, :1, None], y - centre[:, 1:, None]
    along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    stretch = np.exp(rng.uniform(-1.0, 1.0, n))
    power = rng.choice([1.0, 2.0, 8.0], n)[:, None, None]
    long, short = (size * stretch**0.5)[:, None, None], (size / stretch**0.5)[:, None, None]
    return ((np.abs(along) / long) ** power + (np.abs(across) / short) ** power <= 1)[:, None]


KINDS: dict[str, Callable[[int, Shape, np.random.Generator], np.ndarray]] = {
    "noise": _noise, "smooth": _smooth, "leaves": _leaves, "objects": _objects, "mixed": _mixed,
}  # fmt: skip
