"""A step of a student taught by sanitised output gradients against a DP-SGD step of the same network, on one core.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_step.py

DP-SGD needs the gradient of every sample by every weight; the sanitiser clips gradients by the *output* and then runs one ordinary
backward pass. The target is half of DP-SGD's time at most. Both sides work on batches of the same size, with noise from the operating
system; teachers are left out on both (they are other parties' work), and so is the table of the noise, made once a process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from stillhouse.platform.diffusion.denoising import drawn_losses
from stillhouse.platform.diffusion.networks import Network, fresh
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


def seconds(step: Callable[[], None], repeats: int) -> float:
    """Median processor seconds of a call, after one that warms up: on one core, and it does not matter who else is there."""
    step()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return statistics.median(times)


def sanitised_step(network: Network, shape: tuple[int, int, int], batch: int) -> Callable[[], None]:
    """Forward, gradient by the output, clip, noise, backward, Adam."""
    student, schedule, noise = fresh(network, shape, 10, 0), Schedule(), SystemNoise()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    inputs, label = torch.randn(batch, *shape), torch.arange(batch) % 10
    step, targets = torch.full((batch,), schedule.steps - 1), torch.tanh(torch.randn(batch, *shape))

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        output = schedule.clean(student(inputs, step, label), inputs, step, clamp=False)
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


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    batch, repeats, steps = (args := parser.parse_args()).batch, args.repeats, 4
    for name, (network, shape) in NETWORKS.items():
        weights = sum(p.numel() for p in fresh(network, shape, 10, 0).parameters())
        ours = seconds(sanitised_step(network, shape, batch), repeats)
        theirs = seconds(dpsgd_steps(network, shape, batch, steps), repeats) / steps
        print(
            f"{name} ({weights:,} weights), batch {batch}: sanitised {1000 * ours:.1f} ms, DP-SGD {1000 * theirs:.1f} ms, "
            f"ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
