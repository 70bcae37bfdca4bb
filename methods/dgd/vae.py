"""The variational autoencoder of the synthetic images: its decoder is the manifold along which the student is regularised.

    L_V = mean_B sum_pixels BCE(g(z), x) + beta mean_B KL(N(mu, diag e^logvar) || N(0, I)),  beta = 0.5

(Kingma & Welling 2014; beta, optimiser and the use of z = mu after training as in TNAR's published code.) Images are in [0, 1], as the
cross entropy needs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.loop import train
from ...platform.training.run import Run

ENCODED_AT_ONCE = 500


@dataclass(frozen=True)
class VaeSettings:
    """Size and training of the autoencoder: `latent` dimensions, `width` channels, weight `beta` of the divergence; Adam."""

    latent: int = 32
    width: int = 32
    beta: float = 0.5
    epochs: int = 4
    batch_size: int = 128
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        positive_int(latent=self.latent, width=self.width, epochs=self.epochs, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate)
        non_negative(beta=self.beta)


class Vae(nn.Module):
    """Images (B, c, h, w) in [0, 1] to latents and back: two strided convolutions each way, LeakyReLU 0.1."""

    def __init__(self, shape: tuple[int, int, int], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, span = shape
        self.shape, self.latent = shape, latent
        grid = (math.ceil(height / 4), math.ceil(span / 4))
        # Images are padded to a multiple of 4 and cut again.
        self._pad = (4 * grid[1] - span, 4 * grid[0] - height)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.BatchNorm2d(width), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.1), nn.Flatten(),
            nn.Linear(2 * width * grid[0] * grid[1], 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, 2 * width * grid[0] * grid[1]), nn.Unflatten(1, (2 * width, *grid)),
            nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.BatchNorm2d(width), nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )  # fmt: skip

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latents, (B, latent) each."""
        mean, log_variance = self.encoder(F.pad(images, (0, self._pad[0], 0, self._pad[1]))).chunk(2, dim=1)
        return mean, log_variance

    def decode_logits(self, latents: Tensor) -> Tensor:
        """Return the pixels' logits."""
        return self.decoder(latents)[..., : self.shape[1], : self.shape[2]]

    def forward(self, latents: Tensor) -> Tensor:
        """Return images: the manifold's map g."""
        return torch.sigmoid(self.decode_logits(latents))

    @torch.no_grad()
    def means(self, images: np.ndarray) -> Tensor:
        """Return the latents' means of uint8 images, (n, latent); the autoencoder is in eval mode afterwards."""
        self.eval()
        device = next(self.parameters()).device
        parts = torch.from_numpy(images).split(ENCODED_AT_ONCE)
        return torch.cat([self.encode(part.to(device).float() / 255)[0].cpu() for part in parts])


class VaeLoss(nn.Module):
    """Float images (B, c, h, w) to L_V and its two parts. Draws z = mu + e^(logvar/2) n from torch's generator."""

    def __init__(self, vae: Vae, beta: float) -> None:
        super().__init__()
        self.vae, self.beta = vae, beta

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the loss. (A module, so that several processes average its gradient.)"""
        mean, log_variance = self.vae.encode(images)
        latents = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        logits = self.vae.decode_logits(latents)
        pixels = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
        divergence = gaussian_kl(mean, log_variance).mean()
        return {"loss": pixels + self.beta * divergence, "pixels": pixels, "divergence": divergence}


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag e^log_variance) || N(0, I)), (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def train_vae(run: Run, images: np.ndarray, settings: VaeSettings, *, name: str, inputs: Any) -> Vae:
    """Return an autoencoder of uint8 images (n, c, h, w), frozen and in eval mode."""
    torch.manual_seed(run.seed_for(name))
    channels, height, width = images.shape[1:]
    vae = Vae((channels, height, width), latent=settings.latent, width=settings.width).to(run.device)
    loader = run.loader((torch.from_numpy(images),), min(settings.batch_size, len(images)))
    optimizer = torch.optim.Adam(vae.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * len(loader) + 1
    )

    def loss(model: nn.Module, batch: tuple[Tensor]) -> dict[str, Tensor]:
        return model(batch[0].float() / 255)

    train(
        run, VaeLoss(vae, settings.beta), loss, loader, optimizer, epochs=settings.epochs, name=name, scheduler=schedule,
        scheduler_every="step", inputs={"vae": asdict(settings), **inputs},
    )  # fmt: skip
    return vae.eval().requires_grad_(False)
