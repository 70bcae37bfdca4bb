"""SVHN, CIFAR-10 and CIFAR-100 from small files: read, split, refused when damaged or dangerous, fetched by torchvision only."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from scipy.io import savemat
from stillhouse.platform.data import colour_sets, sources
from stillhouse.platform.errors import BadInput

CIFAR = "cifar-10-batches-py"
HUNDRED = "cifar-100-python"
TRAIN = [f"data_batch_{i}" for i in range(1, 6)]
rng = np.random.default_rng(0)


def write_mat(path: Path, n: int, labels: list[int] | None = None) -> np.ndarray:
    pixels = rng.integers(0, 256, (32, 32, 3, n), np.uint8)
    given = np.array(labels or [1 + i % 10 for i in range(n)], np.uint8)
    savemat(path, {"X": pixels, "y": given[:, None]}, do_compression=True)
    return pixels


def write_batch(path: Path, n: int, **other: Any) -> np.ndarray:
    pixels = rng.integers(0, 256, (n, 3072), np.uint8)
    held = {"batch_label": "a batch", "labels": [i % 10 for i in range(n)], "data": pixels, "filenames": ["x.png"] * n}
    path.write_bytes(pickle.dumps({**held, **other}, protocol=4))
    return pixels


def of_python_2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """The published batches' own form: protocol 2, texts and bytes alike, numpy's old module name."""
    raw = pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"M" + struct.pack("<H", side) for side in pixels.shape) + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip
    return b"\x80\x02}(U\x06labels](" + b"".join(b"K" + bytes([i]) for i in labels) + b"eU\x04data" + array + b"u."


def shrink(monkeypatch: pytest.MonkeyPatch, name: str, pool: int) -> None:
    monkeypatch.setitem(colour_sets.COLOUR_SETS, name, replace(colour_sets.COLOUR_SETS[name], pool=pool))


@pytest.fixture
def svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch, "svhn", 6)
    write_mat(tmp_path / "train_32x32.mat", 12)
    write_mat(tmp_path / "test_32x32.mat", 10)
    return tmp_path


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch, "cifar10", 6)
    (tmp_path / CIFAR).mkdir()
    for name in (*TRAIN, "test_batch"):
        write_batch(tmp_path / CIFAR / name, 10)
    return tmp_path


def write_hundred(path: Path, n: int, **other: Any) -> np.ndarray:
    """One file of CIFAR-100, whose key for 100 classes is fine_labels; coarse_labels are 20 groups of them."""
    fine = [i % 100 for i in range(n)]
    return write_batch(
        path, n, **{"fine_labels": fine, "coarse_labels": [i // 5 for i in fine], "labels": None, **other}
    )


@pytest.fixture
def hundred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch, "cifar100", 6)
    (tmp_path / HUNDRED).mkdir()
    write_hundred(tmp_path / HUNDRED / "train", 200)
    write_hundred(tmp_path / HUNDRED / "test", 10)
    return tmp_path


def test_svhn_is_read_and_its_label_ten_is_the_digit_nought(svhn: Path) -> None:
    pixels = write_mat(svhn / "train_32x32.mat", 3, labels=[10, 1, 9])
    source = sources.load("svhn", root=svhn)
    assert source.private.labels.tolist() == [0, 1, 9]
    assert source.private.images.shape == (3, 3, 32, 32) and source.private.images.dtype == np.uint8
    assert source.private.images[2, 1, 30, 7] == pixels[30, 7, 1, 2]
    assert (len(source.pool), len(source.score)) == (6, 4)
    assert source.score.labels.tolist() == [7, 8, 9, 0]
    assert "'extra' set of SVHN is not in it" in source.protocol


def test_cifar_is_read_batch_after_batch(cifar: Path) -> None:
    pixels = [write_batch(cifar / CIFAR / name, 10) for name in TRAIN]
    source = sources.load("cifar10", root=cifar)
    assert source.private.images.shape == (50, 3, 32, 32)
    assert source.private.images[12, 2, 30, 7] == pixels[1].reshape(10, 3, 32, 32)[2, 2, 30, 7]
    assert source.private.labels[:12].tolist() == [*range(10), 0, 1]
    assert (len(source.pool), len(source.score)) == (6, 4)
    assert source.private.images.flags.writeable and source.private.images.flags.c_contiguous
    inside = sources.load("cifar10", root=cifar / CIFAR)
    assert inside.private.content_hash() == source.private.content_hash()


def test_batches_are_read_as_python_2_wrote_them(tmp_path: Path) -> None:
    pixels = rng.integers(0, 256, (300, 3072), np.uint8)
    labels = [i % 10 for i in range(300)]
    raw = of_python_2(pixels, labels)
    plain = pickle.loads(raw, encoding="latin1")  # Python and numpy themselves take it for what it is meant to be.
    assert np.array_equal(plain["data"], pixels)
    (tmp_path / "batch").write_bytes(raw)
    found, told = colour_sets.read_cifar_batch(tmp_path / "batch")
    assert np.array_equal(found.reshape(300, 3072), pixels) and told.tolist() == labels


def test_the_fine_labels_of_cifar100_are_read(hundred: Path) -> None:
    pixels = write_hundred(hundred / HUNDRED / "train", 200)
    source = sources.load("cifar100", root=hundred)
    assert [data.classes for data in (source.private, source.pool, source.score)] == [100] * 3
    assert source.private.images.shape == (200, 3, 32, 32)
    assert source.private.images[150, 2, 30, 7] == pixels.reshape(200, 3, 32, 32)[150, 2, 30, 7]
    assert source.private.labels.tolist() == [*range(100)] * 2
    assert source.score.labels.tolist() == [6, 7, 8, 9]
    inside = sources.load("cifar100", root=hundred / HUNDRED)
    assert inside.private.content_hash() == source.private.content_hash()


@pytest.mark.parametrize(
    ("name", "pool", "test"), [("svhn", 10_000, 10_010), ("cifar10", 9_000, 9_010), ("cifar100", 9_000, 9_010)]
)
def test_the_split_is_the_pate_protocols(name: str, pool: int, test: int, tmp_path: Path) -> None:
    if name == "svhn":
        write_mat(tmp_path / "train_32x32.mat", 3)
        savemat(
            tmp_path / "test_32x32.mat",
            {"X": np.zeros((32, 32, 3, test), np.uint8), "y": np.full((test, 1), 3, np.uint8)},
            do_compression=True,
        )
    elif name == "cifar100":
        write_hundred(tmp_path / "train", 1)
        write_hundred(tmp_path / "test", test, data=np.zeros((test, 3072), np.uint8))
    else:
        for batch in TRAIN:
            write_batch(tmp_path / batch, 1)
        write_batch(tmp_path / "test_batch", test, data=np.zeros((test, 3072), np.uint8))
    source = sources.load(name, root=tmp_path)
    assert (len(source.pool), len(source.score)) == (pool, 10)
    assert f"first {pool:,} test images" in source.protocol and "the last 10." in source.protocol
    whole = sources.whole_test_set(source)
    assert len(whole.score) == test and whole.score.name == name
    assert f"All {test:,} public images" in whole.protocol


@pytest.mark.parametrize(("name", "files"), [("svhn", "svhn"), ("cifar10", "cifar"), ("cifar100", "hundred")])
def test_a_test_set_too_short_for_pool_and_score_is_refused(
    name: str, files: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = request.getfixturevalue(files)
    shrink(monkeypatch, name, 10)
    with pytest.raises(BadInput, match=f"'{name}' has 10 test images"):
        sources.load(name, root=root)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def no_mat(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>" * 50)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(bytes(raw))


def mat_of(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: savemat(path, arrays)


IMAGES = np.zeros((32, 32, 3, 2), np.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        no_mat,
        flip,
        lambda path: path.write_bytes(b""),
        mat_of(X=IMAGES),
        mat_of(y=np.ones((2, 1), np.uint8)),
        mat_of(X=IMAGES, y=np.ones((3, 1), np.uint8)),
        mat_of(X=IMAGES, y=np.array([[0], [1]], np.uint8)),
        mat_of(X=IMAGES, y=np.array([[1], [11]], np.uint8)),
        mat_of(X=IMAGES, y=np.array([[1.5], [2.0]])),
        mat_of(X=IMAGES.astype(float), y=np.ones((2, 1), np.uint8)),
        mat_of(X=IMAGES[:, :, 0], y=np.ones((2, 1), np.uint8)),
        mat_of(X="text", y="text"),
    ],
)
def test_a_damaged_svhn_file_is_named(svhn: Path, damage: Callable[[Path], None]) -> None:
    damage(svhn / "test_32x32.mat")
    with pytest.raises(BadInput, match=r"test_32x32\.mat.*To mend it"):
        sources.load("svhn", root=svhn)


def batch_of(**other: Any) -> Callable[[Path], object]:
    return lambda path: write_batch(path, 2, **other)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        no_mat,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps([1, 2])),
        batch_of(data=np.zeros((3, 3072), np.uint8)),
        batch_of(data=np.zeros((2, 3071), np.uint8)),
        batch_of(data=np.zeros(6144, np.uint8)),
        batch_of(data=np.zeros((2, 3072), np.int16)),
        batch_of(data=np.asfortranarray(np.zeros((2, 3072), np.uint8))),
        batch_of(data=np.array([[{}]])),
        batch_of(data="text"),
        batch_of(labels=[0, 10]),
        batch_of(labels=[0, -1]),
        batch_of(labels=[0, 1.5]),
        batch_of(labels=[0]),
        batch_of(labels=None),
    ],
)
def test_a_damaged_cifar_file_is_named(cifar: Path, damage: Callable[[Path], object]) -> None:
    damage(cifar / CIFAR / "data_batch_3")
    with pytest.raises(BadInput, match=r"data_batch_3.*To mend it"):
        sources.load("cifar10", root=cifar)


@pytest.mark.parametrize(
    "other",
    [
        {"fine_labels": None, "labels": [0, 1]},
        {"fine_labels": [0, 100]},
        {"fine_labels": [0, -1]},
        {"fine_labels": [0]},
        {"data": np.zeros((2, 3071), np.uint8)},
    ],
)
def test_a_damaged_cifar100_file_is_named(hundred: Path, other: dict[str, Any]) -> None:
    write_hundred(hundred / HUNDRED / "test", 2, **other)
    with pytest.raises(BadInput, match=r"cifar-100-python/test .*To mend it"):
        sources.load("cifar100", root=hundred)


def test_a_label_of_cifar100_is_none_of_cifar10(cifar: Path) -> None:
    write_batch(cifar / CIFAR / "test_batch", 2, labels=[0, 99])
    with pytest.raises(BadInput, match=r"outside 0 \.\. 9\."):
        sources.load("cifar10", root=cifar)


class Evil:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_a_pickle_that_calls_other_code_is_refused_before_it_runs(cifar: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    for evil in (
        Evil(os.mkdir, str(mark)),
        Evil(exec, f"import os; os.mkdir({str(mark)!r})"),
        Evil(getattr, [], "copy"),
    ):
        write_batch(cifar / CIFAR / "data_batch_1", 2, filenames=evil)
        with pytest.raises(BadInput, match=r"data_batch_1 is refused: it wants to run other code"):
            sources.load("cifar10", root=cifar)
        write_hundred(tmp_path / "train", 2, filenames=evil)
        write_hundred(tmp_path / "test", 2)
        with pytest.raises(BadInput, match=r"train is refused: it wants to run other code"):
            sources.load("cifar100", root=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\ndtype\n}U\x04nameU\x01xs.",  # a dict for a class in place of an object
        b"cnumpy\ndtype\n}b.",
        b"cnumpy\nndarray\n(NNNNNtb.",
        b"cnumpy\nndarray\n)R(K\x01K\x02K\x03K\x04K\x05tb.",
        b"cnumpy\nndarray\nNb.",
        b"Pevil\n.",
        b"\x82\x01.",
    ],
)
def test_the_stand_ins_cannot_be_turned_against_the_reader(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "batch").write_bytes(raw)
    with pytest.raises(BadInput, match="batch"):
        colour_sets.read_cifar_batch(tmp_path / "batch")
    pixels = write_batch(tmp_path / "batch", 2)
    assert np.array_equal(colour_sets.read_cifar_batch(tmp_path / "batch")[0].reshape(2, 3072), pixels)


def test_missing_files_are_named_with_how_to_get_them(svhn: Path, cifar: Path, hundred: Path) -> None:
    for name in ("svhn", "cifar10", "cifar100"):
        with pytest.raises(BadInput, match=r"no folder was given.*data\.root=FOLDER.*data\.download=true"):
            sources.load(name)
    (svhn / "test_32x32.mat").unlink()
    with pytest.raises(BadInput, match=r"lacks test_32x32\.mat\.? .*download=true"):
        sources.load("svhn", root=svhn)
    (cifar / CIFAR / "data_batch_4").unlink()
    with pytest.raises(BadInput, match=r"lacks data_batch_4\.? .*cifar-10-batches-py"):
        sources.load("cifar10", root=cifar)
    (hundred / HUNDRED / "train").unlink()
    with pytest.raises(BadInput, match=r"lacks train\.? .*cifar-100-python, which holds train and test"):
        sources.load("cifar100", root=hundred)
    with pytest.raises(BadInput, match="digits, fashion_mnist, mnist, svhn, cifar10, cifar100"):
        sources.load("cats")


def test_svhn_is_fetched_by_torchvision_and_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "svhn", 6)
    asked: list[tuple[str, str, bool]] = []

    def loader(root: str, *, split: str, download: bool) -> None:
        asked.append((root, split, download))
        write_mat(Path(root) / f"{split}_32x32.mat", 10)

    monkeypatch.setattr(torchvision.datasets, "SVHN", loader)
    with pytest.raises(BadInput, match="download=true"):
        sources.load("svhn", root=tmp_path)
    assert not asked
    assert len(sources.load("svhn", root=tmp_path, download=True).score) == 4
    assert asked == [(str(tmp_path), "train", True), (str(tmp_path), "test", True)]
    sources.load("svhn", root=tmp_path, download=True)  # what is there is not fetched again
    assert len(asked) == 2


def test_cifar_is_fetched_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "cifar10", 6)
    asked: list[tuple[str, bool]] = []

    def loader(root: str, *, download: bool) -> None:
        asked.append((root, download))
        (Path(root) / CIFAR).mkdir()
        for name in (*TRAIN, "test_batch"):
            write_batch(Path(root) / CIFAR / name, 10)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", loader)
    assert len(sources.load("cifar10", root=tmp_path, download=True).private) == 50
    assert asked == [(str(tmp_path), True)]


def test_cifar100_is_fetched_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "cifar100", 6)
    asked: list[tuple[str, bool]] = []

    def loader(root: str, *, download: bool) -> None:
        asked.append((root, download))
        (Path(root) / HUNDRED).mkdir()
        for name in ("train", "test"):
            write_hundred(Path(root) / HUNDRED / name, 10)

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", loader)
    for _ in range(2):  # what is there is not fetched again
        assert len(sources.load("cifar100", root=tmp_path, download=True).private) == 10
    assert asked == [(str(tmp_path), True)]


def test_a_failed_download_names_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loader(root: str, *, download: bool, split: str = "") -> None:
        raise RuntimeError("File not found or corrupted.")

    for name in ("SVHN", "CIFAR10", "CIFAR100"):
        monkeypatch.setattr(torchvision.datasets, name, loader)
        with pytest.raises(BadInput, match=rf"{name} could not be downloaded: File not found.*data\.root=FOLDER"):
            sources.load(name.lower(), root=tmp_path, download=True)


def test_a_loader_that_leaves_files_out_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda root, download: None)
    with pytest.raises(BadInput, match="lacks data_batch_1"):
        sources.load("cifar10", root=tmp_path, download=True)
