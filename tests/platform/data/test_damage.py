"""Files that are damaged or do not fit, and the download, each ending in an error that a user can act on."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data import sources
from stillhouse.platform.data.idx import read_idx
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.errors import BadInput

FASHION = Path("/usr/share/datasets/fashion-mnist")


def write(folder: Path, part: str, n: int) -> None:
    for kind, array in (("images-idx3", np.zeros((n, 4, 4), np.uint8)), ("labels-idx1", np.zeros(n, np.uint8))):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
        (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


@given(position=st.integers(10, 10_000), flip=st.integers(1, 255))
def test_a_flipped_byte_in_a_gzipped_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    # Random pixels do not shrink, so the file is long and most flips hit compressed data.
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8).tobytes()
    raw = bytearray(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 16, 0, 0, 0, 16]) + pixels))
    raw[position % (len(raw) - 10) + 10] ^= flip
    path = tmp_path_factory.mktemp("idx") / "images.gz"
    path.write_bytes(bytes(raw))
    with pytest.raises(BadInput, match=r"images\.gz"):
        read_idx(path)


def test_sizes_that_overflow_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 4]) + b"\0\1\0\0" * 4)  # 65536^4 is 2^64: zero in 64 bits
    with pytest.raises(BadInput, match="cut off"):
        read_idx(tmp_path / "images")


def test_a_test_set_too_short_for_pool_and_score_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", 20)
    write(tmp_path, "t10k", 9000)
    with pytest.raises(BadInput, match="9000 test images"):
        sources.load("mnist", root=tmp_path)


def test_a_folder_without_the_test_files_says_so(tmp_path: Path) -> None:
    write(tmp_path, "train", 20)
    with pytest.raises(BadInput, match="lacks the t10k files"):
        sources.load("mnist", root=tmp_path)


def test_downloading_is_torchvisions_and_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def loader(root: str, *, download: bool) -> None:
        asked.append((root, download))
        folder = Path(root) / "MNIST" / "raw"
        folder.mkdir(parents=True)
        write(folder, "train", 20)
        write(folder, "t10k", 9010)

    monkeypatch.setattr(torchvision.datasets, "MNIST", loader)
    with pytest.raises(BadInput, match="download=true"):
        sources.load("mnist", root=tmp_path)
    assert not asked
    assert len(sources.load("mnist", root=tmp_path, download=True).score) == 10
    assert asked == [(str(tmp_path), True)]
    sources.load("mnist", root=tmp_path)  # found where torchvision put it
    assert len(asked) == 1


def test_a_failed_download_names_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loader(root: str, *, download: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", loader)
    with pytest.raises(BadInput, match="dataset-fashion-mnist"):
        sources.load("fashion_mnist", root=tmp_path, download=True)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_read_from_debians_package() -> None:
    source = sources.load("fashion_mnist")
    assert [len(p) for p in (source.private, source.pool, source.score)] == [60000, 9000, 1000]
    assert np.bincount(source.private.labels).tolist() == [6000] * 10


@pytest.mark.shared_data
def test_mnist_is_read_from_a_given_folder(shared_data: Path) -> None:
    source = sources.load("mnist", root=shared_data / "images" / "mnist")
    assert len(source.private) == 60000
    assert source.private.labels[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize("assignment", [["a", "b"], [[0, 1]], [0, -1], [0, 2**70], None, [0, 2]])
def test_what_is_no_manifest_is_refused(assignment: object) -> None:
    with pytest.raises(BadInput):
        Manifest.from_json({"assignment": assignment, "shards": 2, "hash": ""})


@given(n=st.integers(2, 200), data=st.data())
def test_an_assignment_does_not_look_at_other_records(n: int, data: st.DataObject) -> None:
    """Record numbers and the key are all there is: two data sets of one length are split alike, whatever they hold."""
    shards = data.draw(st.integers(1, n))
    groups = [f"person {i}" for i in range(n)]
    order = data.draw(st.permutations(range(n)))
    manifest = Manifest.make(n, shards, key="k", groups=groups)
    shuffled = Manifest.make(n, shards, key="k", groups=[groups[i] for i in order])
    # A person keeps the shard wherever the records stand in the file.
    assert shuffled.assignment.tolist() == manifest.assignment[list(order)].tolist()
