"""JPEG re-encoded CIFAR-10 from small archives: read, named for what it is, refused when damaged."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data import sources
from stillhouse.platform.errors import BadInput

TRAIN, TEST = "cifar10_jpeg_train.npz", "cifar10_jpeg_test.npz"


def encoded(colour: tuple[int, int, int], side: int = 32, form: str = "JPEG") -> bytes:
    into = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(into, form, quality=95)
    return into.getvalue()


def write(path: Path, files: list[bytes], **other: Any) -> None:
    held = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.arange(len(files), dtype=np.uint8) % 10,
    }
    np.savez(path, **{key: array for key, array in {**held, **other}.items() if array is not None})


FILES = [encoded((20 * i, 255 - 20 * i, 7)) for i in range(12)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "PATE_POOL", 8)
    write(tmp_path / TRAIN, FILES)
    write(tmp_path / TEST, FILES[:10])
    return tmp_path


def test_the_files_are_decoded_in_their_order(folder: Path) -> None:
    source = sources.load("cifar10_jpeg", root=folder)
    private = source.private
    assert private.images.shape == (12, 3, 32, 32) and private.images.dtype == np.uint8
    assert private.labels.tolist() == [*range(10), 0, 1] and private.classes == 10
    colours = private.images.astype(int)
    expected = np.array([[20 * i, 255 - 20 * i, 7] for i in range(12)])
    assert np.abs(colours - expected[:, :, None, None]).max() <= 6  # JPEG is lossy
    assert source.pool.labels.tolist() == [*range(8)] and source.score.labels.tolist() == [8, 9]


def test_every_protocol_says_that_it_is_not_cifar10(folder: Path) -> None:
    source = sources.load("cifar10_jpeg", root=folder)
    whole = sources.whole_test_set(source)
    assert len(whole.score) == 10
    for protocol in (source.protocol, whole.protocol):
        assert protocol.startswith("JPEG re-encoded CIFAR-10") and "do not compare" in protocol
    assert "PATE protocol" in source.protocol and "All 10 public images" in whole.protocol


def test_missing_files_are_named_and_nothing_is_fetched(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder was given.*data\.root=FOLDER.*cannot be downloaded"):
        sources.load("cifar10_jpeg", download=True)
    (folder / TEST).unlink()
    with pytest.raises(BadInput, match=rf"lacks {TEST}.*cannot be downloaded"):
        sources.load("cifar10_jpeg", root=folder, download=True)


def test_a_test_set_too_short_for_pool_and_score_is_refused(folder: Path) -> None:
    write(folder / TEST, FILES[:8])
    with pytest.raises(BadInput, match="'cifar10_jpeg' has 8 test images"):
        sources.load("cifar10_jpeg", root=folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[400] ^= 255  # in the bytes of jpeg
    path.write_bytes(bytes(raw))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def archive(files: list[bytes] = FILES, **other: Any) -> Callable[[Path], None]:
    return lambda path: write(path, files, **other)


STARTS = np.cumsum([0, *map(len, FILES)])
BYTES = np.frombuffer(b"".join(FILES), np.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        one_array,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"<html>not found</html>"),
        archive(jpeg=None),
        archive(labels=None),
        archive(jpeg=BYTES[:-1]),
        archive(jpeg=BYTES.astype(np.int16)),
        archive(jpeg=BYTES[None]),
        archive(jpeg=np.array(["text"], dtype=object)),
        archive(offsets=STARTS[:-1]),
        archive(offsets=STARTS[1:]),
        archive(offsets=STARTS[::-1]),
        archive(offsets=STARTS.astype(float)),
        archive(offsets=np.array([0])),
        archive(offsets=np.where(np.arange(13) == 5, STARTS[4], STARTS)),
        archive(offsets=np.where(np.arange(13) == 5, 2**64 - 1, STARTS.astype(np.uint64))),
        archive(labels=np.zeros(11, np.uint8)),
        archive(labels=np.zeros((12, 1), np.uint8)),
        archive(labels=np.zeros(12)),
        archive(labels=np.full(12, 10)),
        archive(labels=np.full(12, -1)),
        archive([*FILES, encoded((1, 2, 3), side=31)]),
        archive([*FILES, encoded((1, 2, 3), form="PNG")]),
        archive([*FILES, FILES[0][:-200]]),
        archive([*FILES, b"no image"]),
    ],
)
def test_a_damaged_archive_is_named(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / TRAIN)
    with pytest.raises(BadInput, match=r"cifar10_jpeg_train\.npz.*To mend it"):
        sources.load("cifar10_jpeg", root=folder)


def test_labels_are_checked_and_not_told(folder: Path) -> None:
    write(folder / TRAIN, FILES, labels=np.full(12, 77))
    with pytest.raises(BadInput, match=r"a label outside 0 \.\. 9") as caught:
        sources.load("cifar10_jpeg", root=folder)
    assert "77" not in str(caught.value)


@pytest.mark.shared_data
def test_the_shared_archives_are_read(shared_data: Path) -> None:
    source = sources.load("cifar10_jpeg", root=shared_data / "images" / "cifar10")
    assert [len(part) for part in (source.private, source.pool, source.score)] == [50_000, 9_000, 1_000]
    assert source.private.shape == (3, 32, 32)
    assert np.bincount(source.private.labels).tolist() == [5_000] * 10
    assert source.pool.labels[:6].tolist() == [3, 8, 8, 0, 6, 6]  # CIFAR-10's own order
    mean = source.private.images[:10_000].mean(axis=(0, 2, 3)) / 255
    assert np.abs(mean - [0.4914, 0.4822, 0.4465]).max() < 0.01  # the published means of CIFAR-10
