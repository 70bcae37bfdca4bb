"""G2D through the whole stack: the shipped configuration, the report, two Ray workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stillhouse.cluster import train as ray_train
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import run
from stillhouse.cluster.session import ray_session
from stillhouse.platform.report.report import Report
from stillhouse.platform.training.progress import Silent

FEW = [
    "method=g2d", "data.size=48", "data.train_people=10", "data.test_people=6", "data.sessions=2", "data.frames=4",
    "data.draw.folds=2", "data.draw.genuine=6", "data.draw.impostor=6", "method.size=16", "method.network.descriptor.width=4",
    "method.network.descriptor.blocks=1", "method.network.reformer.widths=[8]", "method.network.reformer.blocks=[1]",
    "method.network.reformer.embedding=8", "method.teacher.size=16", "method.teacher.recipe.epochs=1",
    "method.teacher.recipe.batch_size=32", "method.teacher.network.embedding_length=8", "method.segmenter.epochs=1",
    "method.inpainting.training.epochs=1", "method.distilling.training.epochs=1", "method.distilling.training.batch_size=32",
    "method.classifying.training.epochs=1",
]  # fmt: skip


def test_the_report_shows_what_was_drawn_and_how_masks_count(tmp_path: Path) -> None:
    finished = run(compose([*FEW, f"root={tmp_path}"]))
    report = Report.read(finished.folder)
    assert report == finished.report
    bars = {bar.label: bar.standing for bar in report.accuracies}
    assert {"bare", "bare masked", "masked", "classifier masked"} <= set(bars)
    assert {picture.path for picture in report.pictures} >= {"images/inpainting_sheet.png", "images/mask_map_sheet.png"}
    (table,) = [sheet for sheet in report.sheets if sheet.title == "Verification"]
    assert [row[1] for row in table.rows] == 2 * ["U-U", "U-M", "M-M"]
    assert report.privacy.coverage == "uncovered"
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.slow
def test_two_workers_train_together(tmp_path: Path) -> None:
    resolved = compose(
        [*FEW, "method.inpainting.adversary.weight=0.01", "method.inpainting.adversary.width=4", "method.size=32"]
    )
    data = resolved.config.data.load(seed=0, key=b"")
    with ray_session(num_cpus=2):
        outcome = ray_train.fit(resolved.method, data, folder=tmp_path / "run", seed=0, workers=2, reporter=Silent())
    assert outcome.metrics["relation_loss"].value > 0
    state = load_file(tmp_path / "run" / outcome.artefacts["student"])
    assert all(bool(torch.isfinite(one).all()) for one in state.values())
