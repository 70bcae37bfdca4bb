"""The baselines: one release each, of vectors of length one at most, and images that follow from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.diffusion import DpMeanImages, DpMerf
from stillhouse.methods.diffusion.merf import PixelFeatures, PrivateFeatures
from stillhouse.methods.diffusion.synthetic import read_synthetic
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.neighbours import ADD_OR_REMOVE, Relation
from stillhouse.platform.privacy.sums import HEADROOM
from stillhouse.platform.training.outcome import execute
from support.noise import ZeroNoise

from .local_ensemble import few_digits, silent_run
from .tiny import JUDGING, labelled_data

MERF = DpMerf(frequencies=40, steps=5, batch_size=20, hidden=16, judging=JUDGING)
MEANS = DpMeanImages(judging=JUDGING)


@pytest.mark.parametrize("made", [MERF, MEANS], ids=["merf", "means"])
def test_one_release_is_charged_and_stated(made: DpMerf | DpMeanImages, tmp_path: Path) -> None:
    data, curator = labelled_data(private=True)
    outcome = execute(made, data, silent_run(tmp_path))  # type: ignore[arg-type]
    ((name, event),) = curator.charges
    (release,) = outcome.privacy.releases
    assert isinstance(event, GaussianEvent) and (release.name, dict(release.event_json)) == (name, event.to_json())
    assert outcome.privacy.epsilon == plan_epsilon([event], 1e-4) and 0.999 * 10 < outcome.privacy.epsilon <= 10
    assert outcome.privacy.neighbouring == ADD_OR_REMOVE and event.relations == {Relation.ADD_OR_REMOVE_ONE}
    images, labels, _, told = read_synthetic(tmp_path / "synthetic.npz")
    assert images.shape == (40, 1, 8, 8) and labels.tolist() == [k % 10 for k in range(40)] and told == outcome.privacy
    spent = list(curator.charges)
    assert execute(made, data, silent_run(tmp_path)).metrics == outcome.metrics  # type: ignore[arg-type]
    assert curator.charges == spent


@pytest.mark.parametrize("kind", [DpMerf, DpMeanImages])
def test_noise_that_costs_too_much_is_refused(kind: type[DpMerf | DpMeanImages], tmp_path: Path) -> None:
    data, curator = labelled_data(private=True, epsilon=0.5)
    with pytest.raises(BudgetExhausted):
        execute(kind(noise_multiplier=0.5, judging=JUDGING), data, silent_run(tmp_path))  # type: ignore[arg-type]
    assert not curator.charges
    open_data, _ = labelled_data(private=False)
    with pytest.raises(BadInput, match="all records in one place"):
        execute(kind(judging=JUDGING), open_data, silent_run(tmp_path))  # type: ignore[arg-type]


def test_a_feature_has_length_one_and_the_means_come_back(tmp_path: Path) -> None:
    data = few_digits(120)
    features = PixelFeatures.draw(data.shape, 64, None, seed=3)
    images = torch.from_numpy(data.images).float() / 255
    lengths = features.whole(images).double().norm(dim=1)
    assert torch.allclose(lengths, torch.ones(120).double(), atol=1e-6)
    sums = PrivateFeatures(features, 0.001, ZeroNoise()).compute(data, silent_run(tmp_path))
    found = features.means(sums)
    for k in range(10):
        wanted = features.embed(images[torch.from_numpy(data.labels) == k]).mean(0)
        assert torch.allclose(found[k], wanted, atol=0.02)
    assert torch.allclose(sums[:, -1] / 0.05**0.5, torch.from_numpy(np.bincount(data.labels)).float(), rtol=0.01)


def test_a_record_that_goes_moves_one_class_by_its_length(tmp_path: Path) -> None:
    data = few_digits(50)
    features = PixelFeatures.draw(data.shape, 64, 5.0, seed=3)
    work = PrivateFeatures(features, 0.01, ZeroNoise())
    whole = work.compute(data, silent_run(tmp_path))
    rest = work.compute(data.take([k for k in range(50) if k != 17]), silent_run(tmp_path))
    moved = (whole - rest).double().norm(dim=1)
    own = int(data.labels[17])
    assert (moved > 1e-9).nonzero().flatten().tolist() == [own]
    assert 0.9 < float(moved[own]) <= 1 / HEADROOM


def test_the_generator_reaches_means_that_have_no_noise(tmp_path: Path) -> None:
    """With next to no noise, the images of a class lie near its mean image."""
    data, curator = labelled_data(200, private=True, epsilon=1e6)
    made = DpMerf(frequencies=200, steps=300, batch_size=50, hidden=64, noise_multiplier=0.002, judging=JUDGING)
    execute(made, data, silent_run(tmp_path))  # type: ignore[arg-type]
    images, labels, _, _ = read_synthetic(tmp_path / "synthetic.npz")
    truth = curator.private
    means = np.stack([truth.images[truth.labels == k].mean(0) for k in range(10)])
    made_means = np.stack([images[labels == k].mean(0) for k in range(10)])
    distances = np.abs(made_means[:, None] - means[None]).mean((2, 3, 4))
    assert (distances.argmin(1) == np.arange(10)).mean() >= 0.9
