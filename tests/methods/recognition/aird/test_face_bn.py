"""FaceBN against brute-force statistics, layer by layer, and what it promises about models, faces and settings."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.aird.bn_layers import Statistics
from stillhouse.methods.recognition.aird.face_bn import TwoSided, adapt_bn
from stillhouse.platform.errors import BadInput
from torch import Tensor, nn


def _network(seed: int = 0) -> nn.Sequential:
    """Two 2d layers and a last 1d, in double precision, with statistics and weights that are not those of a fresh one."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Flatten(), nn.Linear(20, 6), nn.BatchNorm1d(6),
    ).double()  # fmt: skip
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network.eval()


def _faces(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 8, generator=generator, dtype=torch.float64) * torch.rand(
        count, 1, 1, 1, generator=generator
    )


def _norms(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [one for one in network.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_replace_is_the_mean_and_variance_of_every_layer_over_all_faces() -> None:
    network, faces = _network(), _faces(30)
    adapted = adapt_bn(network, faces, "replace", fewest=2)
    values = faces
    for ours, given_ in zip(adapted.model, network, strict=True):
        if isinstance(given_, nn.BatchNorm1d | nn.BatchNorm2d):
            per_channel = values.transpose(0, 1).flatten(1).detach()
            mean = torch.stack([channel.sum() / len(channel) for channel in per_channel])
            spread = zip(per_channel, mean, strict=True)
            variance = torch.stack([((channel - m) ** 2).sum() / len(channel) for channel, m in spread])
            assert torch.allclose(ours.running_mean, mean) and torch.allclose(ours.running_var, variance)
            shape = (1, -1, 1, 1)[: values.ndim]
            normal = (values - mean.view(shape)) / (variance.view(shape) + given_.eps).sqrt()
            values = normal * given_.weight.view(shape) + given_.bias.view(shape)
        elif not isinstance(given_, nn.Dropout):
            values = given_(values)
    assert torch.allclose(adapted.model(faces), values)
    # The same as torch's own normalisation in training mode, of one batch, with everything else in evaluation mode.
    trained = copy.deepcopy(network)
    for module in _norms(trained):
        module.train()
    assert torch.allclose(trained(faces), adapted.model(faces))


@given(batch=st.integers(1, 40), seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_neither_batches_nor_order_matter(batch: int, seed: int) -> None:
    network, faces = _network(), _faces(23)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(seed))
    whole = adapt_bn(network, faces, "replace", fewest=2, batch=23)
    parts = adapt_bn(network, faces[order], "replace", fewest=2, batch=batch)
    listed = adapt_bn(network, iter(faces[order].split(5)), "replace", fewest=2, batch=batch)
    for other in (parts, listed):
        for one, two in zip(_norms(whole.model), _norms(other.model), strict=True):
            assert torch.allclose(one.running_mean, two.running_mean, rtol=1e-10, atol=1e-12)
            assert torch.allclose(one.running_var, two.running_var, rtol=1e-10, atol=1e-12)
        assert [one.divergence for one in other.diff()] == pytest.approx([one.divergence for one in whole.diff()])
        assert other.faces == 23


@given(count=st.integers(1, 40), prior=st.floats(1, 200))
@settings(max_examples=20)
def test_a_mixture_lies_between_the_source_and_replacement(count: int, prior: float) -> None:
    network, faces = _network(), _faces(count)
    source = _state(network)
    far = _state(adapt_bn(network, faces, "mix", prior=1e15).model)
    assert all(torch.allclose(far[name], source[name], atol=1e-9) for name in source)
    near = _state(adapt_bn(network, faces, "mix", prior=1e-12).model)
    none = _state(adapt_bn(network, faces, "mix", prior=0).model)
    replaced = _state(adapt_bn(network, faces, "replace", fewest=1).model)
    assert all(torch.allclose(near[name], replaced[name], atol=1e-6) for name in source)
    assert all(torch.equal(none[name], replaced[name]) for name in source)
    # At the first layer, whose input is the same, the mean lies on the way between both.
    mixed = adapt_bn(network, faces, "mix", prior=prior).model[1].running_mean
    share = count / (count + prior)
    assert torch.allclose(mixed, (1 - share) * source["1.running_mean"] + share * replaced["1.running_mean"])


def test_a_mixture_has_the_statistics_of_both_sets_of_faces_together() -> None:
    # A source that was measured on so many faces as the prior says: mixing is then pooling.
    network = nn.Sequential(nn.BatchNorm2d(3)).double().eval()
    first, second = _faces(12, seed=3) + 1, _faces(8, seed=4)
    source = adapt_bn(network, first, "replace", fewest=2).model
    mixed = adapt_bn(source, second, "mix", prior=12).model
    pooled = adapt_bn(network, torch.cat([first, second]), "replace", fewest=2).model
    for name, value in _state(pooled).items():
        assert torch.allclose(_state(mixed)[name], value)


def test_the_given_model_is_not_touched_and_weights_stay() -> None:
    network = _network().train()
    before = _state(network)
    adapted = adapt_bn(network, _faces(30), "mix", guard=0.9, batch=10)
    assert network.training and not adapted.model.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for one in (network, adapted.model) for module in one.modules())
    moved = {name for name, value in adapted.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.endswith(("running_mean", "running_var")) for name in moved)


def test_reset_gives_the_training_statistics_back() -> None:
    network = _network()
    adapted = adapt_bn(network, _faces(30), "replace", fewest=2)
    assert all(one.divergence > 0.01 and one.shift > 0.01 for one in adapted.diff())
    adapted.reset()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in adapted.model.state_dict().items())
    assert adapted.faces == 0 and [one.divergence for one in adapted.diff()] == [0, 0, 0]


def test_online_follows_batch_after_batch_and_rolls_back() -> None:
    network, faces = _network(), _faces(24)
    adapted = adapt_bn(network, faces[:16], "online", batch=8, rate=0.25)
    mean, variance = network[1].running_mean.clone(), network[1].running_var.clone()
    for part in faces[:16].split(8):
        seen = network[0](part).detach().transpose(0, 1).flatten(1)
        apart = (mean - seen.mean(1)) ** 2
        variance = 0.75 * variance + 0.25 * seen.var(1, unbiased=False) + 0.25 * 0.75 * apart
        mean = 0.75 * mean + 0.25 * seen.mean(1)
    assert torch.allclose(adapted.model[1].running_mean, mean) and torch.allclose(
        adapted.model[1].running_var, variance
    )
    before, kept = _state(adapted.model), adapted.snapshot()
    adapted.update(faces[16:])
    assert adapted.faces == 24 and not torch.equal(adapted.model[1].running_mean, mean)
    adapted.rollback(kept)
    assert adapted.faces == 16
    assert all(torch.equal(value, before[name]) for name, value in adapted.model.state_dict().items())
    with pytest.raises(BadInput, match="one face"):
        adapted.update(faces[:1])


def test_the_divergence_is_that_of_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (Statistics(torch.randn(5, generator=generator), torch.rand(5, generator=generator) + 0.1) for _ in range(2))
    normals = [torch.distributions.Normal(one.mean, (one.variance + 0.01).sqrt()) for one in (a, b)]
    wanted = torch.distributions.kl_divergence(*normals).mean()
    assert float(a.divergence(b, 0.01)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(a.divergence(a, 0.01)) == 0


def test_the_report_names_layers_and_says_how_far_they_moved() -> None:
    network, faces = _network(), _faces(40)
    first = adapt_bn(network, faces, "replace", fewest=2).diff()[0]
    seen = network[0](faces).detach().transpose(0, 1).flatten(1)
    deviation = (network[1].running_var + network[1].eps).sqrt()
    wanted = ((seen.mean(1) - network[1].running_mean).abs() / deviation).mean()
    assert (first.name, first.channels, first.adapted, first.noise) == ("1", 4, True, None)
    assert first.shift == pytest.approx(float(wanted))


def _trained(faces: Tensor) -> nn.Sequential:
    """A network whose statistics are those of these faces."""
    network: nn.Sequential = adapt_bn(_network(), faces, "replace", fewest=2).model  # type: ignore[assignment]
    return network


def test_a_photometric_shift_is_undone() -> None:
    clean = _faces(300)
    network = _trained(clean[:200])
    test = clean[200:]
    dark = test * 0.35 + 0.1
    # A first layer without padding makes of the shift one of each channel's mean and scale, which is what a statistic takes away.
    replaced = adapt_bn(network, dark, "replace", fewest=100)
    assert torch.allclose(replaced.model(dark), adapt_bn(network, test, "replace", fewest=100).model(test), atol=0.01)

    def error(model: nn.Module, faces: Tensor) -> float:
        """Mean squared distance from what the network makes of the clean faces; its outputs have a variance of 1 and more."""
        with torch.no_grad():
            return float((model(faces) - network(test)).square().mean())

    mixed = adapt_bn(network, dark, "mix", prior=16)
    assert max(error(replaced.model, dark), error(mixed.model, dark)) < error(network, dark) / 4
    few = adapt_bn(network, test[:8], "mix", prior=64)
    assert error(few.model, test) < 0.1  # And without a shift little is lost, even by eight faces.


def test_the_guard_adapts_what_moved_and_leaves_what_did_not() -> None:
    faces = _faces(900)
    network = _trained(faces[:600])
    generator = torch.Generator().manual_seed(0)
    same = adapt_bn(network, faces[600:], "replace", guard=0.99, generator=generator)
    moved = adapt_bn(network, faces[600:] * 0.35 + 0.2, "replace", guard=0.99, generator=generator)
    assert not any(one.adapted for one in same.diff())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in same.model.state_dict().items())
    assert all(one.adapted and one.noise is not None and one.divergence > one.noise for one in moved.diff()[:1])
    assert "0 of 3 layers" in same.notes[0]


def test_a_random_choice_of_faces_and_the_first_of_batches() -> None:
    network, faces = _network(), _faces(30)
    some = adapt_bn(network, faces, "mix", max_images=9, generator=torch.Generator().manual_seed(0))
    first = adapt_bn(network, faces.split(4), "mix", max_images=9)
    wanted = adapt_bn(network, faces[:9], "mix")
    assert some.faces == first.faces == wanted.faces == 9
    assert torch.allclose(first.model[1].running_mean, wanted.model[1].running_mean)
    assert not torch.allclose(some.model[1].running_mean, wanted.model[1].running_mean)


def test_gallery_and_probes_have_statistics_of_their_own() -> None:
    network, gallery = _network(), _faces(20)
    probe = nn.functional.interpolate(nn.functional.avg_pool2d(gallery, 4), size=8)
    sides = TwoSided.adapt(network, gallery, probe, "mix", prior=4)
    alone = adapt_bn(network, probe, "mix", prior=4)
    assert torch.equal(sides.probe.model[1].running_var, alone.model[1].running_var)
    assert not torch.allclose(sides.gallery.model[1].running_var, sides.probe.model[1].running_var)


def test_few_faces_are_refused_or_noted() -> None:
    network = _network()
    with pytest.raises(BadInput, match=r"199 faces for mode=replace.*mode=mix"):
        adapt_bn(network, _faces(199), "replace")
    assert len(adapt_bn(network, _faces(200), "replace").notes) == 1
    assert "7 faces say little" in adapt_bn(network, _faces(7)).notes[1]
    assert len(adapt_bn(network, _faces(8)).notes) == 1
    with pytest.raises(BadInput, match="no faces"):
        adapt_bn(network, iter(()))


def test_online_looks_at_no_face_alone_and_says_how_many_it_saw() -> None:
    network, faces = _network(), _faces(9)
    found = adapt_bn(network, faces, "online", batch=4)
    wanted = adapt_bn(network, iter((faces[:4], faces[4:])), "online")
    assert found.faces == 9 and torch.equal(found.model[1].running_mean, wanted.model[1].running_mean)
    assert adapt_bn(network, faces, "online", batch=4, max_images=5).faces == 5
    (note,) = found.notes
    assert note == "FaceBN, online: statistics of 9 faces, without labels, each batch at a share of 0.1"
    with pytest.raises(BadInput, match="an update by one face"):
        adapt_bn(network, faces[:1], "online", batch=4)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.norm(images).relu())


def test_networks_that_cannot_be_adapted_are_refused() -> None:
    for without in (nn.GroupNorm(1, 3), nn.LayerNorm(8), nn.InstanceNorm2d(3)):
        with pytest.raises(BadInput, match="without batch normalisation"):
            adapt_bn(nn.Sequential(without), _faces(10).float())
    with pytest.raises(BadInput, match="without running statistics in 0"):
        adapt_bn(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), _faces(10).float())
    with pytest.raises(BadInput, match="more than once: norm"):
        adapt_bn(_Twice(), _faces(10).float())


def test_a_layer_that_the_pass_does_not_reach_is_left_and_said_to_be() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3)).double()
    network[0].register_module("aside", nn.BatchNorm2d(2).double())
    used, aside = adapt_bn(network, _faces(10)).diff()
    assert used.adapted and not aside.adapted and aside.divergence == 0


def test_faces_and_settings_that_cannot_be_are_refused() -> None:
    network, faces = _network(), _faces(10)
    labelled = [(faces, torch.zeros(10))]
    for wrong in ((faces * 255).byte(), faces[:0], faces / 0, labelled):
        for mode in ("mix", "online"):
            with pytest.raises(BadInput):
                adapt_bn(network, wrong, mode)  # type: ignore[arg-type]
    for options in ({"mode": "alpha"}, {"prior": -1.0}, {"batch": 0}, {"guard": 1.0}, {"rate": 0.0}, {"max_images": 0}):
        with pytest.raises(BadInput, match=next(iter(options))):
            adapt_bn(network, faces, **options)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="guard"):
        adapt_bn(network, faces, "online", guard=0.9)
    with pytest.raises(BadInput, match="guard over 7 faces"):
        adapt_bn(network, faces[:7], guard=0.9)
    with pytest.raises(BadInput, match="online"):
        adapt_bn(network, faces).update(faces)
