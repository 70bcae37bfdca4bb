"""COIL-20 from its MATLAB file: upright, in 0 .. 255, split by a key, and damaged files refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from stillhouse.platform.data import sources
from stillhouse.platform.data.coil20 import read_coil20
from stillhouse.platform.errors import BadInput


def write(folder: Path, **other: object) -> Path:
    pixels = np.zeros((1200, 32, 32))
    pixels[:, 3, 5] = 1.0  # row 3, column 5
    pixels[:, 0, 0] = (np.arange(1200) % 256) / 255
    by_columns = pixels.transpose(0, 2, 1).reshape(1200, 1024)
    savemat(
        folder / "COIL20.mat", {"X": by_columns, "Y": (1 + np.arange(1200) % 20)[:, None].astype(np.uint8), **other}
    )
    return folder


def test_images_are_read_by_columns_and_split(tmp_path: Path) -> None:
    everything = read_coil20(write(tmp_path))
    assert everything.shape == (1, 32, 32) and everything.classes == 20
    assert (everything.images[:, 0, 3, 5] == 255).all() and (everything.images[:, 0, 5, 3] == 0).all()
    assert (everything.images[:, 0, 0, 0] == np.arange(1200) % 256).all()
    assert everything.labels.tolist() == [i % 20 for i in range(1200)]
    source = sources.load("coil20", root=tmp_path)
    assert [len(part) for part in (source.private, source.pool, source.score)] == [720, 432, 48]
    assert "near neighbours" in source.protocol
    assert sources.load("coil20", root=tmp_path).content_hash() == source.content_hash()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"X": np.zeros((1200, 10))}, "no X of n x 1024"),
        ({"Y": np.zeros((3, 1), np.uint8)}, "one whole number Y"),
        ({"Y": np.zeros((1200, 1))}, "one whole number Y"),
        ({"Y": np.full((1200, 1), 21, np.uint8)}, "object outside 1 .. 20"),
        ({"X": np.full((1200, 1024), -1.0)}, "something else than brightness"),
        ({"X": np.full((1200, 1024), np.nan)}, "something else than brightness"),
        ({"X": np.full((1200, 1024), 256.0)}, "above 255"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, other: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_coil20(write(tmp_path, **other))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder was given.*data\.root=FOLDER"):
        sources.load("coil20")
    with pytest.raises(BadInput, match=r"lacks COIL20\.mat"):
        sources.load("coil20", root=tmp_path)
    (tmp_path / "COIL20.mat").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="no whole MATLAB file"):
        sources.load("coil20", root=tmp_path)
    write(tmp_path, X=np.zeros((40, 1024)), Y=np.ones((40, 1), np.uint8))
    with pytest.raises(BadInput, match="published with 1,440"):
        sources.load("coil20", root=tmp_path)


@pytest.mark.shared_data
def test_the_published_file(shared_data: Path) -> None:
    source = sources.load("coil20", root=shared_data / "images")
    assert [len(part) for part in (source.private, source.pool, source.score)] == [720, 432, 288]
    everything = read_coil20(shared_data / "images")
    assert np.bincount(everything.labels).tolist() == [72] * 20 and everything.images.max() == 255
