from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from stillhouse.methods.dgd.divergence import entropy
from stillhouse.methods.dgd.regulariser import NAMED, Regulariser, evaluating
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.scattering import Scattering2D
from torch import Tensor, nn

EVERYTHING = Regulariser(tangent=1.0, normal=1.0, vat=1.0, entropy=1.0)


class Images(nn.Module):
    """A decoder of 5 latents to 1x8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 64), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z).unflatten(1, (1, 8, 8))


@pytest.fixture
def student() -> nn.Module:
    """With dropout and statistics, in training mode but for one part."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5),
    ).double()  # fmt: skip
    net[7].eval()
    return net


@pytest.fixture
def decoder() -> nn.Module:
    return Images().double().eval()


@pytest.fixture
def x(decoder: nn.Module, z: Tensor) -> Tensor:
    return decoder(z).detach()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def state(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("exact", [False, True])
def test_only_the_students_parameters_get_a_gradient(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor, exact: bool
) -> None:
    x, z, start = (t.clone().requires_grad_() for t in (x, z, torch.ones_like(z)))
    held, modes = (state(student), state(decoder)), [m.training for m in student.modules()]
    chosen = replace(EVERYTHING, exact=exact, whole_tangent_space=exact)
    found = chosen.loss(student, x, z, decoder, progress=1.0, generator=seeded(), start=start)
    assert all(p.grad is None for p in student.parameters())
    found["regulariser"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    assert sum(p.grad.abs().sum() for p in student.parameters() if p.grad is not None) > 0
    assert all(p.grad is None for p in decoder.parameters())
    assert x.grad is None and z.grad is None and start.grad is None
    assert not found["eta"].requires_grad
    # Statistics, parameters and modes are where they were.
    assert same(held[0], state(student)) and same(held[1], state(decoder))
    assert [m.training for m in student.modules()] == modes


class Watched(nn.Module):
    """A student that keeps what it was shown."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student, self.seen = student, list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return self.student(images)


def test_the_triple_is_the_image_a_step_along_the_manifold_and_one_normal_to_it(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor
) -> None:
    watched = Watched(student)
    chosen = replace(EVERYTHING, entropy=0.0, tangent_radius=0.3, normal_radius=0.7, vat_radius=1.1)
    found = chosen.loss(watched, x, z, decoder, progress=1.0, generator=seeded())
    clean, along, normal, vat = (images.flatten(1) for images in watched.seen)
    assert torch.equal(clean, x.flatten(1))
    speed = torch.autograd.functional.jvp(decoder, z, found["eta"])[1].flatten(1).norm(dim=1, keepdim=True)
    with torch.no_grad():
        step = decoder(z + 0.3 / speed * found["eta"]).flatten(1) - clean
    assert torch.allclose(along - clean, step)
    assert torch.cosine_similarity(normal - clean, along - clean).abs().max() < 1e-6
    assert torch.allclose((normal - clean).norm(dim=1), z.new_tensor(0.7))
    assert torch.allclose((vat - clean).norm(dim=1), z.new_tensor(1.1))


@pytest.mark.parametrize("term", ["tangent", "normal", "vat"])
def test_the_gradient_is_that_of_the_divergence_at_a_fixed_direction_and_target(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor, term: str
) -> None:
    # Numerically: nudge one parameter while the direction and the target are those found before.
    chosen = Regulariser(**{term: 1.0})
    watched = Watched(student)
    chosen.loss(watched, x, z, decoder, progress=1.0, generator=seeded())["regulariser"].backward()
    clean, moved = watched.seen[0], watched.seen[-1]
    weight = student[9].weight
    with evaluating(student), torch.no_grad():
        target = student(clean).softmax(1)

        def divergence() -> float:
            return float((target * (target.log() - student(moved).log_softmax(1))).sum(1).mean())

        for at in ((0, 3), (4, 7)):
            values = []
            for nudge in (1e-5, -2e-5):
                weight[at] += nudge
                values.append(divergence())
            weight[at] += 1e-5
            assert weight.grad[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_a_step_of_no_length_costs_exactly_nothing_despite_dropout(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor
) -> None:
    still = replace(EVERYTHING, tangent_radius=0.0, normal_radius=0.0, vat_radius=0.0, entropy=0.0)
    found = still.loss(student, x, z, decoder, progress=1.0, generator=seeded())
    assert [found[name].item() for name in ("tangent", "normal", "vat", "regulariser")] == [0.0] * 4
    moving = EVERYTHING.loss(student, x, z, decoder, progress=1.0, generator=seeded())
    assert all(moving[name].item() > 0 for name in ("tangent", "normal", "vat"))


def test_the_ramp_is_linear_from_nothing_to_full_weight(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor
) -> None:
    chosen = Regulariser(tangent=2.0, normal=0.5, vat=3.0, entropy=0.1, ramp=0.4)
    assert [chosen.factor(p) for p in (0.0, 0.1, 0.2, 0.4, 1.0)] == pytest.approx([0, 0.25, 0.5, 1, 1])
    assert replace(chosen, ramp=0.0).factor(0.0) == 1.0
    for progress, factor in ((0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)):
        found = chosen.loss(student, x, z, decoder, progress=progress, generator=seeded())
        weighted = 2 * found["tangent"] + 0.5 * found["normal"] + 3 * found["vat"] + 0.1 * found["entropy"]
        assert found["regulariser"].item() == pytest.approx(factor * weighted.item(), abs=1e-15)
    with pytest.raises(BadInput, match="progress"):
        chosen.factor(1.1)


@pytest.mark.parametrize("name", NAMED)
def test_the_named_ones_have_their_terms_and_no_others(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor, name: str
) -> None:
    found = Regulariser.named(name).loss(student, x, z, decoder, progress=1.0, generator=seeded())
    eta = {"eta"} if name in ("tar", "nar", "tnar") else set()
    assert Regulariser.named(name).active == NAMED[name]
    assert found.keys() == {*NAMED[name], "regulariser"} | eta
    assert found["regulariser"].item() == pytest.approx(sum(found[term].item() for term in NAMED[name]))
    assert found["regulariser"].requires_grad == (name != "labelled")
    if "entropy" in NAMED[name]:
        with evaluating(student):
            assert found["entropy"].item() == pytest.approx(entropy(student(x)).mean().item())


@pytest.mark.parametrize("whole", [False, True])
def test_chunks_change_nothing_and_the_generator_everything(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor, whole: bool
) -> None:
    chosen = replace(EVERYTHING, exact=whole, whole_tangent_space=whole)
    at_once = chosen.loss(student, x, z, decoder, progress=1.0, generator=seeded())
    in_parts = replace(chosen, chunk=4).loss(student, x, z, decoder, progress=1.0, generator=seeded())
    for name, value in at_once.items():
        assert torch.allclose(value, in_parts[name], rtol=1e-9), name
    other = chosen.loss(student, x, z, decoder, progress=1.0, generator=torch.Generator().manual_seed(10))
    assert other["normal"] != at_once["normal"]


def test_warm_starts_approach_the_exact_direction_and_zeros_are_drawn_afresh(
    student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor
) -> None:
    chosen = Regulariser(tangent=1.0)
    first = chosen.loss(student, x, z, decoder, progress=1.0, generator=seeded())
    zeros = chosen.loss(student, x, z, decoder, progress=1.0, generator=seeded(), start=torch.zeros_like(z))
    assert torch.equal(first["eta"], zeros["eta"])
    eta = first["eta"]
    for _ in range(60):
        eta = chosen.loss(student, x, z, decoder, progress=1.0, generator=seeded(), start=eta)["eta"]
    exact = replace(chosen, exact=True).loss(student, x, z, decoder, progress=1.0, generator=seeded())["eta"]
    before, after = ((exact * e).sum(1).abs().mean() for e in (first["eta"], eta))
    assert after > 0.99 and after > before


def test_it_works_through_the_scattering_transform(decoder: nn.Module, x: Tensor, z: Tensor) -> None:
    transform = Scattering2D((1, 8, 8))
    torch.manual_seed(2)
    student = nn.Sequential(transform, nn.Linear(transform.features, 5)).double()
    found = replace(EVERYTHING, exact=True, whole_tangent_space=True).loss(
        student, x, z, decoder, progress=1.0, generator=seeded()
    )
    found["regulariser"].backward()
    assert all(found[name] > 0 for name in ("tangent", "normal", "vat", "entropy"))
    assert student[1].weight.grad.abs().sum() > 0


def test_eval_mode_ends_with_an_error_too(student: nn.Module) -> None:
    modes = [m.training for m in student.modules()]
    with pytest.raises(RuntimeError), evaluating(student):
        assert not any(m.training for m in student.modules())
        raise RuntimeError
    assert [m.training for m in student.modules()] == modes


@pytest.mark.parametrize(
    "wrong",
    [
        {"tangent": -1.0}, {"normal_radius": float("nan")}, {"vat_radius": float("inf")}, {"power_steps": 0},
        {"cg_steps": 0}, {"chunk": 0}, {"ramp": 1.5}, {"tangent_radius_in": "pixels"},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Regulariser(**wrong)


def test_wrong_shapes_and_names_are_refused(student: nn.Module, decoder: nn.Module, x: Tensor, z: Tensor) -> None:
    with pytest.raises(BadInput, match="tnar"):
        Regulariser.named("tangents")
    with pytest.raises(BadInput, match="latents"):
        EVERYTHING.loss(student, x[:2], z, decoder, progress=1.0, generator=seeded())
    with pytest.raises(BadInput, match="starts"):
        EVERYTHING.loss(student, x, z, decoder, progress=1.0, generator=seeded(), start=z[:, :2])
    with pytest.raises(BadInput, match="decoder"):
        EVERYTHING.loss(student, x, z, lambda latents: decoder(latents).flatten(1), progress=1.0, generator=seeded())
