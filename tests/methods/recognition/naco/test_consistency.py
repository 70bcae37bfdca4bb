"""Both modules on a batch of clips: what is summed, what gets a gradient, what is measured on held-out clips."""

from __future__ import annotations

import pytest
import torch
from stillhouse.methods.recognition.naco.consistency import Consistency, HeldOut
from stillhouse.methods.recognition.naco.model import Network, fresh_network
from stillhouse.methods.recognition.naco.settings import Form, Pretraining, Spatial, Temporal
from stillhouse.methods.recognition.naco.shuffles import in_order
from stillhouse.methods.recognition.naco.spatial import prediction_loss
from stillhouse.methods.recognition.naco.temporal import triplet_loss
from support.few_videos import video_set

from .little import CLIPS


def model(settings: Pretraining | None = None, **options: object) -> Consistency:
    form = Form(width=16, layers=1, heads=2, hidden=32, dropout=0.0, zero_residual=False, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return Consistency(fresh_network(form, CLIPS, 0), settings or Pretraining())


def batch(given: Consistency, videos: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randn(2 * videos, 8, 3, 32, 32, generator=draw)
    return pixels, *given.draws(videos, draw, torch.device("cpu")), torch.arange(videos)


def test_the_loss_is_the_weighed_sum_of_both_modules_computed_apart() -> None:
    settings = Pretraining(spatial=Spatial(weight=0.7), temporal=Temporal(weight=2.0, margin=0.4, negatives=3))
    given = model(settings).eval()
    pixels, masked, orders, videos = batch(given)
    assert masked.shape == (6, 1, 8) and orders.shape == (9, 8)
    with torch.no_grad():
        found = given(pixels, masked, orders, videos)
        network = given.network
        features = network.features(pixels)
        assert given.spatial is not None
        predicted = given.spatial.predict(network.represent(features, masked)[0][masked])
        spatial = prediction_loss(predicted, given.spatial.targets(features, masked)[masked])
        anchor, positive = network.represent(features)[1].split(3)
        shuffled = torch.stack([
            network.represent(in_order(features[3 + b : 4 + b], orders[3 * b + k][None]))[1][0] for b in range(3) for k in range(3)
        ])  # fmt: skip
        temporal = triplet_loss(anchor, positive, shuffled.unflatten(0, (3, 3)), margin=0.4)
    assert found["spatial"].item() == pytest.approx(spatial.item(), rel=1e-4)
    assert found["temporal"].item() == pytest.approx(temporal.item(), rel=1e-4)
    assert found["loss"].item() == pytest.approx(0.7 * spatial.item() + 2 * temporal.item(), rel=1e-4)


def test_the_temporal_loss_joins_after_its_share_of_the_steps() -> None:
    given = model(Pretraining(temporal=Temporal(after=0.4)))
    given.begin(5)
    seen = ["temporal" in given(*batch(given)) for _ in range(5)]
    assert seen == [False, False, True, True, True]
    resumed = model(Pretraining(temporal=Temporal(after=0.4)))
    resumed.begin(10)
    resumed.load_state_dict(given.state_dict())
    assert "temporal" in resumed(*batch(resumed))
    given.begin(5, done=1)
    assert ["temporal" in given(*batch(given)) for _ in range(2)] == [False, True]
    given.begin(5)
    given.eval()
    assert ["temporal" in given(*batch(given)) for _ in range(3)] == [False] * 3


@pytest.mark.parametrize("settings", [Temporal(after=0.0), Temporal(after=0.9)])
def test_the_temporal_loss_is_there_from_the_start_where_it_waits_for_nothing(settings: Temporal) -> None:
    given = model(Pretraining(temporal=settings, spatial=Spatial(weight=1.0 if settings.after == 0 else 0.0)))
    given.begin(100)
    assert "temporal" in given(*batch(given))


@pytest.mark.parametrize(
    ("settings", "missing"),
    [(Pretraining(temporal=Temporal(weight=0.0)), "temporal"), (Pretraining(spatial=Spatial(weight=0.0)), "spatial")],
)
def test_one_module_can_be_left_out(settings: Pretraining, missing: str) -> None:
    given = model(settings)
    found = given(*batch(given))
    assert missing not in found and (given.spatial is None) == (missing == "spatial")
    (kept,) = {"spatial", "temporal"} - {missing}
    assert found["loss"].item() == found[kept].item()


@pytest.mark.parametrize("token", ["frame", "grid"])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_every_weight_but_the_head_gets_a_gradient_that_is_finite(token: str, pool: str) -> None:
    """Data-parallel training waits for one of each weight; a weight without one would never be trained."""
    given = model(token=token, pool=pool)
    given(*batch(given))["loss"].backward()
    without = {name for name, weight in given.named_parameters() if weight.grad is None}
    assert without == {name for name, _ in given.named_parameters() if ".head." in name}
    assert all(torch.isfinite(weight.grad).all() for weight in given.parameters() if weight.grad is not None)


def test_the_target_is_no_way_to_the_backbone() -> None:
    """Cut what is predicted loose from the visible features: then nothing at all reaches the backbone."""
    given = model(Pretraining(temporal=Temporal(weight=0.0)))
    pixels, masked, orders, videos = batch(given)
    features = given.network.features(pixels)
    represented = given.network.represent(features.detach(), masked)[0]
    assert given.spatial is not None
    given.spatial(represented, features, masked).backward()
    assert all(weight.grad is None for weight in given.network.backbone.parameters())
    given.losses(given.network.features(pixels), masked, orders, videos)["loss"].backward()
    assert all(weight.grad is not None for weight in given.network.backbone.parameters())


def test_features_given_are_features_computed() -> None:
    given = model().eval()
    pixels, masked, orders, videos = batch(given)
    with torch.no_grad():
        from_pixels = given(pixels, masked, orders, videos)["loss"]
        given.from_pixels = False
        assert given(given.network.features(pixels), masked, orders, videos)["loss"].item() == pytest.approx(
            from_pixels.item()
        )


def network_that_adds_up(network: Network) -> Network:
    """A representation that only time and order decide: the mean over frames of feature times place."""

    def represent(features: torch.Tensor, masked: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        place = torch.arange(features.shape[2], dtype=torch.float32)[None, None, :, None]
        visible = features if masked is None else features.masked_fill(masked[..., None], 0)
        tokens = (visible * place)[..., :16]
        return tokens, tokens.mean((1, 2))

    network.represent = represent  # type: ignore[method-assign]
    return network


def test_what_is_measured_on_held_out_clips() -> None:
    given = model().eval()
    videos = video_set([1, 2, 3], ("FLICKER",))
    held = HeldOut.of(videos, given, seed=0, pairs=5)
    assert held is not None and held.frames.shape == (10, 8, 3, 32, 32) and held.masked.shape == (10, 1, 8)
    device = torch.device("cpu")
    features = held.features(given.network, device)
    found = held.judged(given, features, device)
    assert found["spm_r2"] == pytest.approx(1 - found["spm_error"] / found["spm_zero"])
    assert found["interpolation_r2"] == pytest.approx(1 - found["spm_interpolation"] / found["spm_zero"])
    network_that_adds_up(given.network)
    sums = held.judged(given, features, device)
    assert sums["far"] > 0 and 0 <= sums["shuffled_farther"] <= 1
    # The same start twice: the positive is the anchor, so every shuffle is farther.
    twice = HeldOut(held.frames, held.masked, held.orders)
    same = torch.cat([features[:5], features[:5]])
    assert twice.judged(given, same, device)["shuffled_farther"] == 1.0
    assert twice.judged(given, same, device)["near"] == pytest.approx(1e-4, rel=1e-2)  # the root of the epsilon
    still = features[:, :, :1].expand_as(features)
    of_stills = held.judged(given, torch.cat([still[:5], still[:5]]), device)
    assert of_stills["shuffled_farther"] == 0.5 and of_stills["spm_zero"] == 0 and "spm_r2" not in of_stills
    assert HeldOut.of(videos.take([1, 3]), given, seed=0) is None
