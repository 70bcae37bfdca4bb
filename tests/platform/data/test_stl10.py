"""STL-10 from its binary files, which lie colour by colour and column by column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision
from stillhouse.platform.data import colour_sets, sources
from stillhouse.platform.errors import BadInput

rng = np.random.default_rng(0)


def write(folder: Path, part: str, n: int) -> np.ndarray:
    images = rng.integers(0, 256, (n, 3, 96, 96), np.uint8)
    images.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
    (1 + np.arange(n) % 10).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    return images


@pytest.fixture
def stl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(colour_sets.COLOUR_SETS, "stl10", replace(colour_sets.COLOUR_SETS["stl10"], pool=6))
    (tmp_path / "stl10_binary").mkdir()
    return tmp_path


def test_it_is_read_as_torchvision_reads_it(stl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (write(stl / "stl10_binary", part, n) for part, n in (("train", 12), ("test", 10)))
    source = sources.load("stl10", root=stl)
    assert (source.private.images == train).all() and source.private.labels.tolist() == [i % 10 for i in range(12)]
    assert (len(source.pool), len(source.score)) == (6, 4) and "unlabelled" in source.protocol
    # The oracle is torchvision's own reader; the published checksums are not those of small files.
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    (stl / "stl10_binary" / "class_names.txt").write_text("\n".join("abcdefghij"))
    theirs = torchvision.datasets.STL10(str(stl), split="test")
    assert (np.concatenate([source.pool.images, source.score.images]) == theirs.data).all()
    assert (np.concatenate([source.pool.labels, source.score.labels]) == theirs.labels).all()
    assert (theirs.data == test).all()


def test_damaged_files_are_named(stl: Path) -> None:
    with pytest.raises(BadInput, match=r"data\.root=FOLDER.*stl10_binary.*train_X\.bin"):
        sources.load("stl10", root=stl)
    folder = stl / "stl10_binary"
    for part in ("train", "test"):
        write(folder, part, 10)
    for file, raw, message in (
        ("train_y.bin", bytes([0] * 10), "label outside 1 .. 10"),
        ("train_y.bin", bytes([1] * 9), "3 x 96 x 96 bytes for each label"),
        ("train_y.bin", b"", "for each label"),
    ):
        (folder / file).write_bytes(raw)
        with pytest.raises(BadInput, match=message):
            sources.load("stl10", root=stl)
    (folder / "train_y.bin").unlink()
    with pytest.raises(BadInput, match=r"cannot read .*train_y\.bin"):
        sources.load("stl10", root=stl)
