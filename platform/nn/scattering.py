"""A fixed two-layer wavelet scattering transform of images: |x * psi1| * phi and ||x * psi1| * psi2| * phi.

Nothing in it is learnt, so it is public whatever it is applied to: a strong description of small images that costs no privacy.
Morlet wavelets at J scales and L orientations, Gaussian low-pass, as in Bruna & Mallat 2013 (arXiv 1203.1513) with the usual widths
(sigma 0.8 * 2^j, frequency 3 pi/4 * 2^-j, slant 4/L).

Two things make it quick. Scale j is computed on the grid it needs, by folding its spectrum (2^j times coarser). And the last
low-pass with its subsampling is separable, so it is two small matrix products instead of a transform forth and back.

>>> transform = Scattering2D((1, 28, 28))
>>> transform.channels, transform.features, tuple(transform(torch.zeros(2, 1, 28, 28)).shape)
(81, 3969, (2, 3969))
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import BadInput

PERIODS = range(-2, 3)
SMALL = 16
FEATURE_BATCH = 32
OFFSET = 1e-3


class Scattering2D(nn.Module):
    """Images (B, c, h, w), floats in [0, 1], to features (B, `features`): scattering coefficients, flattened.

    Args:
        shape: channels, height, width of the images. They are padded with zeros to a multiple of 2^J.
        J: number of scales; coefficients lie on a grid 2^J times coarser. None: 2, or 1 for images below 16 pixels.
        L: number of orientations.
    """

    def __init__(self, shape: tuple[int, int, int], J: int | None = None, L: int = 8) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise BadInput(f"shape {shape!r} is not (channels, height, width)")
        if J is None:
            J = 1 if min(shape[1:]) < SMALL else 2
        if J < 1 or L < 1:
            raise BadInput(f"J={J}, L={L}", why="there is at least one scale and one orientation")
        self.shape, self.J, self.L = (int(shape[0]), int(shape[1]), int(shape[2])), J, L
        step = 2**J
        self._inner = tuple(max(2, math.ceil(side / step)) * step for side in self.shape[1:])
        # One output step of mirrored border on each side keeps the far side of the (periodic) transform out.
        self._outer = tuple(side + 2 * step for side in self._inner)
        self._grid = tuple(side // step for side in self._inner)
        self.channels = 1 + J * L + L * L * J * (J - 1) // 2
        self.features = self.shape[0] * self.channels * self._grid[0] * self._grid[1]
        for j in range(J):
            bank = np.fft.fft2(np.stack([morlet(self._outer, j, t, L) for t in range(L)])).real
            for at in range(j + 1):
                self.register_buffer(
                    f"_psi{j}_{at}", torch.from_numpy(keep(keep(bank, 2**at, -1), 2**at, -2)).float(), persistent=False
                )
            for axis, (outer, inner) in enumerate(zip(self._outer, self._inner, strict=True)):
                matrix = low_pass(outer, inner, J=J, resolution=j)
                self.register_buffer(f"_low{j}_{axis}", torch.from_numpy(matrix).float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the coefficients, (B, features)."""
        expected = next(self.buffers()).dtype
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape or images.dtype != expected:
            raise BadInput(
                f"images are {images.dtype} of shape {tuple(images.shape)}",
                why=f"this transform takes {expected} of shape (B, {', '.join(map(str, self.shape))})",
                mend="convert pixels to floats in [0, 1]",
            )
        batch, channels = images.shape[:2]
        padded = self._pad(images).flatten(0, 1)
        spectrum = torch.fft.fft2(padded)
        zeroth, firsts, seconds = self._low(padded[:, None], 0), [], []
        for j1 in range(self.J):
            first = self._modulus(spectrum[:, None], j1, at=0)
            firsts.append(self._low(first, j1))
            if j1 + 1 < self.J:
                spectra = torch.fft.fft2(first)[:, :, None]
                for j2 in range(j1 + 1, self.J):
                    seconds.append(self._low(self._modulus(spectra, j2, at=j1).flatten(1, 2), j2))
        return (
            torch.cat([zeroth, *firsts, *seconds], dim=1)
            .reshape(batch, channels * self.channels, *self._grid)
            .flatten(1)
        )

    def _pad(self, images: torch.Tensor) -> torch.Tensor:
        height, width = self.shape[1:]
        down, right = self._inner[0] - height, self._inner[1] - width
        image = F.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
        border = 2**self.J
        return F.pad(image, (border,) * 4, mode="reflect")

    def _modulus(self, spectrum: torch.Tensor, j: int, *, at: int) -> torch.Tensor:
        """Filter with all orientations of scale `j` a spectrum that lies on the grid of scale `at`; orientations last."""
        return torch.fft.ifft2(fold(spectrum * getattr(self, f"_psi{j}_{at}"), 2 ** (j - at))).abs()

    def _low(self, maps: torch.Tensor, j: int) -> torch.Tensor:
        """Smooth and subsample maps on the grid of scale `j` to the output grid, without the border."""
        return getattr(self, f"_low{j}_0") @ maps @ getattr(self, f"_low{j}_1").T


@torch.no_grad()
def features(transform: Scattering2D, images: np.ndarray) -> torch.Tensor:
    """Return fourth roots of the coefficients of uint8 images, (n, `transform.features`), on the transform's device.

    The root evens out the coefficients' heavy tails; a small offset keeps it from magnifying rounding errors about zero. Images go
    through in batches that fit a processor's cache.
    """
    device = next(transform.buffers()).device
    found = torch.empty(len(images), transform.features, device=device)
    for start in range(0, len(images), FEATURE_BATCH):
        part = slice(start, start + FEATURE_BATCH)
        pixels = torch.tensor(images[part], device=device).float() / 255
        # Smoothing can leave a coefficient a hair below zero.
        found[part] = (transform(pixels).clamp_(min=0) + OFFSET).sqrt_().sqrt_()
    return found


def fold(spectrum: torch.Tensor, factor: int) -> torch.Tensor:
    """Return the spectrum of the signal that keeps every `factor`-th sample: aliases are averaged."""
    if factor == 1:
        return spectrum
    # Slice by slice: a mean over two strided axes of complex numbers is several times slower.
    for axis in (-1, -2):
        parts = spectrum.split(spectrum.shape[axis] // factor, dim=axis)
        total = parts[0] + parts[1]
        for part in parts[2:]:
            total += part
        spectrum = total
    return spectrum / factor**2


def keep(spectrum: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Return the part of a filter's spectrum that a grid `factor` times coarser can hold, along one axis."""
    length = spectrum.shape[axis]
    low, high = length // (2 * factor), length - length // (2 * factor)
    return np.take(spectrum, [*range(low), *range(high, length)], axis=axis) if factor > 1 else spectrum


def morlet(size: tuple[int, ...], j: int, orientation: int, L: int) -> np.ndarray:
    """Return one periodised Morlet wavelet with zero mean, (height, width) complex."""
    angle = (L - L // 2 - 1 - orientation) * math.pi / L
    sigma, frequency, slant = 0.8 * 2**j, 0.75 * math.pi / 2**j, 4 / L
    wave, envelope = np.zeros(size, complex), np.zeros(size)
    for down in PERIODS:
        for right in PERIODS:
            y, x = np.mgrid[down * size[0] : (down + 1) * size[0], right * size[1] : (right + 1) * size[1]]
            along = y * math.cos(angle) + x * math.sin(angle)
            across = -y * math.sin(angle) + x * math.cos(angle)
            bump = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
            envelope += bump
            wave += bump * np.exp(1j * frequency * along)
    return (wave - envelope * wave.sum() / envelope.sum()) * slant / (2 * math.pi * sigma**2)


def low_pass(outer: int, inner: int, *, J: int, resolution: int) -> np.ndarray:
    """Return the matrix (inner / 2^J, outer / 2^resolution) that smooths one axis by the Gaussian and subsamples it.

    The Gaussian has sigma 0.8 * 2^(J-1) samples of the full grid and is folded onto the coarser one in Fourier space.
    """
    sigma, factor = 0.8 * 2 ** (J - 1), 2**resolution
    positions = np.arange(outer) + outer * np.array(PERIODS)[:, None]
    kernel = np.exp(-(positions**2) / (2 * sigma**2)).sum(0) / (math.sqrt(2 * math.pi) * sigma)
    coarse = outer // factor
    response = np.fft.ifft(keep(np.fft.fft(kernel).real, factor, 0)).real
    step, border = 2**J // factor, 1
    rows = (np.arange(inner // 2**J) + border) * step
    return response[(rows[:, None] - np.arange(coarse)[None]) % coarse]
