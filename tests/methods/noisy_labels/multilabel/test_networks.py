from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stillhouse.methods.noisy_labels.multilabel.networks import FeatureNetwork, Network, fresh, probabilities
from stillhouse.platform.errors import BadInput
from torchvision import models

CPU = torch.device("cpu")


def test_features_are_standardised_by_the_training_records() -> None:
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.0]) + 7
    network = fresh(Network(), inputs, 4, seed=1)
    assert isinstance(network, FeatureNetwork)
    assert network.mean.tolist() == pytest.approx(inputs.mean(0).tolist(), rel=1e-5)
    assert network.deviation.tolist() == pytest.approx([*inputs[:, :2].std(0, correction=0).tolist(), 1.0], rel=1e-5)
    found = probabilities(network, inputs, CPU, piece=7)
    assert found.shape == (50, 4)
    torch.testing.assert_close(found, torch.sigmoid(network(inputs)))


def test_first_weights_depend_on_the_seed_alone() -> None:
    inputs = torch.randn(9, 3)
    torch.manual_seed(5)
    first = fresh(Network(), inputs, 2, seed=3)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # nothing of the caller's stream was used
    second, other = fresh(Network(), inputs, 2, seed=3), fresh(Network(), inputs, 2, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize(("architecture", "channels"), [("auto", 3), ("resnet50", 1), ("convnet", 3)])
def test_images_go_through_every_kind(architecture: str, channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8)
    network = fresh(Network(architecture), images, 5, seed=0).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images), network(images.float() / 255))
        assert network(images).shape == (2, 5)


def test_pretrained_weights_are_taken_all_but_the_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = models.resnet50(weights=None)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    built = Network("resnet50", weights=str(tmp_path / "weights.pth")).build((3, 32, 32), 4)
    held = built.state_dict()
    for name, tensor in trained.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(held[f"network.{name}"], tensor)
    assert held["network.fc.weight"].shape == (4, 2048)
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot read"):
        Network("resnet50", weights=str(tmp_path / "weights.pth")).build((3, 32, 32), 4)
    with pytest.raises(BadInput, match="3 channels"):
        Network("resnet50", weights=str(tmp_path / "weights.pth")).build((1, 32, 32), 4)


def test_what_does_not_fit() -> None:
    with pytest.raises(BadInput, match="use one of"):
        Network("resnet5")
    with pytest.raises(BadInput, match="use mlp for features"):
        Network("resnet50").build((10,), 3)
    with pytest.raises(BadInput, match="use mlp for features"):
        Network("mlp").build((3, 8, 8), 3)
    with pytest.raises(BadInput, match="weights are for resnet50"):
        Network("mlp", weights="some.pth").build((10,), 3)
