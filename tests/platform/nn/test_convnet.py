import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.convnet import ConvNet

FASHION = (1, 28, 28)


def test_parameters_and_features_are_those_of_the_family() -> None:
    grey, colour = ConvNet(FASHION, 10), ConvNet((3, 32, 32), 10)
    assert sum(p.numel() for p in grey.parameters()) == 317_706
    assert sum(p.numel() for p in colour.parameters()) == 320_010
    assert grey.feature_size == colour.feature_size == 2048
    assert grey.features(torch.rand(2, *FASHION)).shape == (2, 2048)


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((1, 4, 4), (1, 2, 2)),
        ((1, 8, 8), (2, 2, 2)),
        ((3, 13, 10), (2, 3, 2)),
        ((1, 16, 16), (3, 2, 2)),
        ((1, 28, 28), (3, 4, 4)),
        ((3, 28, 28), (3, 3, 3)),
        ((3, 32, 32), (3, 4, 4)),
        ((3, 64, 64), (4, 4, 4)),
        ((3, 128, 128), (5, 4, 4)),
    ],
)
def test_usual_depth_follows_the_image(shape: tuple[int, int, int], last: tuple[int, int, int]) -> None:
    network = ConvNet(shape, 5, width=4)
    depth, height, span = last
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.blocks) == depth
    assert network.feature_size == 4 * height * span
    assert network(torch.rand(2, *shape)).shape == (2, 5)


def test_depth_can_be_chosen() -> None:
    assert ConvNet((3, 64, 64), 10, depth=3).feature_size == 8192
    assert ConvNet((1, 8, 8), 10, width=4, depth=3).feature_size == 4


def test_images_get_the_same_gradient_from_frozen_weights() -> None:
    network, images = ConvNet(FASHION, 10, width=16), torch.randn(4, *FASHION)
    gradients = []
    for trained in (True, False):
        network.requires_grad_(trained)
        leaf = images.clone().requires_grad_()
        gradients += torch.autograd.grad(network.features(leaf).square().sum(), leaf)
    assert gradients[0].abs().max() > 0
    assert torch.equal(gradients[0], gradients[1])


def test_instance_norm_hides_the_convolutions_biases() -> None:
    network = ConvNet(FASHION, 10, width=16)
    torch.nn.functional.cross_entropy(network(torch.randn(8, *FASHION)), torch.arange(8)).backward()
    for layer in network.blocks:
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.bias is not None and layer.bias.grad is not None and layer.weight.grad is not None
            assert layer.bias.grad.abs().max() < 1e-4 * layer.weight.grad.abs().max()


def test_images_of_a_batch_do_not_touch_one_another() -> None:
    network, images = ConvNet((3, 16, 16), 10, width=16), torch.randn(5, 3, 16, 16)
    single = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), single, atol=1e-5)


def test_training_equals_evaluation() -> None:
    network, images = ConvNet((1, 8, 8), 3, width=8), torch.randn(4, 1, 8, 8)
    assert torch.equal(network.train()(images), network.eval()(images))
    # Nothing is carried from one batch to the next either: no running statistics.
    assert not list(network.buffers())


def test_logits_are_the_head_of_the_features() -> None:
    network, images = ConvNet((1, 8, 8), 3, width=8), torch.randn(4, 1, 8, 8)
    assert torch.equal(network(images), network.head(network.features(images)))


def test_too_small_images_are_refused() -> None:
    with pytest.raises(BadInput, match="too small"):
        ConvNet((1, 3, 8), 10)


@pytest.mark.parametrize("depth", [0, 4])
def test_depth_that_does_not_fit_is_refused(depth: int) -> None:
    with pytest.raises(BadInput, match=f"{depth} blocks do not fit images of 8x8.*use a depth of 1 to 3"):
        ConvNet((1, 8, 8), 10, depth=depth)
