"""V1 and the DP teacher: one charge for the denoiser, one for a histogram; everything else is post-processing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.works import PrivateDenoiser, PrivateHistogram, shares
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.diffusion.networks import Network
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.calibration import dpsgd_noise_multiplier
from stillhouse.platform.privacy.events import SubsampledGaussianEvent
from stillhouse.platform.privacy.neighbours import ADD_OR_REMOVE
from stillhouse.platform.privacy.sums import sums_event
from stillhouse.platform.training.dpsgd import DpSgd
from stillhouse.platform.training.outcome import execute
from support.noise import ZeroNoise, repeatable_noise

from .local_ensemble import few_digits, silent_run
from .tiny import labelled_data, method


@pytest.mark.parametrize(("mode", "labels"), [(Mode.DPSGD_STUDENT, "histogram"), (Mode.DP_TEACHER, "uniform")])
def test_what_is_charged_is_what_is_stated(mode: Mode, labels: str, tmp_path: Path) -> None:
    data, curator = labelled_data(private=True)
    outcome = execute(method(mode, labels=labels), data, silent_run(tmp_path))
    names = ["denoiser by DP-SGD", *(["histogram of classes"] if labels == "histogram" else [])]
    assert [name for name, _ in curator.charges] == names == [release.name for release in outcome.privacy.releases]
    assert [event.to_json() for _, event in curator.charges] == [dict(r.event_json) for r in outcome.privacy.releases]
    event = curator.charges[0][1]
    assert isinstance(event, SubsampledGaussianEvent) and (event.sample_rate, event.steps) == (20 / 60, 4)
    assert outcome.privacy.neighbouring == ADD_OR_REMOVE and 0.98 * 10 < outcome.privacy.epsilon <= 10
    if labels == "uniform":
        # One order, and an exact search over all orders: the plan needs no more than a few per cent more noise.
        best = dpsgd_noise_multiplier(epsilon=10, delta=1e-4, sample_rate=20 / 60, steps=4)
        assert best * (1 - 1e-6) <= event.noise_multiplier < 1.1 * best
    assert ("teacher_grid" in outcome.artefacts) == (mode is Mode.DP_TEACHER)
    assert not any("membership" in name or "neighbour" in name for name in outcome.metrics)
    spent = list(curator.charges)
    assert execute(method(mode, labels=labels), data, silent_run(tmp_path)).metrics == outcome.metrics
    assert curator.charges == spent, "a second start charged again"


def test_the_distillation_of_a_dp_teacher_costs_nothing_however_long(tmp_path: Path) -> None:
    charges = []
    for steps in (4, 40):
        data, curator = labelled_data(private=True)
        made = method(Mode.DP_TEACHER, distillation=replace(method().distillation, steps=steps))
        execute(made, data, silent_run(tmp_path / str(steps)))
        charges.append([event for _, event in curator.charges])
    assert charges[0] == charges[1]


def test_a_plan_that_costs_too_much_is_refused_before_anything_is_charged(tmp_path: Path) -> None:
    data, curator = labelled_data(private=True, epsilon=1.0)
    with pytest.raises(BudgetExhausted, match="the target is 1"):
        execute(method(Mode.DPSGD_STUDENT, noise_multiplier=0.5), data, silent_run(tmp_path))
    assert not curator.charges


def test_a_record_moves_the_denoiser_by_no_more_than_its_share(tmp_path: Path) -> None:
    """One step of SGD without noise, with every record in the batch and with one of them blank in its place."""
    settings = DpSgd(batch_size=12, steps=1, learning_rate=1.0, momentum=0.0, averaging=0.0, clip_norm=0.01)
    # A sampling rate of 1 takes every record.
    work = PrivateDenoiser(Network(hidden=16), Schedule(), settings, 3, 0.01, ZeroNoise())
    whole = few_digits(12)
    images = whole.images.copy()
    images[5] = 255 - images[5]
    other = ImageData(images, whole.labels, 10, "digits")
    first, second = (work.compute(data, silent_run(tmp_path)) for data in (whole, other))
    moved = torch.cat([(first[name] - second[name]).flatten() for name in first]).double().norm()
    # Replacing it moves the sum by twice the bound at most; sums are divided by the expected batch.
    assert 1e-6 < float(moved) * 12 <= 2 * 0.01 * (1 + 1e-3)


def test_the_histogram_is_the_counts_and_noise() -> None:
    data = few_digits(200)
    truth = np.bincount(data.labels, minlength=10)
    run: object = None
    exact = PrivateHistogram(1.0, ZeroNoise()).compute(data, run)  # type: ignore[arg-type]
    assert np.allclose(exact.numpy(), truth, atol=0.05)
    noisy = np.stack([PrivateHistogram(3.0, repeatable_noise(k)).compute(data, run).numpy() for k in range(200)])  # type: ignore[arg-type]
    assert np.allclose(noisy.mean(0), truth, atol=5 * 3 / np.sqrt(200))
    assert noisy.std() == pytest.approx(np.sqrt(9 / 0.98**2 + truth.var()), rel=0.1)
    assert PrivateHistogram(3.0).events(200) == [("histogram of classes", sums_event(3.0))]
    found = shares(torch.tensor([30.0, -4.0, 10.0]))
    assert sum(found) == pytest.approx(1) and min(found) > 0 and found[0] == pytest.approx(30 / 41)
