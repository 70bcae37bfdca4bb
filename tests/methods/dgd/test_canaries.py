"""Check 17: a membership audit with canaries. What an adversary learns of one odd record, with and without coverage.

    pytest -m slow -s tests/methods/dgd/test_canaries.py     # prints the areas under the curves

Canaries are inverted digits under a wrong label. Each is in the records of a run or not by a fair coin; the adversary guesses from the
released classifier's loss on it. Few records and a linear model that fits them all: the worst case that is cheap. An area near one half
proves nothing about safety; one well above shows a leak.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import rankdata
from stillhouse.methods.dgd import Dgd
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

from .houses import DPSGD, SMALL, House, transfer_data

CANARIES = 20
RUNS = 24
RECORDS = 200


def auc(scores: np.ndarray, inside: np.ndarray) -> float:
    """The probability that a canary that was in scores higher than one that was not."""
    ranks = rankdata(scores)
    n, m = inside.sum(), (~inside).sum()
    return float((ranks[inside].sum() - n * (n + 1) / 2) / (n * m))


def records_with(inside: np.ndarray, canaries: ImageData) -> ImageData:
    base = load("digits").private.take(range(RECORDS))
    images = np.concatenate([base.images, canaries.images[inside]])
    return ImageData(images, np.concatenate([base.labels, canaries.labels[inside]]), 10, "digits")


def canary_set() -> ImageData:
    found = load("digits").private.take(range(900, 900 + CANARIES))
    return ImageData(255 - found.images, (found.labels + 3) % 10, 10, "canaries")


def audit(method: Dgd, epsilon: float, folder: Path) -> dict[str, float]:
    """Return the areas for the baseline classifier's loss and the student's, relative to each canary's mean over the runs."""
    canaries = canary_set()
    rng = np.random.default_rng(0)
    losses: dict[str, list[np.ndarray]] = {"student": [], "baseline": []}
    memberships = []
    for run_number in range(RUNS):
        inside = rng.random(CANARIES) < 0.5
        memberships.append(inside)
        home = House(records_with(inside, canaries))
        folder_of_run = folder / str(run_number)
        run = LocalRun(folder_of_run, seed=run_number, reporter=Silent())
        execute(method, transfer_data(home, epsilon=epsilon), run)
        student = method.student.build((1, 8, 8), 10)
        student.take_over(load_file(folder_of_run / "student.safetensors"))
        models = {"student": student}
        if home.released:
            state = next((folder_of_run / "stages" / "baseline").glob("*.safetensors"))
            weights = next(iter(load_file(state).values()))
            models["baseline"] = method.baseline.load((1, 8, 8), 10, {"linear.weight": weights})
        for name, model in models.items():
            answers = model.probabilities(canaries.images)
            own = answers.gather(1, torch.from_numpy(canaries.labels)[:, None]).flatten()
            losses[name].append(-own.clamp(min=1e-9).log().numpy())
    member = np.stack(memberships)
    areas = {}
    for name, found in losses.items():
        if found:
            table = np.stack(found)
            areas[name] = auc(-(table - table.mean(0)).flatten(), member.flatten())
    return areas


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_canaries_show_in_what_is_not_covered_and_not_in_what_is(tmp_path: Path) -> None:
    plain = replace(SMALL.student.regulariser, tangent=0.0, normal=0.0)
    method = replace(SMALL, queries=20, student=replace(SMALL.student, distil=1.0, regulariser=plain))
    open_method = replace(method, coverage="labels_only", baseline=replace(method.baseline, epochs=150))
    tight = replace(method, baseline=replace(method.baseline, dpsgd=replace(DPSGD, batch_size=100)))
    public = replace(method, coverage="public_inputs", source="mixed", student=replace(method.student, distil=0.0))
    areas = {
        "labels_only": audit(open_method, 50.0, tmp_path / "open"),
        "dpsgd_baseline at epsilon 8": audit(tight, 8.0, tmp_path / "tight"),
        "public_inputs": audit(public, 50.0, tmp_path / "public"),
    }
    for coverage, found in areas.items():
        for name, area in found.items():
            print(f"{coverage:30s} {name:10s} AUC {area:.3f} ({RUNS} runs, {CANARIES} canaries, {RECORDS} records)")
    # The standard error of an area over 480 pairs' halves is about 0.026.
    assert areas["labels_only"]["baseline"] > 0.8
    assert areas["dpsgd_baseline at epsilon 8"]["baseline"] < areas["labels_only"]["baseline"] - 0.1
    assert areas["public_inputs"]["student"] < 0.62
