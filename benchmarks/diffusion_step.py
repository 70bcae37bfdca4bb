"""A step of a student taught by sanitised output gradients against a DP-SGD step of the same network, on one core.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_step.py

DP-SGD needs the gradient of every sample by every weight; the sanitiser clips gradients by the *output* and then runs one ordinary
backward pass. The target is half of DP-SGD's time at most. Both sides work on batches of the same size; teachers are left out on both
(they are other parties' work), and so is the table of the noise, made once a process. DP-SGD is measured twice: Opacus's own step (its
optimizer, floating-point noise), and the platform's, which adds integer noise from the operating system.

A step of V4 is the first figure: its inputs were bought before. In V2 and V3 the student also walks down its own chain to the inputs
of a step, without gradients, as many rungs as chance says: the second figure, a mean over them for a chain of four.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from stillhouse.platform.diffusion.denoising import drawn_losses
from stillhouse.platform.diffusion.networks import Network, fresh
from stillhouse.platform.diffusion.sampling import descend
from stillhouse.platform.diffusion.sanitise import sanitised, surrogate
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.diffusion.upstream import Adversary, upstream
from stillhouse.platform.privacy.noise import SystemNoise
from stillhouse.platform.training.dpsgd import DpSgd, dp_sgd
from torch import nn

NETWORKS = {
    "perceptron, 8x8": (Network(hidden=256), (1, 8, 8)),
    "U-Net, 28x28": (Network("unet", channels=16, multipliers=(1, 2), groups=8), (1, 28, 28)),
    "U-Net, 28x28, one head": (
        Network("unet", channels=16, multipliers=(1, 2), groups=8, head_channels=32),
        (1, 28, 28),
    ),
}
CHAIN = 4


def seconds(step: Callable[[], None], repeats: int) -> float:
    """Median processor seconds of a call, after one that warms up: on one core, and it does not matter who else is there."""
    step()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return statistics.median(times)


def sanitised_step(network: Network, shape: tuple[int, int, int], batch: int, rungs: int = 0) -> Callable[[], None]:
    """Forward, gradient by the output, clip, noise, backward, Adam; before it, `rungs` steps of the student's chain."""
    student, schedule, noise = fresh(network, shape, 10, 0), Schedule(), SystemNoise()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    inputs, label = torch.randn(batch, *shape), torch.arange(batch) % 10
    step, targets = torch.full((batch,), schedule.steps - 1), torch.tanh(torch.randn(batch, *shape))

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        noisy = descend(student, schedule, inputs, label, rungs=CHAIN, down_to=rungs)
        output = schedule.clean(student(noisy, step, label), noisy, step, clamp=False)
        gradient = upstream(output, targets, label, None, Adversary(0.0))
        surrogate(output, sanitised(gradient, clip=1.0, deviation=2.0, noise=noise)).backward()
        optimizer.step()

    return once


def dpsgd_steps(network: Network, shape: tuple[int, int, int], batch: int, steps: int) -> Callable[[], None]:
    """As many steps of DP-SGD with one draw of the loss; every batch holds the same number of records."""
    student, schedule = fresh(network, shape, 10, 0), Schedule()
    images, label = torch.randint(0, 256, (batch, *shape)).to(torch.uint8), torch.arange(batch) % 10
    settings = DpSgd(batch_size=batch, steps=steps, learning_rate=1e-3, adaptive=True, physical_batch=batch)

    def losses(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return drawn_losses(model, schedule, pixels.float() / 127.5 - 1, labels)

    return lambda: dp_sgd(student, images, label, settings, noise_multiplier=1.0, losses=losses)


def opacus_step(network: Network, shape: tuple[int, int, int], batch: int) -> Callable[[], None]:
    """One step of DP-SGD by Opacus alone: its wrapped module, its optimizer around Adam."""
    student, schedule = fresh(network, shape, 10, 0), Schedule()
    images, label = torch.rand(batch, *shape) * 2 - 1, torch.arange(batch) % 10
    wrapped = GradSampleModule(student)
    optimizer = DPOptimizer(
        torch.optim.Adam(student.parameters(), 1e-3), noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=batch
    )

    def once() -> None:
        optimizer.zero_grad()
        drawn_losses(wrapped, schedule, images, label).mean().backward()
        optimizer.step()

    return once


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    batch, repeats, steps = (args := parser.parse_args()).batch, args.repeats, 4
    for name, (network, shape) in NETWORKS.items():
        weights = sum(p.numel() for p in fresh(network, shape, 10, 0).parameters())
        ours = seconds(sanitised_step(network, shape, batch), repeats)
        walked = statistics.mean(
            seconds(sanitised_step(network, shape, batch, rungs), repeats) for rungs in range(CHAIN)
        )
        opacus = seconds(opacus_step(network, shape, batch), repeats)
        theirs = seconds(dpsgd_steps(network, shape, batch, steps), repeats) / steps
        print(f"{name} ({weights:,} weights), batch {batch}, processor milliseconds:")
        print(
            f"  sanitised {1000 * ours:.1f}, with its chain {1000 * walked:.1f}; "
            f"DP-SGD: Opacus {1000 * opacus:.1f}, ours {1000 * theirs:.1f}"
        )
        print(
            f"  ratio to Opacus {ours / opacus:.2f}, with the chain {walked / opacus:.2f}; "
            f"to ours {ours / theirs:.2f}, with the chain {walked / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
