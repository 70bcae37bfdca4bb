"""FID and Inception score, where the weights that define them lie at hand: torch-fidelity's port of the 2015 network, never fetched.

FID: Heusel et al., NeurIPS 2017, arXiv 1706.08500: the Frechet distance of 2,048 features between synthetic and test images. Inception
score: Salimans et al., NeurIPS 2016, arXiv 1606.03498: exp E KL(p(y|x) | p(y)), the mean over ten parts. No record is looked at. Both
are biased by the number of images, and published values are for 10,000 or 50,000. Grey images are shown to the network in three equal
colours. Without weights there is the FID-proxy (`proxy`), which is another measure.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...platform.errors import BadInput, MissingExtra
from ...platform.training.files import sha256_of
from ...platform.training.outcome import Metric
from ...platform.training.run import Run
from .proxy import frechet

FEATURES, LOGITS = "2048", "logits_unbiased"
AT_ONCE = 50
PARTS = 10


def refuse_missing_weights(weights: str) -> None:
    """See whether there is a file.

    Raises:
        BadInput: there is none.
    """
    if not Path(weights).is_file():
        raise BadInput(
            f"there is no file of Inception weights at {weights}",
            why="FID and Inception score are defined by them, and nothing is fetched",
            mend="put torch-fidelity's weights-inception-2015-12-05-6726825d.pth there, or leave method.judging.inception empty",
        )


def inception_metrics(
    run: Run, images: np.ndarray, test: np.ndarray, weights: str, *, inputs: Any
) -> dict[str, Metric]:
    """FID of images (n, c, h, w) uint8 to all test images (m, c, h, w), and the Inception score of the former.

    All processes of a run get the same values; one of them computes them.

    Raises:
        MissingExtra: torch-fidelity is not installed.
        BadInput: the file of weights is not there, or is not one.
    """
    refuse_missing_weights(weights)

    def measure() -> dict[str, float]:
        network = _network(weights).to(run.device)
        made, real = (_seen(network, pixels, run.device) for pixels in (images, test))
        return {"fid": frechet(real[0], made[0]), "inception_score": inception_score(made[1])}

    found = run.stage("inception", measure, {"of": inputs, "weights": sha256_of(Path(weights))}, once=True)
    return {
        "fid": Metric(found["fid"], "squared distance of features", "lower"),
        "inception_score": Metric(found["inception_score"], "1", "higher"),
    }


def inception_score(logits: Tensor, parts: int = PARTS) -> float:
    """exp of the mean over images of KL(p(y|x) | p(y)), p = softmax of logits (n, k); the mean over `parts` equal parts, in order.

    >>> certain = 1e4 * torch.eye(4).repeat(5, 1)
    >>> round(inception_score(certain, parts=1), 6), round(inception_score(torch.zeros(20, 4)), 6)
    (4.0, 1.0)
    """
    scores = []
    for part in logits.double().tensor_split(min(parts, len(logits))):
        each = torch.log_softmax(part, dim=1)
        together = torch.logsumexp(each, dim=0) - np.log(len(part))
        scores.append((each.exp() * (each - together)).sum(1).mean().exp())
    return float(torch.stack(scores).mean())


def _network(weights: str) -> torch.nn.Module:
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as error:
        raise MissingExtra(
            "FID and Inception score need torch-fidelity",
            why=str(error),
            mend="pip install -e '.[fidelity]' in the source folder",
        ) from None
    try:
        network: torch.nn.Module = module.FeatureExtractorInceptionV3("inception", [FEATURES, LOGITS], weights)
    except Exception as error:  # Of a file that is no state, torch raises whatever it stumbles on.
        raise BadInput(
            f"{weights} holds no Inception weights", why=type(error).__name__, mend="fetch the file again"
        ) from None
    return network.eval()


@torch.no_grad()
def _seen(network: torch.nn.Module, images: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (n, 2048) and logits (n, 1008) of images (n, c, h, w) uint8, float64 on the CPU."""
    found: list[tuple[Tensor, Tensor]] = []
    for part in torch.from_numpy(images).split(AT_ONCE):
        colour = part if part.shape[1] == 3 else part[:, :1].expand(-1, 3, -1, -1)
        features, logits = network(colour.contiguous().to(device))
        found.append((features.cpu().double(), logits.cpu().double()))
    return torch.cat([features for features, _ in found]), torch.cat([logits for _, logits in found])
