import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from stillhouse.platform.data import sources
from stillhouse.platform.data.idx import read_idx
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput


def write_idx(path: Path, array: np.ndarray, *, packed: bool = True) -> None:
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, n in (("train", 50), ("t10k", 9040)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 4, 4), np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", rng.integers(0, 10, n).astype(np.uint8))
    return tmp_path


def test_a_local_folder_is_read_and_split_by_the_pate_protocol(folder: Path) -> None:
    source = sources.load("fashion_mnist", root=folder)
    test = read_idx(folder / "t10k-images-idx3-ubyte.gz")
    assert (len(source.private), len(source.pool), len(source.score)) == (50, 9000, 40)
    assert np.array_equal(source.pool.images[:, 0], test[:9000])
    assert np.array_equal(source.score.images[:, 0], test[9000:])
    assert "disjoint" in source.protocol


def test_plain_and_gzipped_files_are_the_same(folder: Path, tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "a.gz", array)
    write_idx(tmp_path / "a", array, packed=False)
    assert np.array_equal(read_idx(tmp_path / "a.gz"), array)
    assert np.array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"PK" + raw[2:], lambda raw: raw[:3]]
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: object) -> None:
    write_idx(tmp_path / "a", np.zeros((2, 3, 4), np.uint8), packed=False)
    (tmp_path / "a").write_bytes(damage((tmp_path / "a").read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadInput, match=str(tmp_path / "a")):
        read_idx(tmp_path / "a")


def test_missing_files_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="dataset-fashion-mnist"):
        sources.load("fashion_mnist", root=tmp_path)
    with pytest.raises(BadInput, match="use one of digits, fashion_mnist, mnist"):
        sources.load("cats")


@pytest.mark.parametrize(
    ("error", "told"), [(OSError("no route\nto host"), "no route."), (RuntimeError(), "RuntimeError")]
)
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_download_that_fails_says_why(
    name: str, error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    for loader in ("FashionMNIST", "CIFAR10"):
        monkeypatch.setattr(torchvision.datasets, loader, fail)
    with pytest.raises(BadInput, match=f"could not be downloaded: {told}"):
        sources.load(name, root=tmp_path, download=True)


def test_digits_have_three_disjoint_parts_with_all_classes() -> None:
    source = sources.load("digits")
    parts = (source.private, source.pool, source.score)
    assert [len(p) for p in parts] == [1000, 400, 397]
    assert all(set(p.labels.tolist()) == set(range(10)) for p in parts)
    assert all(p.shape == (1, 8, 8) and p.images.max() == 255 for p in parts)
    again = sources.load("digits")
    assert source.private.content_hash() == again.private.content_hash()


def test_the_whole_test_set_is_scored_and_the_pool_stays(folder: Path) -> None:
    split = sources.load("fashion_mnist", root=folder)
    before = split.score.content_hash()
    whole = sources.whole_test_set(split)
    assert np.array_equal(whole.score.images[:, 0], read_idx(folder / "t10k-images-idx3-ubyte.gz"))
    assert np.array_equal(whole.score.labels, read_idx(folder / "t10k-labels-idx1-ubyte.gz"))
    assert (whole.score.classes, whole.score.name) == (10, "fashion_mnist")
    assert whole.pool is split.pool and whole.private is split.private
    assert "All 9,040 public images are the score set" in whole.protocol and "first 9,000 of them" in whole.protocol
    # The split that it was made from is as it was.
    assert len(split.score) == 40 and split.score.content_hash() == before and "disjoint" in split.protocol


def test_images_and_labels_must_fit() -> None:
    images = np.zeros((3, 1, 2, 2), np.uint8)
    for bad in (
        lambda: ImageData(images[:, 0], np.zeros(3, int), 2, "x"),
        lambda: ImageData(images.astype(float), np.zeros(3, int), 2, "x"),
        lambda: ImageData(images, np.zeros(2, int), 2, "x"),
        lambda: ImageData(images, np.zeros(3), 2, "x"),
        lambda: ImageData(images, np.array([0, 1, 2]), 2, "x"),
        lambda: ImageData(images, np.zeros(3, int), 1, "x"),
    ):
        with pytest.raises(BadInput, match=r"^x: "):
            bad()
