"""Flip rates of all classes from all pairs of labels at the size of COCO, on one core.

    OMP_NUM_THREADS=1 python benchmarks/multilabel_pairs.py

Prints the processor seconds of counting, solving and agreeing for 74,000 x 80, those of the intervals and of the test of
over-identification, and how far the rates are from those that the noise was made with. Ends with an error above `--limit` seconds.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from stillhouse.methods.noisy_labels.multilabel.consensus import RULES, agree
from stillhouse.methods.noisy_labels.multilabel.decomposition import combined, decompose
from stillhouse.methods.noisy_labels.multilabel.intervals import contradiction, deviations, influences
from stillhouse.methods.noisy_labels.multilabel.pair_counts import count_pairs
from stillhouse.platform.data.multilabel_noise import class_dependent, flip
from stillhouse.platform.data.multilabel_synthetic import Correlated


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=74_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--limit", type=float, default=2.0, help="seconds that counting, solving and agreeing may take")
    settings = parser.parse_args()
    world = Correlated(classes=settings.classes, features=2, cardinality=2.9 * settings.classes / 80, correlation=0.9)
    _, clean = world.draw(settings.rows, seed=0, part="train")
    rates = class_dependent(settings.classes, false_positive=0.2, false_negative=0.2)
    labels = flip(clean, rates, seed=0)
    selected = labels == clean

    start = time.process_time()
    counts = count_pairs(labels, selected)
    counted = time.process_time()
    candidates = decompose(counts)
    solved = time.process_time()
    agreed = agree("pooled", candidates, counts)
    end = time.process_time()
    total = end - start
    print(
        f"all pairs of {settings.rows:,} x {settings.classes}: {total:.2f} CPU s (counting {counted - start:.2f}, solving "
        f"{solved - counted:.3f}, agreeing {end - solved:.3f}); mean error of a rate {np.nanmean(np.abs(agreed.rates - rates)):.4f}"
    )
    for rule in RULES[1:]:
        start = time.process_time()
        agree(rule, candidates, counts)
        print(f"{rule}: {time.process_time() - start:.2f} CPU s")
    start = time.process_time()
    deviations(influences(labels, selected, counts, agreed))
    print(f"intervals: {time.process_time() - start:.2f} CPU s")
    p, t = combined(counts, agreed.weights[1])
    start = time.process_time()
    contradiction(labels, selected, counts, 0, kept=(float(p[0]), float(t[0])), partners=10)
    print(f"test of over-identification: {time.process_time() - start:.2f} CPU s a class")
    return int(total > settings.limit)


if __name__ == "__main__":
    sys.exit(main())
