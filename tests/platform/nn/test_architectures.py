import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.architectures import NETWORKS, ResNetAP10, build_network

Shape = tuple[int, int, int]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_images_become_logits(name: str, shape: Shape) -> None:
    with torch.no_grad():
        logits = build_network(name, shape, 7).eval()(torch.rand(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 128, 128), (1, 224, 224)])
def test_smallest_and_large_images_fit_too(name: str, shape: Shape) -> None:
    # Tensors without storage: the large networks would take seconds to fill.
    with torch.device("meta"):
        assert build_network(name, shape, 5).eval()(torch.rand(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"vit_tiny"}))
def test_images_need_not_be_square(name: str) -> None:
    with torch.device("meta"):
        assert build_network(name, (3, 40, 27), 5).eval()(torch.rand(2, 3, 40, 27)).shape == (2, 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_from_small_images(name: str) -> None:
    torch.manual_seed(0)
    network, images, labels = build_network(name, (1, 8, 8), 2).train(), torch.randn(8, 1, 8, 8), torch.arange(8) % 2
    images[labels == 1, :, :4] += 3
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(losses[1:]) < losses[0] - 0.05


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (28, 4), (32, 4), (64, 8), (128, 16), (224, 16)])
def test_patches_divide_the_image(side: int, patch: int) -> None:
    with torch.device("meta"):
        network = build_network("vit_tiny", (1, side, side), 10)
    assert network.get_parameter("conv_proj.weight").shape == (192, 1, patch, patch)


def test_resnet10_counts_and_features() -> None:
    network = ResNetAP10((3, 32, 32), 10)
    # 3x3 convolutions, 1x1 shortcuts, scales and shifts of the norms, head.
    convolutions = 9 * (3 * 64 + 2 * 64**2 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2)
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512
    norms = 2 * (64 + 2 * 64 + 3 * (128 + 256 + 512))
    assert sum(p.numel() for p in network.parameters()) == convolutions + shortcuts + norms + 5130
    with torch.no_grad():
        images = torch.rand(2, 3, 32, 32)
        assert network.blocks(images).shape == (2, 512, 4, 4)
        assert network.features(images).shape == (2, network.feature_size)


def test_resnet10_treats_images_apart() -> None:
    network, images = ResNetAP10((1, 8, 8), 4), torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        single = torch.cat([network(image[None]) for image in images])
        assert torch.allclose(network(images), single, atol=1e-5)
        # A last map of one pixel would be a constant under instance norm, and all images alike.
        assert single.std(0).min() > 1e-3
    assert not list(network.buffers())


def test_names_near_a_network_are_suggested() -> None:
    with pytest.raises(BadInput, match="no network is called 'resnet-18'; did you mean 'resnet18'"):
        build_network("resnet-18", (3, 32, 32), 10)
    with pytest.raises(BadInput, match="no network is called 'zzz'\\. To mend it: use one of"):
        build_network("zzz", (3, 32, 32), 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_too_small_images_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"images of 3x8 are too small for {name}"):
        build_network(name, (1, 3, 8), 10)


def test_vit_refuses_oblong_images() -> None:
    with pytest.raises(BadInput, match="use square images"):
        build_network("vit_tiny", (1, 8, 16), 10)
