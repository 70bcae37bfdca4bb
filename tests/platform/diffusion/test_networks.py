"""Denoisers and discriminators: shapes, conditioning, no meeting of samples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion import library
from stillhouse.platform.diffusion.coupling import refuse_coupling
from stillhouse.platform.diffusion.discriminator import Critic, fresh_critic
from stillhouse.platform.diffusion.losses import adversarial, discriminating, distillation
from stillhouse.platform.diffusion.networks import Network, fresh
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.teacher import DiffusionTeacher
from stillhouse.platform.diffusion.upstream import Adversary
from stillhouse.platform.errors import BadInput, MissingExtra
from torch import nn

from .tiny import CLASSES, MLP, SHAPE, UNET, drawn


@pytest.mark.parametrize("settings", [MLP, UNET, Network("unet", channels=8, multipliers=(1,), attention=False)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 8)])
def test_a_denoiser_keeps_the_shape_and_mixes_no_samples(settings: Network, shape: tuple[int, int, int]) -> None:
    network = fresh(settings, shape, CLASSES, 0)
    step, label = torch.tensor([0, 3, 499]), torch.tensor([0, 1, 9])
    assert network(torch.randn(3, *shape), step, label).shape == (3, *shape)
    refuse_coupling(network, lambda x: network(x, step, label), shape, "student")
    # And it is one that DP-SGD can train: every layer has gradients by sample.
    assert not ModuleValidator.validate(network.train()) and not GradSampleModule.validate(network)


@pytest.mark.parametrize("settings", [MLP, UNET])
def test_step_and_class_matter_and_the_class_only_where_it_is_told(settings: Network) -> None:
    noise, step, label = drawn(4)
    network = fresh(settings, SHAPE, CLASSES, 0).eval()
    found = network(noise, step, label)
    assert not torch.allclose(found, network(noise, step, (label + 1) % CLASSES))
    assert not torch.allclose(found, network(noise, (step + 250) % 500, label))
    blind = fresh(
        Network(settings.kind, hidden=16, channels=8, multipliers=(1, 2), groups=4, conditional=False),
        SHAPE,
        CLASSES,
        0,
    )
    assert torch.equal(blind(noise, step, label), blind(noise, step, (label + 1) % CLASSES))


def test_weights_follow_from_the_seed_and_disturb_nobody() -> None:
    before = torch.get_rng_state()
    first, same, other = (fresh(UNET, SHAPE, CLASSES, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "vit"}, "unknown network"),
        ({"channels": 12}, "multiple of 8"),
        ({"multipliers": ()}, "at least one level"),
        ({"head_channels": 24}, "64 channels in heads of 24"),
        ({"head_channels": 0}, "head_channels"),
    ],
)
def test_impossible_networks_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Network(**wrong)  # type: ignore[arg-type]


def test_heads_have_the_channels_that_were_asked_for_and_the_weights_do_not_tell() -> None:
    many, one = (fresh(replace(UNET, head_channels=width), SHAPE, CLASSES, 0).eval() for width in (8, 16))
    heads = [{layer.heads for layer in net.modules() if hasattr(layer, "heads")} for net in (many, one)]
    assert heads == [{2}, {1}]
    noise, step, label = drawn(3)
    assert all(map(torch.equal, many.state_dict().values(), one.state_dict().values()))
    assert not torch.allclose(many(noise, step, label), one(noise, step, label))


def test_images_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(BadInput, match=r"fewer method\.network\.multipliers"):
        fresh(Network("unet", channels=8, multipliers=(1, 1, 1, 1, 1)), SHAPE, CLASSES, 0)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(library.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"\.\[diffusion\]"):
        library.from_diffusers("models.embeddings", "get_timestep_embedding")


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(64), nn.InstanceNorm1d(64, track_running_stats=True)])
def test_layers_with_statistics_are_refused(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), *([] if isinstance(layer, nn.InstanceNorm1d) else [layer]))
    if isinstance(layer, nn.InstanceNorm1d):
        network = nn.Sequential(network, nn.Unflatten(1, (64, 1)), layer.eval())
    with pytest.raises(BadInput, match="lets samples of a batch meet"):
        refuse_coupling(network.eval(), network, SHAPE, "student")


def test_a_minibatch_statistic_is_found_by_its_effect() -> None:
    class Spread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.scale * images / images.std(0).mean()

    network = Spread()
    with pytest.raises(BadInput, match="discriminator lets samples"):
        refuse_coupling(network, network, SHAPE, "discriminator")
    # In one direction only: a row sees those before it, or those behind it.
    for one_way in (lambda x: network.scale * x.cumsum(0), lambda x: network.scale * x.flip(0).cumsum(0).flip(0)):
        with pytest.raises(BadInput, match="student lets samples"):
            refuse_coupling(network, one_way, SHAPE, "student")


@pytest.mark.parametrize("settings", [Critic(width=8), Critic("conv", width=4), Critic("conv", width=4, inputs="pair")])
def test_an_untrained_critic_says_one_half_of_everything(settings: Critic) -> None:
    critic = fresh_critic(settings, SHAPE, CLASSES, 0)
    teacher, _, label = drawn(5)
    adversary = Adversary(pair=settings.pair)
    assert torch.allclose(adversary.critic_losses(critic, teacher, -teacher, label), torch.full((5,), 2 * math.log(2)))
    assert torch.allclose(adversary.student_losses(critic, teacher, -teacher, label), torch.full((5,), -math.log(2)))
    channels = 2 if settings.pair else 1
    refuse_coupling(critic, critic.features, (channels, 8, 8), "discriminator")
    with torch.no_grad():
        critic.head.weight.normal_()  # At zero nothing would be seen through it.
    refuse_coupling(critic, lambda x: critic(x, label[: len(x)]), (channels, 8, 8), "discriminator")


@pytest.mark.parametrize("inputs", ["batch", "pair"])
def test_a_critic_learns_to_tell_and_ends_at_one_half_where_there_is_nothing_to_tell(inputs: str) -> None:
    settings = Critic(width=16, inputs=inputs)
    adversary = Adversary(pair=settings.pair)
    generator = torch.Generator().manual_seed(0)
    losses = {}
    for shift in (0.0, 1.0):
        critic = fresh_critic(settings, SHAPE, CLASSES, 0)
        optimizer = torch.optim.Adam(critic.parameters(), 5e-3, betas=(0.5, 0.999))
        told = []
        for _ in range(80):
            teacher, student = (torch.randn(64, *SHAPE, generator=generator) for _ in range(2))
            optimizer.zero_grad()
            loss = adversary.critic_losses(critic, teacher + shift, student, torch.arange(64) % CLASSES).mean()
            loss.backward()
            optimizer.step()
            told.append(loss.item())
        losses[shift] = sum(told[-20:]) / 20
    assert losses[1.0] < 0.3 * 2 * math.log(2) < 0.8 * 2 * math.log(2) < losses[0.0]


def test_the_class_matters_to_a_critic_that_is_told_it() -> None:
    noise, _, label = drawn(5)
    for conditional in (True, False):
        # In training mode every call moves the spectral norm's vectors on.
        critic = fresh_critic(Critic(width=8, conditional=conditional), SHAPE, CLASSES, 0).eval()
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.add_(0.1)
            if critic.projection is not None:
                critic.projection.weight.normal_()
        same = torch.allclose(critic(noise, label), critic(noise, (label + 1) % CLASSES))
        assert same != conditional


def test_losses_are_sums_over_pixels() -> None:
    one, two, three = (torch.full((2, *SHAPE), value) for value in (0.0, 0.5, -1.0))
    assert distillation(one, two).tolist() == [16.0, 16.0]
    assert distillation(one, two, three).tolist() == [80.0, 80.0]
    logits = torch.linspace(-4, 4, 9)
    p = torch.sigmoid(logits)
    assert torch.allclose(adversarial(logits, saturating=True), (1 - p).log(), atol=1e-5)
    assert torch.allclose(adversarial(logits, saturating=False), -p.log(), atol=1e-5)
    assert torch.allclose(discriminating(logits, -logits), -p.log() - p.log(), atol=1e-5)


def test_unknown_critics_are_refused() -> None:
    with pytest.raises(BadInput, match="discriminator kind"):
        Critic("forest")
    with pytest.raises(BadInput, match="discriminator inputs"):
        Critic(inputs="triple")


def test_a_perceptron_learns_the_class_as_soon_as_the_picture() -> None:
    """At pure noise the label is all there is to go by. A one-hot vector of length 1, beside a picture of length 8, was learnt last:
    after as many steps a tenth of the estimates lay nearest to their own class's mean.
    """
    data = load("digits").private
    pictures = centred(torch.from_numpy(data.images)).flatten(1)
    means = torch.stack([pictures[torch.from_numpy(data.labels) == label].mean(0) for label in range(10)])
    teacher = DiffusionTeacher(hidden=32, steps=100, learning_rate=3e-3, critic_width=8)
    label, step = torch.arange(200) % 10, torch.full((200,), 499)
    noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    inputs = {"x": noise, "step": step, "signal": teacher.schedule.signal(step), "label": label}
    state = teacher.train(data.take(range(300)), seed=0)
    answer, _ = teacher.answer(state, "targets", {name: value.numpy() for name, value in inputs.items()})
    nearest = torch.cdist(torch.from_numpy(answer), means).argmin(1)
    assert (nearest == label).float().mean() > 0.8
