"""Whether samples of a batch meet: where they do, clipping a sample's gradient bounds nothing.

Batch normalisation and minibatch statistics are the usual ways; the test here asks for the effect, so it finds the others too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import BadInput

ROWS = 3


def refuse_coupling(
    network: nn.Module, call: Callable[[Tensor], Tensor], shape: tuple[int, int, int], what: str
) -> None:
    """See that each row of `call(images)` depends on its own row of images (B, c, h, w) alone.

    Layers that keep statistics of their inputs are refused by kind: what they do shows in the next batch.

    Raises:
        BadInput: one depends on another.
    """
    kept = [
        layer for layer in network.modules()
        if isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm))
        and (layer.track_running_stats or isinstance(layer, nn.modules.batchnorm._BatchNorm))
    ]  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parameter = next(network.parameters())
        images = torch.randn(ROWS, *shape, device=parameter.device, dtype=parameter.dtype, requires_grad=True)
    found = call(images)
    # The middle row: it may look at rows before it as well as behind it.
    (gradient,) = torch.autograd.grad(found[1].square().sum() + found[1].sum(), images, allow_unused=True)
    if kept or (gradient is not None and bool(gradient[[0, 2]].ne(0).any())):
        raise BadInput(
            f"the {what} lets samples of a batch meet" + (f" ({type(kept[0]).__name__})" if kept else ""),
            why="the gradient of one sample would depend on another's record, and clipping would bound neither",
            mend="use GroupNorm, and no statistics over the batch",
        )
