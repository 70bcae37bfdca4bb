"""CCC's meta step (Zhang et al., Coupled Confusion Correction, AAAI 2024) without a second-order graph.

A correction U (G, C, C), one matrix for each group of annotators, is added to the confusion matrices V. A virtual step of plain
gradient descent on the crowd's answers leads to theta'(U); the cross entropy J of the network at theta' on a distilled set says which
U would have been better, by H = dJ/dU at U = 0. The step that counts is then taken with

    U* = - eta (max V' / max |H|) H

which is thrown away afterwards. U moves theta' only through the gradient of the answers' loss L, so with G = dJ/dtheta' and the
virtual rate alpha

    H = - alpha d/dU <G, grad_theta L(U)> = - alpha d/dU (derivative of L along G)

and that derivative needs the logits' change u along G only: u = h G_W^T + G_b where theta' depends on U through the last layer (as
published for images), a product with the network's Jacobian where it does through all layers (as published for LabelMe). The rest is
`heads.directional_gradient`. The step that counts goes on from the same forward pass.

Where processes share the batch, L is a sum over all their answers: the gradients of the virtual step are averaged before weights move,
and so is H. The distilled batch is each process's whole, with the same masks: J and G are the same on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ....platform.training.seeds import seeded
from .backbones import Network
from .heads import CrowdHead, crowd_loss, directional_gradient
from .processes import Alone, Processes

# The virtual step moves all layers but U is followed through the last one; only the last one; all, and U is followed through all.
VIRTUAL_STEPS = ("whole", "last_layer", "second_order")
LEAST = 1e-20
ALONE = Alone()


@dataclass(frozen=True)
class MetaStep:
    """Settings of the meta step.

    Args:
        rate: the virtual step's alpha, of the network.
        confusion_rate: of the matrices V.
        eta: size of the correction, as a part of V's largest entry.
        virtual: one of `VIRTUAL_STEPS`.
    """

    rate: float
    confusion_rate: float
    eta: float
    virtual: str = "whole"


@dataclass(frozen=True)
class Pass:
    """A forward pass of one network over a batch, whose graph the real step uses too, and the answers about the batch.

    Args:
        features: (B, D), logits: (B, C), with graph.
        places: (M,) each answer's item; annotators, labels: (M,) who said what.
        count: what the loss is divided by.
    """

    features: Tensor
    logits: Tensor
    places: Tensor
    annotators: Tensor
    labels: Tensor
    count: float


def meta_gradient(
    network: Network, head: CrowdHead, seen: Pass, meta_inputs: Tensor, meta_labels: Tensor, groups: Tensor,
    n_groups: int, step: MetaStep, *, seed: int, processes: Processes = ALONE,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return H (G, C, C) and the virtual V' (R, C, C), the same on all processes.

    Leaves weights, buffers, gradients and generators as they were.

    Args:
        network, head: the model; in train mode, batch statistics are those of the batch that each pass sees.
        seen: its pass over the crowd's batch.
        meta_inputs, meta_labels: (b, ...) and (b,), a batch of the distilled set.
        groups: (R,) the annotators' groups, 0 .. n_groups - 1.
        n_groups: number of groups G.
        step: the settings.
        seed: of the dropout masks of the distilled batch.
        processes: who shares the crowd's batch; `seen.count` is their mean number of answers.
    """
    logits = seen.logits.detach().requires_grad_()
    with torch.enable_grad():
        p = torch.softmax(logits, dim=1)[seen.places]
        loss = crowd_loss(head.probabilities(p, seen.annotators, seen.labels), seen.count)
        by_logits, by_matrices = torch.autograd.grad(loss, (logits, head.matrices))
    slopes = _slopes(network, seen, by_logits, step)
    *averaged, by_matrices = processes.mean([*slopes.values(), by_matrices])
    weights = dict(network.named_parameters())
    virtual = {name: weights[name].detach() - step.rate * slope for name, slope in zip(slopes, averaged, strict=True)}
    if step.virtual == "second_order":
        change = _change_by_all(network, seen, virtual, meta_inputs, meta_labels, seed)
    else:
        change = _change_by_last(network, seen, virtual, meta_inputs, meta_labels, seed)
    found = directional_gradient(
        head, p.detach(), change[seen.places], seen.annotators, seen.labels, groups, seen.count, n_groups
    )
    (found,) = processes.mean([found])
    return -step.rate * found, head.matrices.detach() - step.confusion_rate * by_matrices


def max_normalised(gradient: Tensor, matrices: Tensor, eta: float) -> Tensor:
    """Return U*, (G, C, C): against the gradient H, its largest entry as large as eta times the largest of V' (R, C, C).

    A gradient of zero gives a correction of zero.
    """
    return -eta * (matrices.max() / gradient.abs().max().clamp(min=LEAST)) * gradient


def _slopes(network: Network, seen: Pass, by_logits: Tensor, step: MetaStep) -> dict[str, Tensor]:
    """The loss's gradient by the weights that the virtual step moves, by name; those that it does not move are left out."""
    last = {"last.weight": by_logits.T @ seen.features.detach(), "last.bias": by_logits.sum(0)}
    if step.virtual == "last_layer":
        return last
    names, weights = zip(*network.body.named_parameters(prefix="body"), strict=True)
    # The graph of the pass stays: the real step goes back through it once more.
    found = torch.autograd.grad(
        seen.features, weights, grad_outputs=by_logits @ network.last.weight.detach(), retain_graph=True
    )
    return last | dict(zip(names, found, strict=True))


def _copied_buffers(network: Network) -> dict[str, Tensor]:
    """Buffers that a pass may write on: running statistics of a batch norm must not see the distilled items."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


@torch.no_grad()
def _change_by_last(
    network: Network, seen: Pass, virtual: dict[str, Tensor], meta_inputs: Tensor, meta_labels: Tensor, seed: int
) -> Tensor:
    """The logits' derivative (B, C) along dJ/d(W', b')."""
    buffers = _copied_buffers(network)
    with seeded(seed):
        features = functional_call(_Features(network), _inside(virtual | buffers), (meta_inputs,))
    weight, bias = virtual["last.weight"], virtual["last.bias"]
    wrong = torch.softmax(F.linear(features, weight, bias), dim=1)
    wrong -= F.one_hot(meta_labels, wrong.shape[1])
    wrong /= len(meta_labels)
    return F.linear(seen.features.detach(), wrong.T @ features, wrong.sum(0))


def _change_by_all(
    network: Network, seen: Pass, virtual: dict[str, Tensor], meta_inputs: Tensor, meta_labels: Tensor, seed: int
) -> Tensor:
    """The logits' derivative (B, C) along dJ/dtheta', all layers.

    A product with the Jacobian by two with its transpose: the transposed product is linear in what it is given, so its derivative by
    that, along dJ/dtheta', is the product that is wanted. It goes through the pass's own graph, with its masks and batch statistics.
    """
    names, weights = zip(*network.named_parameters(), strict=True)
    moved = {name: virtual[name].requires_grad_() for name in names}
    with seeded(seed), torch.enable_grad():
        logits = functional_call(network, (moved, _copied_buffers(network)), (meta_inputs,))
        loss = F.cross_entropy(logits, meta_labels)
    direction = torch.autograd.grad(loss, list(moved.values()))
    given = torch.zeros_like(seen.logits, requires_grad=True)
    with torch.enable_grad():
        transposed = torch.autograd.grad(seen.logits, weights, grad_outputs=given, create_graph=True)
    (change,) = torch.autograd.grad(transposed, given, grad_outputs=direction, retain_graph=True)
    return change


class _Features(torch.nn.Module):
    """A network's features as a call of its own, for `functional_call`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (B, D)."""
        return self.network.features(inputs)


def _inside(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": tensor for name, tensor in state.items()}
