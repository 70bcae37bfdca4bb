"""FID and Inception score: their arithmetic against scipy and definitions, and what is asked of torch-fidelity.

torch-fidelity and its weights are not needed: a network of its signature stands in their place, so that what is tested is everything
but the network.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from stillhouse.methods.diffusion.inception import inception_metrics, inception_score
from stillhouse.platform.errors import BadInput, MissingExtra
from torch import Tensor, nn

from .local_ensemble import silent_run


class Stand(nn.Module):
    """Two features and three logits of an image, by its colours."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features_list == ["2048", "logits_unbiased"]
        torch.load(feature_extractor_weights_path, weights_only=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        means = x.float().mean((2, 3))
        return means[:, :2] / 255, means / 64


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Stand  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.save({}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def some(count: int, seed: int, channels: int = 3) -> np.ndarray:
    # No two images alike: each has a level of its own in every colour.
    draw = np.random.default_rng(seed)
    level = draw.integers(0, 200, (count, channels, 1, 1))
    return (level + draw.integers(0, 56, (count, channels, 6, 6))).astype(np.uint8)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("channels", [1, 3])
def test_both_are_what_their_definitions_say(channels: int, tmp_path: Path, weights: str) -> None:
    made, real = some(120, 0, channels), some(90, 1, channels)
    found = inception_metrics(silent_run(tmp_path / "run"), made, real, weights, inputs=None)
    colours = [np.broadcast_to(p, (len(p), 3, 6, 6)).mean((2, 3)) for p in (made, real)]
    (m1, s1), (m2, s2) = ((c[:, :2].mean(0) / 255, np.cov(c[:, :2].T / 255)) for c in colours)
    wanted = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert found["fid"].value == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    scores = []
    for part in np.split(colours[0] / 64, 10):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        scores.append(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))
    assert found["inception_score"].value == pytest.approx(np.mean(scores), rel=1e-5)
    assert (found["fid"].better, found["inception_score"].better) == ("lower", "higher")


def test_a_score_lies_between_one_and_the_number_of_classes() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert 1 < inception_score(logits, parts=1) < inception_score(10 * logits, parts=1) < 7
    assert inception_score(logits[:3]) == pytest.approx(1.0), "each part holds one image: it is no surprise to itself"


def test_nothing_is_fetched_and_nothing_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    run = silent_run(tmp_path / "run")
    with pytest.raises(BadInput, match="nothing is fetched"):
        inception_metrics(run, some(4, 0), some(4, 1), str(tmp_path / "absent.pth"), inputs=None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", raising=False)
    with pytest.raises(MissingExtra, match=r"\.\[fidelity\]"):
        inception_metrics(run, some(4, 0), some(4, 1), weights, inputs=None)


@pytest.mark.usefixtures("library")
def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadInput, match="holds no Inception weights"):
        inception_metrics(silent_run(tmp_path / "run"), some(4, 0), some(4, 1), str(tmp_path / "text.pth"), inputs=None)
