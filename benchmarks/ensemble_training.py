"""How long a whole ensemble takes to train, and how good it is: scatter_ridge against cnn one by one and cnn together.

    python benchmarks/ensemble_training.py                    250 teachers on Fashion-MNIST, 240 images each; cnn: 20 of them
    python benchmarks/ensemble_training.py --kinds scatter_ridge --threads 1
    python benchmarks/ensemble_training.py --cnn-teachers 250                                          the cnn kinds whole
    python benchmarks/ensemble_training.py --teachers 20 --epochs 10 --pool 1000

The partition is always that of --silos, so shards keep their size when fewer teachers are trained. Every line says how many teachers
it is about: an ensemble of 20 is not to be compared with one of 250. "fit" holds everything from uint8 shards to trained teachers,
features included; "vote" is timed for the score set (1,000 images) and the pool (the first 9,000 test images) apart. CPU seconds are
those of this process and all its threads. On a machine that others use too, take --threads 1: threads wait for one another by spinning.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.silo.cnn_teacher import CnnTeacher
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.teachers import TeacherKind
from stillhouse.platform.training.seeds import seed_for


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Run `work`; return its result, and the CPU and wall seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, {"cpu": round(time.process_time() - cpu, 1), "wall": round(time.perf_counter() - wall, 1)}


def accuracy(votes: np.ndarray, data: ImageData) -> dict[str, float]:
    """Mean teacher, and noiseless ensemble (most votes, lowest label on a tie), in percent."""
    histogram = np.stack([(votes == label).sum(0) for label in range(data.classes)], axis=1)
    correct = {"mean_teacher": votes == data.labels, "ensemble": histogram.argmax(1) == data.labels}
    return {name: round(100 * float(hits.mean()), 2) for name, hits in correct.items()}


def measure(
    kind: TeacherKind, shards: list[ImageData], pool: ImageData, score: ImageData, *, seed: int, device: str
) -> dict[str, Any]:
    """Train the ensemble and let it vote on both sets."""
    seeds = [seed_for(seed, "teacher", f"silo-{i}") for i in range(len(shards))]
    teachers, fit = timed(lambda: kind.fit(shards, seeds, device=device))
    row: dict[str, Any] = {"teachers": len(shards), "fit": fit}
    for name, data in (("score", score), ("pool", pool)):
        votes, took = timed(lambda images=data.images: teachers.vote(images))
        row[name] = {"vote": took, **accuracy(votes, data)}
    return row


def main() -> None:
    """Measure the kinds asked for, one line each; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--root", help="folder of the data set, if it is not at its usual place")
    parser.add_argument("--silos", type=int, default=250, help="into how many shards the private part is split")
    parser.add_argument("--teachers", type=int, help="how many of them are trained (default: all)")
    parser.add_argument("--cnn-teachers", type=int, default=20, help="how many of these the cnn kinds train")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=CnnTeacher().epochs, help="of the cnn")
    parser.add_argument("--together", type=int, default=25, help="teachers in one pass of cnn_together")
    parser.add_argument("--pool", type=int, help="pool images voted on (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument("--kinds", nargs="+", choices=["scatter_ridge", "cnn", "cnn_together"])
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kinds: dict[str, TeacherKind] = {
        "scatter_ridge": ScatterRidge(),
        "cnn": CnnTeacher(epochs=options.epochs),
        "cnn_together": CnnTeacher(epochs=options.epochs, together=options.together),
    }
    source = load(options.data, root=options.root)
    manifest = Manifest.make(len(source.private), options.silos, key=f"benchmark {options.seed}")
    shards = [source.private.take(manifest.indices(i)) for i in range(options.teachers or options.silos)]
    pool = source.pool.take(np.arange(min(options.pool or len(source.pool), len(source.pool))))
    print(
        f"about {len(shards[0])} images a shard, {options.device}, {torch.get_num_threads()} torch threads", flush=True
    )
    results: dict[str, Any] = {}
    for name in options.kinds or kinds:
        group = shards if name == "scatter_ridge" else shards[: options.cnn_teachers]
        row = measure(kinds[name], group, pool, source.score, seed=options.seed, device=options.device)
        results[name] = row
        print(f"{name}, {len(group)} teachers: fit {row['fit']['cpu']} CPU s, {row['fit']['wall']} s wall", flush=True)
        for part, images in (("score", len(source.score)), ("pool", len(pool))):
            found = row[part]
            print(
                f"  {part:5} {images:5} images: mean teacher {found['mean_teacher']} %, ensemble {found['ensemble']} %, "
                f"vote {found['vote']['cpu']} CPU s, {found['vote']['wall']} s wall",
                flush=True,
            )
    print(json.dumps({"silos": options.silos, "epochs": options.epochs, "device": options.device, "results": results}))


if __name__ == "__main__":
    main()
