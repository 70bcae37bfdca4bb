import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.cnn import SmallCnn


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 8, 8), (3, 13, 10)])
def test_images_become_logits(shape: tuple[int, int, int]) -> None:
    assert SmallCnn(shape, 7)(torch.rand(5, *shape)).shape == (5, 7)


def test_images_of_a_batch_do_not_touch_one_another() -> None:
    network, images = SmallCnn((1, 8, 8), 3), torch.rand(6, 1, 8, 8)
    others = images.clone()
    others[1:] = 0
    assert torch.allclose(network(images)[0], network(others)[0], atol=1e-6)
    # Nothing is carried from one batch to the next either: no running statistics.
    assert not list(network.buffers())


def test_too_small_images_are_refused() -> None:
    with pytest.raises(BadInput, match="too small"):
        SmallCnn((1, 3, 8), 10)
