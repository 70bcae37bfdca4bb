"""What stands behind a tensor in autograd's graph."""

from __future__ import annotations

from torch import Tensor


def leaves_behind(tensor: Tensor) -> set[int]:
    """The ids of all tensors that a backward pass from this one would reach."""
    leaves: set[int] = set()
    left = [tensor.grad_fn]
    while left:
        node = left.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        left += [child for child, _ in node.next_functions]
    return leaves
