"""FID-proxy: the Frechet distance between synthetic and real images in the features of a small classifier. It is not the FID.

The FID takes the features of a network trained on ImageNet. Here a small classifier is trained on one half of the public test images,
and the other half is the reference, so no record is looked at and the distance may be published. Values compare runs on one data set
with one size of synthetic set; they do not compare with any published FID.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.privacy.validate import positive_int
from ...platform.training.run import Run
from ..condensation.encoders import encoder, fresh_network, frozen
from ..condensation.evaluation import by_itself
from ..condensation.forward import Forward
from ..condensation.recipe import Recipe, as_floats, train_network
from ..condensation.standard import Standard

NETWORK = "convnet"
# More directions than this, and a covariance of a few thousand images is mostly noise.
DIRECTIONS = 64


def fid_proxy(run: Run, images: np.ndarray, test: ImageData, recipe: Recipe, forward: Forward, *, inputs: Any) -> float:
    """The distance of images (n, c, h, w) uint8 to the second half of the test images.

    All processes of a run get the same value; one of them computes it.
    """
    positive_int(images=len(images))

    def measure() -> float:
        half = np.random.default_rng(run.seed_for("proxy", "halves")).permutation(len(test))
        taught, reference = test.take(half[: len(half) // 2]), test.take(half[len(half) // 2 :])
        standard = Standard.of(taught)
        network = fresh_network(NETWORK, test.shape, test.classes, run.seed_for("proxy", "network"))
        alone = by_itself(run, "fid-proxy")
        pictures, labels = torch.from_numpy(taught.images), torch.from_numpy(taught.labels)
        train_network(
            alone, network, pictures, labels, recipe, standard, name="fid-proxy", inputs=taught.content_hash()
        )
        network = frozen(network, run.device)

        def features(pixels: np.ndarray) -> Tensor:
            parts = torch.from_numpy(pixels).split(500)
            seen = [
                forward(encoder(network).features, [standard(as_floats(part.to(run.device)))])[0].cpu()
                for part in parts
            ]
            return torch.cat(seen).double()

        made = features(images)
        directions = _directions(made.shape[1], run.seed_for("proxy", "directions"))
        key = {"taught": taught.content_hash(), "reference": reference.content_hash(), "recipe": asdict(recipe)}
        # The same for every set that is judged in this folder, and most of the work.
        real = alone.stage("fid-proxy-reference", lambda: features(reference.images) @ directions, key, once=True)
        return frechet(real, made @ directions)

    return float(run.stage("fid-proxy", measure, inputs, once=True))


def frechet(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of features (n, d), float64; not negative.

    >>> points = torch.tensor([[0.0], [2.0]]).double()
    >>> round(frechet(points, points + 3), 6), round(frechet(points, 3 * points), 6)
    (9.0, 12.0)
    """
    means = (first.mean(0) - second.mean(0)).square().sum()
    covariances = [torch.atleast_2d(torch.cov(points.T)) for points in (first, second)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The eigenvalues of S1^(1/2) S2 S1^(1/2) are those of S1 S2, and it is symmetric.
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(means + covariances[0].trace() + covariances[1].trace() - 2 * cross))


def _directions(width: int, seed: int) -> Tensor:
    """Orthonormal directions (width, min(width, 64)) that follow from the seed."""
    drawn = torch.randn(width, min(width, DIRECTIONS), generator=torch.Generator().manual_seed(seed)).double()
    return torch.linalg.qr(drawn)[0]
