"""CPU-seconds of one condensing iteration over all classes, on one thread, beside the published loop's arithmetic.

    python benchmarks/condensation.py [--data fashion_mnist] [--rounds 3]

"As published" is what the papers' code computes, written out here: classes one by one, real and synthetic images in one batch, the
network's weights carrying gradients, features of 128 real images in one piece. "Ours" is `condense` with the same losses, batches and
step sizes. "Reuse" lets each real batch serve ten times. The ratio is that of one round; rounds alternate.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.condensing import Loop, Steps, condense
from stillhouse.methods.condensation.discrepancy import discrepancy
from stillhouse.methods.condensation.encoders import MiddleEncoders, RandomEncoders, fresh_network
from stillhouse.methods.condensation.formation import decode
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.matching import Calibration, RealMatching, Reuse, Term
from stillhouse.methods.condensation.real import RealImages
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor
from torch.nn import functional as F

CPU = torch.device("cpu")
AUGMENTATION = Augmentation()
ALGORITHMS = {"dm": ("mean", False), "m3d": ("gaussian", False), "dance": ("mean", True)}


def start_of(real: RealImages, ipc: int) -> Tensor:
    return torch.stack([real.of_class(c)[:ipc] for c in range(real.classes)])


def as_published(data: ImageData, algorithm: str, ipc: int, factor: int, iterations: int) -> Callable[[], None]:
    loss, middle = ALGORITHMS[algorithm]
    real, standard = RealImages(data, batch=128, seed_for=lambda *names: hash(names) % 2**31), Standard.of(data)
    measure = discrepancy(loss)
    stored = start_of(real, ipc).requires_grad_()
    optimizer = torch.optim.SGD([stored], 0.01 * ipc, momentum=0.5)
    generator = torch.Generator().manual_seed(0)
    expert = fresh_network("convnet", data.shape, data.classes, 1).train()

    def augmented(*parts: Tensor) -> Tensor:
        return AUGMENTATION.shared(standard(torch.cat(parts)), generator)

    def work() -> None:
        for number in range(iterations):
            network = fresh_network("convnet", data.shape, data.classes, number if middle else number // 5).train()
            stored.data.clamp_(0, 1)
            for c in range(data.classes):
                pixels = real.batch(c, number)
                both = augmented(pixels, decode(stored[c], factor))
                with torch.no_grad():
                    other = network.features(both[: len(pixels)])
                optimizer.zero_grad()
                measure(network.features(both[len(pixels) :]), other).backward()
                optimizer.step()
            if middle:
                for c in range(data.classes):
                    logits = expert(augmented(decode(stored[c], factor)))
                    optimizer.zero_grad()
                    F.cross_entropy(logits, torch.full((len(logits),), c)).backward()
                    optimizer.step()

    return work


def ours(
    data: ImageData,
    algorithm: str,
    ipc: int,
    factor: int,
    iterations: int,
    forward: Forward,
    reuse: Reuse,
    folder: Path,
) -> Callable[[], None]:
    loss, middle = ALGORITHMS[algorithm]
    run = LocalRun(folder, seed=0, reporter=Silent())
    real, standard = RealImages(data, batch=128, seed_for=run.seed_for), Standard.of(data)
    terms: list[Term]
    if middle:
        states = [fresh_network("convnet", data.shape, data.classes, seed).state_dict() for seed in (0, 1)]
        expert = {"first": states[0], "trained": states[1]}
        pool = MiddleEncoders([expert], "convnet", data.shape, data.classes, seed_for=run.seed_for, device=CPU)
        match = RealMatching(real, standard, pool, discrepancy(loss), AUGMENTATION, forward, run.seed_for, reuse)
        terms = [match, Calibration(standard, pool, AUGMENTATION, forward, run.seed_for)]
    else:
        fresh = RandomEncoders("convnet", data.shape, data.classes, every=5, seed_for=run.seed_for, device=CPU)
        terms = [RealMatching(real, standard, fresh, discrepancy(loss), AUGMENTATION, forward, run.seed_for, reuse)]
    loop = Loop(terms, Steps(0.01 * ipc, 0.5, data.classes), factor, 200, iterations, 1)
    return lambda: void(condense(run, loop, start_of(real, ipc), key={"again": time.time_ns()}))


def void(_: object) -> None:
    """Nothing."""


# Name, iterations, and how images go through encoders. Reuse is measured over whole cycles, so that the batches' own cost is in it.
VARIANTS = {
    "as published": (2, None),
    "ours": (2, (Forward(), Reuse())),
    "ours, bf16": (2, (Forward(0, False, "bfloat16"), Reuse())),
    "ours, reuse 10": (10, (Forward(), Reuse(10, 1))),
}


def child(variant: str, data: ImageData, algorithm: str, ipc: int, factor: int) -> None:
    """Time one variant in this process and print CPU-seconds an iteration."""
    torch.set_num_threads(1)
    iterations, ways = VARIANTS[variant]
    with TemporaryDirectory() as folder:
        common = (data, algorithm, ipc, factor)
        if ways is None:
            once, work = as_published(*common, 1), as_published(*common, iterations)
        else:
            once, work = ours(*common, 1, *ways, Path(folder)), ours(*common, iterations, *ways, Path(folder))
        once()
        began = time.process_time()
        work()
        print((time.process_time() - began) / iterations)


def measured(variant: str, algorithm: str, ipc: int, options: argparse.Namespace) -> float:
    """CPU-seconds an iteration, in a process of its own: how memory is kept is a process's setting, and ours changes it."""
    command = [sys.executable, __file__, "--child", variant, "--ipc", str(ipc), "--algorithms", algorithm]
    command += ["--data", options.data, "--factor", str(options.factor)]
    command += ["--root", options.root] if options.root else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--root")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS))
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        data = load(options.data, root=options.root).private
        child(options.child, data, options.algorithms[0], options.ipc[0], options.factor)
        return
    print(f"{'':14s}{'as published':>14s}" + "".join(f"{name:>18s}" for name in list(VARIANTS)[1:]))
    for algorithm in options.algorithms:
        for ipc in options.ipc:
            rows = [[measured(v, algorithm, ipc, options) for v in VARIANTS] for _ in range(options.rounds)]
            medians = [statistics.median(column) for column in zip(*rows, strict=True)]
            ratios = [statistics.median(row[k] / row[0] for row in rows) for k in range(1, len(VARIANTS))]
            cells = "".join(f"{m:>9.2f} s ({r:.2f})" for m, r in zip(medians[1:], ratios, strict=True))
            print(f"{algorithm:6s}IPC {ipc:<4d}{medians[0]:>12.2f} s{cells}", flush=True)


if __name__ == "__main__":
    main()
