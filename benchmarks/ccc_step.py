"""Seconds of one CCC step of one model, on one thread, beside the published formulation.

    python benchmarks/ccc_step.py [--rounds 5] [--steps 15]

"As published" is what the paper's code computes, written out here: a fresh network that takes over the weights, answers as a
one-hot table of items x annotators x classes, a virtual step whose gradients are kept in a graph (`create_graph`), the derivative
of the distilled batch's loss by the correction through that graph, then a new forward pass for the step that counts.

"Through the graph" is the same on sparse answers and without the copy: what is left to win is the graph and the second forward pass.
"Ours" has the closed form and goes on from one forward pass. Rounds alternate; a ratio is that of one round.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, Network, build
from stillhouse.methods.noisy_labels.crowd.heads import EPSILON, CrowdHead, crowd_loss
from stillhouse.methods.noisy_labels.crowd.meta_step import MetaStep, Pass, max_normalised, meta_gradient
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

ANNOTATORS, CLASSES, GROUPS, BATCH, EACH = 100, 10, 30, 128, 3
RATE, ETA = 0.01, 0.5
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def batch_of(shape: tuple[int, ...]) -> tuple[np.ndarray, Batch]:
    draw = torch.Generator().manual_seed(0)
    items = torch.randint(256, (2 * BATCH, *shape), generator=draw, dtype=torch.uint8)
    places = torch.arange(BATCH).repeat_interleave(EACH)
    # Nobody answers twice about an item.
    annotators = torch.rand(BATCH, ANNOTATORS, generator=draw).argsort(dim=1)[:, :EACH].flatten()
    labels = torch.randint(CLASSES, (len(places),), generator=draw)
    meta_labels = torch.randint(CLASSES, (BATCH,), generator=draw)
    return items.numpy(), (items[:BATCH], places, annotators, labels, items[BATCH:], meta_labels)


def ours(network: Network, head: CrowdHead, groups: Tensor, batch: Batch, virtual: str) -> Tensor:
    inputs, places, annotators, labels, meta_inputs, meta_labels = batch
    features = network.features(inputs)
    logits = network.last(features)
    seen = Pass(features, logits, places, annotators, labels, float(len(labels)))
    settings = MetaStep(RATE, RATE, ETA, virtual)
    gradient, matrices = meta_gradient(network, head, seen, meta_inputs, meta_labels, groups, GROUPS, settings, seed=0)
    correction = max_normalised(gradient, matrices, ETA)[groups[annotators]]
    p = torch.softmax(logits, dim=1)[places]
    crowd_loss(head.probabilities(p, annotators, labels, correction), len(labels)).backward()
    return gradient


def loss_of(logits: Tensor, head: CrowdHead, batch: Batch, correction: Tensor | None, *, dense: bool) -> Tensor:
    """`correction`: (R, C, C)."""
    _, places, annotators, labels, _, _ = batch
    p = torch.softmax(logits, dim=1)
    if not dense:
        added = None if correction is None else correction[annotators]
        return crowd_loss(head.probabilities(p[places], annotators, labels, added), len(labels))
    table = torch.zeros(len(p), ANNOTATORS, CLASSES)
    table[places, annotators, labels] = 1.0
    matrices = head.matrices if correction is None else head.matrices + correction
    said = torch.softmax(torch.einsum("bc,rcy->bry", p, matrices), dim=2)
    return -(table * (said + EPSILON).log()).sum() / table.sum()


def through_graph(
    network: Network, head: CrowdHead, groups: Tensor, batch: Batch, fresh: Callable[[], Network] | None, *, dense: bool
) -> Tensor:
    inputs, _, _, _, meta_inputs, meta_labels = batch
    clone = network
    if fresh is not None:
        clone = fresh()
        clone.load_state_dict(network.state_dict())
        clone.train()
    weights = dict(clone.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in clone.named_buffers()}
    unknown = torch.zeros(GROUPS, CLASSES, CLASSES, requires_grad=True)
    logits = functional_call(clone, (weights, buffers), (inputs,))
    loss = loss_of(logits, head, batch, unknown[groups], dense=dense)
    slopes = torch.autograd.grad(loss, [*weights.values(), head.matrices], create_graph=True)
    moved = {
        # The graph is kept for the last layer only, as published.
        name: weight - RATE * (slope if name.startswith("last.") else slope.detach())
        for (name, weight), slope in zip(weights.items(), slopes[:-1], strict=True)
    }
    meta_loss = F.cross_entropy(functional_call(clone, (moved, buffers), (meta_inputs,)), meta_labels)
    (gradient,) = torch.autograd.grad(meta_loss, unknown)
    matrices = (head.matrices - RATE * slopes[-1]).detach()
    correction = max_normalised(gradient, matrices, ETA)[groups]
    loss_of(network(inputs), head, batch, correction, dense=dense).backward()
    return gradient


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    networks = {
        "cnn, 1x14x14": (Backbone("cnn", dropout=0.0), (1, 14, 14), asked.steps),
        "cnn, 1x28x28": (Backbone("cnn", dropout=0.0), (1, 28, 28), asked.steps),
        "resnet18, 3x8x8": (Backbone("resnet18"), (3, 8, 8), max(1, asked.steps // 8)),
    }
    print(f"{BATCH} items, {BATCH * EACH} answers, CPU seconds a step, median of {asked.rounds} rounds")
    for name, (backbone, shape, steps) in networks.items():
        items, batch = batch_of(shape)
        torch.manual_seed(0)
        network = build(backbone, items, CLASSES).train()
        head = CrowdHead(ANNOTATORS, CLASSES, diagonal=1.0, official=True)
        groups = torch.arange(ANNOTATORS) % GROUPS

        def fresh(backbone: Backbone = backbone, items: np.ndarray = items) -> Network:
            return build(backbone, items[:1], CLASSES)

        def plain(network: Network = network, head: CrowdHead = head, batch: Batch = batch) -> None:
            loss_of(network(batch[0]), head, batch, None, dense=False).backward()

        model = (network, head, groups, batch)
        work: dict[str, Callable[[], object]] = {
            "as published": partial(through_graph, *model, fresh, dense=True),
            "through the graph": partial(through_graph, *model, None, dense=False),
            "ours": partial(ours, *model, "whole"),
            "ours, last layer": partial(ours, *model, "last_layer"),
            "CrowdLayer": plain,
        }
        wanted = through_graph(*copy.deepcopy(model), None, dense=True)
        found = ours(*copy.deepcopy(model), "whole")
        print(
            f"\n{name}: relative difference of the meta gradients {float((wanted - found).norm() / wanted.norm()):.1e}"
        )
        times: dict[str, list[float]] = {kind: [] for kind in work}
        for _ in range(asked.rounds):
            for kind, do in work.items():
                began = time.process_time()
                for _ in range(steps):
                    do()
                times[kind].append((time.process_time() - began) / steps)
        for kind, found_times in times.items():
            ratios = [one / other for one, other in zip(found_times, times["as published"], strict=True)]
            apart = [one / other for one, other in zip(found_times, times["through the graph"], strict=True)]
            print(
                f"  {kind:17} {statistics.median(found_times):.4f}  {statistics.median(ratios):.2f} of published,"
                f" {statistics.median(apart):.2f} of through the graph"
            )


if __name__ == "__main__":
    main()
