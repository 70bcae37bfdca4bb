"""The autoencoder's loss is the evidence bound it is said to be; it learns, and is frozen afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.dgd.vae import Vae, VaeLoss, VaeSettings, gaussian_kl, train_vae
from stillhouse.platform.data.procedural import procedural_images
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch.distributions import Independent, Normal, kl_divergence


def test_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    prior = Independent(Normal(torch.zeros(5, 3), torch.ones(5, 3)), 1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(posterior, prior))


def test_loss_is_pixels_and_weighted_divergence() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 1, 8, 8)
    vae = Vae((1, 8, 8), latent=3, width=4).eval()
    parts = VaeLoss(vae, beta=0.5).eval()(images)
    torch.testing.assert_close(parts["loss"], parts["pixels"] + 0.5 * parts["divergence"])
    # With the posterior squeezed to its mean nothing is drawn, and the pixels' part is the plain cross entropy.
    with torch.no_grad():
        vae.encoder[-1].bias[3:] = -60.0
        vae.encoder[-1].weight[3:] = 0.0
    decoded = vae(vae.encode(images)[0])
    expected = torch.nn.functional.binary_cross_entropy(decoded, images, reduction="none").flatten(1).sum(1).mean()
    torch.testing.assert_close(VaeLoss(vae, beta=0.0).eval()(images)["pixels"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 14)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    vae = Vae(shape, latent=3, width=4)
    images = np.zeros((7, *shape), np.uint8)
    assert vae.means(images).shape == (7, 3)
    assert vae(torch.zeros(2, 3)).shape == (2, *shape)


def test_it_learns_and_is_frozen(tmp_path: Path) -> None:
    images = procedural_images(300, (1, 8, 8), kind="objects", seed=0)
    settings = VaeSettings(latent=12, width=16, epochs=60, batch_size=50)
    vae = train_vae(LocalRun(tmp_path, seed=0, reporter=Silent()), images, settings, name="vae", inputs={})
    pixels = torch.from_numpy(images).float() / 255
    error = float((vae(vae.means(images)) - pixels).square().mean())
    plain = float((pixels.mean(0) - pixels).square().mean())
    assert error < 0.6 * plain
    assert not vae.training
    assert not any(parameter.requires_grad for parameter in vae.parameters())
