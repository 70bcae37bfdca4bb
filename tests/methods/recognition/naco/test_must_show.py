"""What stage 1 must learn, on drawn heads and with a backbone that stays random: order, and features that are masked.

These are mechanics. Real clips of people have other figures: `docs/naco.md` says what was measured and what was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.naco.consistency import Consistency, HeldOut
from stillhouse.methods.recognition.naco.finetuning import calibrate
from stillhouse.methods.recognition.naco.method import Naco
from stillhouse.methods.recognition.naco.model import fresh_network
from stillhouse.methods.recognition.naco.pretraining import pretrain
from stillhouse.methods.recognition.naco.settings import Clips, Form, Pretraining, Spatial, Temporal
from stillhouse.methods.recognition.naco.started import started_network
from stillhouse.platform.data.procedural_heads import draw_heads

from .little import QUIET, little, silent_run, training

pytestmark = pytest.mark.slow
STEPS = 300
FORM = Form(width=64, layers=2, heads=4, hidden=128, dropout=0.0)
CLIPS = Clips(length=16, side=32, margin=0)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, float]]:
    """What is known of held-out heads after stage 1 with both modules, with one, and before it."""
    train, held = draw_heads(12, frames=24, side=32, seed=1), draw_heads(6, frames=24, side=32, seed=1, first=100)
    stage = Pretraining(joint=training(0), cached=training(STEPS, 16, 2e-3), views=1, augmentation=QUIET)
    kinds = {
        "both": stage,
        "spatial": replace(stage, temporal=Temporal(weight=0.0)),
        "temporal": replace(stage, spatial=Spatial(weight=0.0)),
        "before": replace(stage, cached=training(1, 2, 1e-9)),
    }
    found: dict[str, Mapping[str, float]] = {}
    for name, settings in kinds.items():
        method: Naco = little(
            clips=CLIPS, network=FORM, pretraining=settings,
        )  # fmt: skip
        run = silent_run(tmp_path_factory.mktemp(name))
        network, _ = started_network(run, method)
        calibrate(run, method, network, train)
        found[name] = pretrain(run, method, network, train, held).found
    return found


class Motions:
    """Features that a few smooth motions make, without end. (Drawn heads with a random backbone are no measure of what the spatial
    module learns: after as many steps the share of variance was about 0 there.)"""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self._mixing = torch.randn(3, 128, generator=self.generator)

    def clips(self, count: int) -> torch.Tensor:
        """float (count, 1, 16, 128)."""
        rate, phase = (
            torch.rand(2, count, 3, 1, generator=self.generator) * torch.tensor([0.5, 6.28])[:, None, None, None]
        ).unbind(0)
        motion = torch.sin((0.2 + rate) * torch.arange(16) + phase).transpose(1, 2)
        return (motion @ self._mixing)[:, None]

    def teach(self, model: Consistency) -> None:
        """Train what may be trained."""
        optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 2e-3)
        for _ in range(STEPS):
            features = self.clips(32)
            loss = model(features, *model.draws(16, self.generator, features.device), torch.arange(16))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def judged(self, model: Consistency) -> Mapping[str, float]:
        """What is known of clips never seen."""
        model.eval()
        held = self.clips(64)
        masked, orders = model.draws(32, self.generator, held.device)
        return HeldOut(np.zeros(0), masked, orders).judged(model, held, held.device)


@pytest.fixture(scope="module")
def predicted() -> Mapping[str, float]:
    """The share of variance that is predicted after stage 1 with one module: by its own predictor, and by a fresh one that was taught
    while the network stayed as it was."""
    spatial, found = Pretraining(temporal=Temporal(weight=0.0)), {}
    for name, stage in (("spatial", spatial), ("temporal", Pretraining(spatial=Spatial(weight=0.0)))):
        motions = Motions()
        torch.manual_seed(0)
        network = fresh_network(FORM, CLIPS, 0)
        model = Consistency(network, stage, from_pixels=False)
        motions.teach(model)
        if model.spatial is not None:
            found[name] = motions.judged(model)["spm_r2"]
        network.requires_grad_(False)
        fresh = Consistency(network, spatial, from_pixels=False)
        motions.teach(fresh)
        found[f"{name}, fresh predictor"] = motions.judged(fresh)["spm_r2"]
    return found


@pytest.fixture(scope="module")
def together() -> Mapping[str, Mapping[str, float]]:
    """What is known of such clips after stage 1: spatial module alone; the temporal one from the start; from half of it on."""
    kinds = {"alone": Temporal(weight=0.0), "at once": Temporal(after=0.0), "later": Temporal(after=0.5)}
    found: dict[str, Mapping[str, float]] = {}
    for name, temporal in kinds.items():
        motions = Motions()
        torch.manual_seed(0)
        network = fresh_network(FORM, CLIPS, 0)
        model = Consistency(network, Pretraining(temporal=temporal), from_pixels=False)
        model.begin(STEPS)
        motions.teach(model)
        found[name] = motions.judged(model)
    return found


def test_both_modules_are_learned_if_the_temporal_one_joins_later(together: Mapping[str, Mapping[str, float]]) -> None:
    """From the first step on, order drives all else out of the tokens, and the predictor never learns anything."""
    assert together["later"]["spm_r2"] >= 0.2
    assert together["at once"]["spm_r2"] <= 0.05


def test_masked_features_are_predicted_better_than_by_their_mean(predicted: Mapping[str, float]) -> None:
    """M1, on made-up features."""
    assert predicted["spatial"] >= 0.2


def test_a_shuffled_clip_lies_farther_away(learned: Mapping[str, Mapping[str, float]]) -> None:
    """M2: 0.85 is asked for; half of the way from chance is 0.68."""
    assert learned["both"]["shuffled_farther"] >= 0.68


def test_nothing_collapses(learned: Mapping[str, Mapping[str, float]]) -> None:
    """M3: two clips of a video are not one point, nor are all features alike."""
    assert learned["both"]["near"] > 0.05 and learned["both"]["feature_deviation"] > 0.05


def test_the_temporal_module_teaches_order(
    learned: Mapping[str, Mapping[str, float]], together: Mapping[str, Mapping[str, float]]
) -> None:
    """M4, first half: without the temporal module order is told less well."""
    assert together["alone"]["shuffled_farther"] < together["later"]["shuffled_farther"]
    assert learned["temporal"]["shuffled_farther"] > learned["before"]["shuffled_farther"]


def test_without_the_spatial_module_masked_features_stay_unknown(predicted: Mapping[str, float]) -> None:
    """M4, second half: what the temporal module alone taught holds nothing from which a predictor could be taught; the same predictor
    does well on what the spatial module taught."""
    assert predicted["temporal, fresh predictor"] <= 0.05
    assert predicted["spatial, fresh predictor"] >= 0.2
