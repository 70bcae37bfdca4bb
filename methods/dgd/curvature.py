"""Products with a function's Jacobian at a point, and with the Hessian of the divergence a classifier's answer suffers.

F(r) = KL(p(.|x) || p(.|x + r)) has at r = 0 no value, no gradient and the Hessian H = J^T (diag(p) - p p^T) J, J the Jacobian of the
logits: the Gauss-Newton matrix is the Hessian, because the divergence has no gradient in the logits there. So H v is one product
with J and one with J^T, exact in single precision, where the finite difference of Yu et al. 2019 (TNAR, arXiv 1808.06088) is not.

A product J v is taken from the graph of w -> J^T w by differentiating it again. That reuses the forward pass at the point: on one
core a product costs 1 to 1.5 forward passes, where forward-mode differentiation costs 3 to 4 (`torch.func.linearize` is quicker
still, but traces the function for 0.1 to 1 s at every new point).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...platform.errors import BadInput
from .inner import inner

# Images (B, c, h, w) to logits (B, K), and latents (B, zV) to images: sample by sample, so both in eval mode.
Classifier = Callable[[Tensor], Tensor]
Decoder = Callable[[Tensor], Tensor]


class Linearisation:
    """`function` (B, ...) -> (B, ...) at `point`, for any number of products with its Jacobians J, one per sample.

    Nothing here reaches a parameter's gradient. It holds the graph of one forward pass until it is dropped.

    Attributes:
        point: where, detached.
        output: function(point), detached.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        self.function, self.point = function, point.detach()
        self._input = self.point.clone().requires_grad_()
        with torch.enable_grad():
            self._output = function(self._input)
            if self._output.ndim < 2 or len(self._output) != len(point):
                raise BadInput(
                    f"the function gives {tuple(self._output.shape)} for {tuple(point.shape)}",
                    why="it is differentiated sample by sample",
                )
            self._cotangent = torch.zeros_like(self._output, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(self._output, self._input, self._cotangent, create_graph=True)
        self.output = self._output.detach()

    def jvp(self, v: Tensor) -> Tensor:
        """Return J v, shaped as `output`, for v shaped as `point`."""
        return torch.autograd.grad(self._pulled, self._cotangent, v, retain_graph=True)[0]

    def vjp(self, w: Tensor) -> Tensor:
        """Return J^T w, shaped as `point`, for w shaped as `output`."""
        return torch.autograd.grad(self._output, self._input, w, retain_graph=True)[0]

    def gram(self, v: Tensor) -> Tensor:
        """Return J^T J v, shaped as `point`."""
        return self.vjp(self.jvp(v))

    def jacobian(self) -> Tensor:
        """Return J of a point (B, n), flattened: (B, d, n), by n products."""
        size = self.point.shape[1]
        columns = torch.eye(size, dtype=self.point.dtype, device=self.point.device)
        return torch.stack([self.jvp(column.expand_as(self.point)).flatten(1) for column in columns], dim=2)


class Curvature:
    """The Hessians H, one per image, of r -> KL(p(.|x) || p(.|x + r)) at r = 0.

    Args:
        classifier: images to logits (B, K), in eval mode.
        x: images (B, ...).

    Attributes:
        point: the images, detached.
        logits: the classifier's answers (B, K), detached.
    """

    def __init__(self, classifier: Classifier, x: Tensor) -> None:
        self._linear = Linearisation(classifier, x)
        self.point, self.logits = self._linear.point, self._linear.output
        if self.logits.ndim != 2:
            raise BadInput(f"logits of shape {tuple(self.logits.shape)}", why="a classifier gives (B, K)")
        self._p = self.logits.softmax(1)
        self._top = self._p.argmax(1, keepdim=True)

    def product(self, v: Tensor) -> Tensor:
        """Return H v for v shaped as the images, by one product with J and one with J^T."""
        return self._linear.vjp(self._p * self._centred(self._linear.jvp(v)))

    def quadratic(self, v: Tensor) -> Tensor:
        """Return v^T H v (B,), never below zero: the variance under p of the logits' changes along v."""
        return (self._p * self._centred(self._linear.jvp(v)).square()).sum(1)

    def form(self, columns: Tensor) -> Tensor:
        """Return C^T H C (B, n, n) for C (B, d, n), d the size of an image, by K products with J^T."""
        classes = torch.eye(self.logits.shape[1], dtype=self._p.dtype, device=self._p.device)
        rows = torch.stack([self._linear.vjp(k.expand_as(self._p)).flatten(1) for k in classes], dim=1)
        changes = self._centred(rows @ columns)
        return changes.mT @ (self._p[:, :, None] * changes)

    def _centred(self, changes: Tensor) -> Tensor:
        """Subtract from changes of logits (B, K, ...) their means under p.

        The likeliest class is the reference: where p is almost 1 for it, a plain `changes - mean` loses all its digits.
        """
        wide = (...,) + (None,) * (changes.ndim - 2)
        changes = changes - changes.take_along_dim(self._top[wide], dim=1)
        return changes - (self._p[wide] * changes).sum(1, keepdim=True)


def rayleigh_quotient(curvature: Curvature, manifold: Linearisation, eta: Tensor, *, damping: float = 0.0) -> Tensor:
    """Return (B,) eta^T J^T H J eta / eta^T (J^T J + damping I) eta: curvature along latents' directions (B, zV) per squared length."""
    along = manifold.jvp(eta)
    return curvature.quadratic(along) / (inner(along, along) + damping * inner(eta, eta))
