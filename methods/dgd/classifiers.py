"""Classifiers of images in two steps, features and head: the baseline classifier, and the student.

- `scatter_linear`: a linear model on scattering features that were whitened with procedural images and scaled to length 1. Nothing
  in it but the last layer is learnt, so DP-SGD has few coordinates to drown in noise: the strongest small-image DP-SGD known to us.
- `scatter_mlp`: the same features with a hidden layer and dropout on top; for a student, whose training costs no privacy.
- `cnn`: a small convolutional network.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ...platform.data.images import ImageData
from ...platform.data.procedural import procedural_images
from ...platform.nn.cnn import SmallCnn
from ...platform.nn.projection import ScatteringProjection

# A public constant: the projection is part of the model's definition, the same whatever the run's seed.
PUBLIC_SEED = 0
PUBLIC_IMAGES = 12_000
PUBLIC_KIND = "objects"
WHITENING = 0.5
BIAS_INPUT = 0.3
REMEMBERED_SETS = 12
# A linear model on unit vectors needs weights of the order 10, a network does not.
RATE_ON_SPHERE = 30.0


class Classifier(nn.Module):
    """A classifier of float images; `trained_part` is what is learnt, from `inputs` that are computed once for each image."""

    def features(self, images: Tensor) -> Tensor:
        """Float images (B, c, h, w) to features (B, F)."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """Features to logits (B, K)."""
        raise NotImplementedError

    @property
    def trained_part(self) -> nn.Module:
        """The module that is trained."""
        raise NotImplementedError

    def inputs(self, images: np.ndarray) -> Tensor:
        """What the trained part takes for uint8 images (n, c, h, w)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.classify(self.features(images))

    def released(self) -> dict[str, Tensor]:
        """What was learnt."""
        return {name: value.detach().cpu().clone() for name, value in self.trained_part.state_dict().items()}

    def take_over(self, state: Mapping[str, Tensor]) -> None:
        """Take over what was learnt before."""
        self.trained_part.load_state_dict(dict(state))

    @torch.no_grad()
    def probabilities(self, images: np.ndarray) -> Tensor:
        """Return (n, K) for uint8 images, on the CPU. The classifier is in eval mode afterwards."""
        self.eval()
        device = next(self.parameters()).device
        parts = self.inputs(images).split(4096)
        return torch.cat([self.trained_part(part.to(device)).softmax(1).cpu() for part in parts])


def accuracy(classifier: Classifier, score: ImageData) -> float:
    """Return the share of right answers; the classifier is on the CPU afterwards."""
    predicted = classifier.cpu().probabilities(score.images).argmax(1).numpy()
    return float((predicted == score.labels).mean())


class ScatterClassifier(Classifier):
    """Public unit vectors and a head that is learnt. A head is a module from (B, components) to logits."""

    def __init__(self, projection: ScatteringProjection, head: nn.Module) -> None:
        super().__init__()
        # Shared by all classifiers in this process and never trained; kept out of the state, which is what was learnt.
        self._projection = [projection]
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Unit vectors."""
        return self._projection[0].to(images.device)(images)

    def classify(self, features: Tensor) -> Tensor:
        """Logits."""
        return self.head(features)

    @property
    def trained_part(self) -> nn.Module:
        """The head."""
        return self.head

    def inputs(self, images: np.ndarray) -> Tensor:
        """Unit vectors."""
        return remembered_vectors(self._projection[0].cpu(), images)


class CnnClassifier(Classifier):
    """A small convolutional network; its features are those before the last layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int, *, width: int, hidden: int) -> None:
        super().__init__()
        self.net = SmallCnn(shape, classes, width=width, hidden=hidden)

    def features(self, images: Tensor) -> Tensor:
        """The activations before the last layer."""
        return self.net.head[:-1](self.net.features(images - 0.5))

    def classify(self, features: Tensor) -> Tensor:
        """Logits."""
        return self.net.head[-1](features)

    @property
    def trained_part(self) -> nn.Module:
        """All of it."""
        return self.net

    def inputs(self, images: np.ndarray) -> Tensor:
        """Float images."""
        return torch.from_numpy(images).float() / 255


class LinearOnSphere(nn.Module):
    """A linear layer on unit vectors, from zero, with a constant input in place of a bias (a bias would outweigh the rest)."""

    def __init__(self, components: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(components + 1, classes, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits."""
        return self.linear(torch.cat([vectors, vectors.new_full((len(vectors), 1), BIAS_INPUT)], dim=1))


class MlpOnSphere(nn.Module):
    """One hidden layer with dropout on unit vectors, which are scaled to entries of order 1 first."""

    def __init__(self, components: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self._scale = components**0.5
        self.layers = nn.Sequential(
            nn.Dropout(dropout / 2), nn.Linear(components, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )  # fmt: skip

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(vectors * self._scale)


@lru_cache(maxsize=4)
def public_projection(shape: tuple[int, int, int], components: int) -> ScatteringProjection:
    """Return the projection to at most `components`, fitted to procedural images: the same in every run, frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PUBLIC_SEED)
        projection = ScatteringProjection(shape, components=components, whitening=WHITENING, unit=True)
        count = min(PUBLIC_IMAGES, max(1000, 24 * projection.components))
        projection.fit(procedural_images(count, shape, kind=PUBLIC_KIND, seed=PUBLIC_SEED))
    return projection.eval()


# By the projection itself, which is kept alive by that: the number of one that is gone may be another's.
_REMEMBERED: OrderedDict[tuple[str, ScatteringProjection], Tensor] = OrderedDict()


def remembered_vectors(projection: ScatteringProjection, images: np.ndarray) -> Tensor:
    """Return the vectors (n, components) of uint8 images; those of the last few sets are remembered in this process.

    A comparison of many settings would otherwise transform the same images again and again.
    """
    key = (hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(), projection)
    if key not in _REMEMBERED:
        _REMEMBERED[key] = projection.project(images)
        if len(_REMEMBERED) > REMEMBERED_SETS:
            _REMEMBERED.popitem(last=False)
    _REMEMBERED.move_to_end(key)
    return _REMEMBERED[key]
