"""What synthetic images are compared with: one draw on both sides, real features kept no longer than they serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.discrepancy import MeanDifference
from stillhouse.methods.condensation.encoders import Encoder, MiddleEncoders, RandomEncoders, fresh_network
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.matching import Calibration, RealMatching, Reuse
from stillhouse.methods.condensation.prepared import OnInputs
from stillhouse.methods.condensation.real import RealImages
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.seeds import seed_for
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE, CPU = (1, 8, 8), torch.device("cpu")
STANDARD = Standard((0.3,), (0.4,))
HARD = Augmentation("color_crop_cutout_flip_scale_rotate")


def seeds(seed: int) -> Callable[..., int]:
    return lambda *names: seed_for(seed, *names)


class Pixels:
    """An encoder whose features are its inputs."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def at(self, number: int) -> Encoder:
        return self  # type: ignore[return-value]


@dataclass
class Recording:
    """Remembers what was compared."""

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        self.pairs.append((synthetic, real))
        return MeanDifference()(synthetic, real)


@pytest.fixture(scope="module")
def real() -> RealImages:
    return RealImages(load("digits").private, batch=5, seed_for=seeds(0))


def term(real: RealImages, **more: Any) -> RealMatching:
    settings: dict[str, Any] = {
        "encoders": Pixels(), "discrepancy": Recording(), "augmentation": HARD, "forward": Forward(), "seed_for": seeds(1),
    }  # fmt: skip
    return RealMatching(real, STANDARD, **{**settings, **more})


def test_both_sides_get_the_same_draw(real: RealImages) -> None:
    own = term(real)
    for number in range(8):
        losses = own([real.batch(c, number) for c in (0, 7)], (0, 7), number)
        assert [float(loss) for loss in losses] == [0.0, 0.0]
    assert isinstance(own.discrepancy, Recording)
    for synthetic, other in own.discrepancy.pairs:
        assert torch.equal(synthetic, other)


def test_every_class_and_every_iteration_has_a_draw_of_its_own(real: RealImages) -> None:
    own = term(real)
    same = torch.rand(3, *SHAPE)
    for number in (0, 1):
        own([same, same], (0, 7), number)
    assert isinstance(own.discrepancy, Recording)
    seen = [synthetic for synthetic, _ in own.discrepancy.pairs]
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    again = term(real)
    again([same], (7,), 1)
    assert isinstance(again.discrepancy, Recording)
    assert torch.equal(again.discrepancy.pairs[0][0], seen[3])


def test_real_features_have_no_gradient_and_synthetic_ones_do(real: RealImages) -> None:
    leaf = torch.rand(2, *SHAPE, requires_grad=True)
    encoders = RandomEncoders("convnet", SHAPE, 10, every=1, seed_for=seeds(2), device=CPU)
    own = term(real, encoders=encoders)
    (loss,) = own([leaf], (4,), 0)
    loss.backward()
    assert isinstance(own.discrepancy, Recording)
    ((synthetic, other),) = own.discrepancy.pairs
    assert synthetic.requires_grad
    assert not other.requires_grad
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(("times", "bank"), [(1, 7), (2, 3), (5, 1), (4, 10)])
def test_each_draw_serves_as_often_as_said(times: int, bank: int) -> None:
    reuse = Reuse(times, bank)
    rounds = 3
    keys = [reuse.key(number) for number in range(rounds * times * bank)]
    assert Counter(keys) == dict.fromkeys(range(rounds * bank), times)
    # Whoever stops using a draw never comes back to it, and no more than `bank` are in use.
    first = {key: keys.index(key) for key in keys}
    last = {key: len(keys) - 1 - keys[::-1].index(key) for key in keys}
    in_use = [sum(first[k] <= number <= last[k] for k in first) for number in range(len(keys))]
    assert max(in_use) <= (bank if times > 1 else 1)


@pytest.mark.parametrize(("name", "value"), [("times", 0), ("times", True), ("bank", -1), ("bank", 2.0)])
def test_reuse_is_counted_in_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"reuse.{name}"):
        Reuse(**{name: value})


@dataclass
class Counting(Pixels):
    """Counts the images that go through."""

    images: int = 0

    def features(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return super().features(images)


def test_the_real_side_is_computed_once_for_each_draw_and_not_kept_for_long(real: RealImages) -> None:
    reuse = Reuse(times=3, bank=2)
    encoders, classes = Counting(), (0, 1, 2)
    own = term(real, encoders=encoders, reuse=reuse)
    synthetic = torch.rand(1, *SHAPE)
    for number in range(24):
        # One class at a time, as on a CPU; then all at once: both find what the other computed.
        for c in classes if number % 2 else ():
            own([synthetic], (c,), number)
        if number % 2 == 0:
            own([synthetic] * 3, classes, number)
        assert len(own._kept) <= reuse.bank * len(classes)
        assert all(not kept.requires_grad for kept in own._kept.values())
    draws = 24 // reuse.times
    assert encoders.images == 24 * 3 + draws * 3 * 5
    # Both sides still have the same draw.
    number = 22
    own([real.batch(1, reuse.key(number))], (1,), number)
    assert isinstance(own.discrepancy, Recording)
    assert torch.equal(*own.discrepancy.pairs[-1])


def test_reuse_once_is_no_reuse_and_keeps_nothing(real: RealImages) -> None:
    once, default = term(real, reuse=Reuse(times=1, bank=3)), term(real)
    images = [torch.rand(2, *SHAPE), torch.rand(2, *SHAPE)]
    for number in range(6):
        assert torch.equal(torch.stack(once(images, (3, 5), number)), torch.stack(default(images, (3, 5), number)))
    assert once._kept == {}


def experts_of(count: int) -> list[dict[str, dict[str, Tensor]]]:
    states = [fresh_network("convnet", SHAPE, 10, seed).state_dict() for seed in range(2 * count)]
    return [{"first": states[2 * k], "trained": states[2 * k + 1]} for k in range(count)]


def test_calibration_asks_the_trained_end_for_each_class(real: RealImages) -> None:
    encoders = MiddleEncoders(experts_of(3), "convnet", SHAPE, 10, seed_for=seeds(4), device=CPU)
    own = Calibration(STANDARD, encoders, Augmentation("none"), Forward(), seeds(5))
    images, classes = [real.batch(c, 0) for c in (6, 0)], (6, 0)
    for number in range(4):
        encoders.at(number)  # the middle encoder is another network, and does not disturb
        found = own(images, classes, number)
        expert = fresh_network("convnet", SHAPE, 10, 2 * encoders.draw(number)[0] + 1)
        for loss, batch, c in zip(found, images, classes, strict=True):
            expected = F.cross_entropy(expert(STANDARD(batch)), torch.tensor([c] * len(batch)))
            assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    right, wrong = own([images[0]], (6,), 0)[0], own([images[0]], (7,), 0)[0]
    assert right.item() != wrong.item()


def test_calibration_augments_by_a_draw_of_its_own(real: RealImages) -> None:
    """As published: not the one of the comparison, and another one for every class and iteration."""
    calls: list[Tensor] = []

    class Expert:
        def __call__(self, images: Tensor) -> Tensor:
            calls.append(images)
            return images.flatten(1)[:, :10]

    class Ends:
        def expert(self, number: int) -> Expert:
            return Expert()

    own = Calibration(STANDARD, Ends(), HARD, Forward(piece=0, channels_last=False), seeds(1))  # type: ignore[arg-type]
    compared = term(real)
    same = torch.rand(2, *SHAPE)
    for number in (0, 1):
        own([same, same], (0, 7), number)
        compared([same, same], (0, 7), number)
    assert isinstance(compared.discrepancy, Recording)
    seen = [half.flatten(1) for call in calls for half in call.split(2)]
    seen += [synthetic for synthetic, _ in compared.discrepancy.pairs]
    assert len(seen) == 8
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_a_term_on_network_inputs_is_given_pixels() -> None:
    given: list[Tensor] = []

    class Own:
        name = "own"

        def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
            given.extend(images)
            assert (classes, number) == ((2, 3), 9)
            return [image.sum() for image in images]

    pixels = [torch.rand(2, *SHAPE), torch.rand(1, *SHAPE)]
    inputs = [STANDARD(part).requires_grad_() for part in pixels]
    wrapped = OnInputs(Own(), STANDARD)
    assert wrapped.name == "own"
    torch.stack(wrapped(inputs, (2, 3), 9)).sum().backward()
    for part, found, leaf in zip(pixels, given, inputs, strict=True):
        torch.testing.assert_close(found, part, rtol=0, atol=1e-6)
        assert leaf.grad is not None
        assert leaf.grad.flatten().tolist() == pytest.approx([0.4] * leaf.numel())  # d pixel / d input


def test_calibration_asks_the_expert_of_the_matching_also_under_reuse() -> None:
    asked: list[int] = []

    class Ends:
        def expert(self, number: int) -> nn.Module:
            asked.append(number)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    reuse = Reuse(times=3, bank=2)
    own = Calibration(STANDARD, Ends(), Augmentation("none"), Forward(), seeds(5), reuse)  # type: ignore[arg-type]
    for number in range(12):
        own([torch.rand(2, 1, 8, 8)], [0], number)
    assert asked == [reuse.key(number) for number in range(12)]
