"""A term without weights or memory, from a function of the batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..seen import Batch


class Stateless(nn.Module):
    """A `Term` that is a function of the batch and nothing else; on several processes, of each one's part of it."""

    def __init__(self, function: Callable[[Batch], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, batch: Batch) -> Tensor:
        """The function's value."""
        return self.function(batch)

    def after_step(self, batch: Batch) -> None:
        """There is nothing to remember."""
