"""InsightFace's `.bin`: read whoever wrote it, written for whoever reads it, and nothing in one is ever executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data import insightface_bin
from stillhouse.platform.data.insightface_bin import PackedPairs, bin_faces, read_bin, write_bin
from stillhouse.platform.data.picture_files import Exact, Resized
from stillhouse.platform.errors import BadInput
from support.face_files import colours


def png(person: int, number: int, side: int = 12) -> bytes:
    held = io.BytesIO()
    Image.fromarray(colours(person, number, side)).save(held, format="PNG")
    return held.getvalue()


def row(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8)


def column(raw: bytes) -> np.ndarray:
    return row(raw)[:, None].copy()


def as_list(same: list[bool]) -> object:
    return list(same)


def as_numpy_booleans(same: list[bool]) -> object:
    return [np.bool_(one) for one in same]


def as_array(same: list[bool]) -> object:
    return np.array(same)


def as_numbers(same: list[bool]) -> object:
    return [int(one) for one in same]


@settings(max_examples=60)
@given(
    same=st.lists(st.booleans(), min_size=1, max_size=5),
    raw=st.lists(st.binary(min_size=1, max_size=300), min_size=10, max_size=10),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    form=st.sampled_from([bytes, bytearray, row, column]),
    booleans=st.sampled_from([as_list, as_numpy_booleans, as_array, as_numbers]),
    outer=st.sampled_from([tuple, list]),
)
def test_every_form_that_python_and_numpy_write_is_read(
    tmp_path_factory, same, raw, protocol, form, booleans, outer
) -> None:
    """The oracle is Python's own pickle, which wrote the file."""
    encoded = raw[: 2 * len(same)]
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    path.write_bytes(pickle.dumps(outer(([form(one) for one in encoded], booleans(same))), protocol=protocol))
    packed = read_bin(path)
    assert list(packed.encoded) == encoded and packed.same.tolist() == same and packed.same.dtype == bool


def test_what_is_written_is_read_by_pickle_itself_and_back(tmp_path: Path) -> None:
    encoded, same = tuple(png(i, i) for i in range(4)), np.array([True, False])
    write_bin(tmp_path / "x.bin", PackedPairs(encoded, same))
    pictures, booleans = pickle.loads((tmp_path / "x.bin").read_bytes(), encoding="bytes")
    assert pictures == list(encoded) and booleans == [True, False] and type(booleans[0]) is bool
    packed = read_bin(tmp_path / "x.bin")
    assert packed.encoded == encoded and packed.same.tolist() == [True, False]


def test_the_form_of_python_2(tmp_path: Path) -> None:
    """Protocol 2, texts where bytes are meant, numpy's old module names."""
    raw = png(1, 1)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M"
        + struct.pack("<H", len(raw)) + b"\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip
    (tmp_path / "x.bin").write_bytes(b"\x80\x02](" + array + array + b"e](\x88e\x86.")
    packed = read_bin(tmp_path / "x.bin")
    assert packed.encoded == (raw, raw) and packed.same.tolist() == [True]


class Poison:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["whole", "picture", "boolean", "beside"])
def test_a_poisoned_pickle_is_refused_and_does_not_run(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "ran"
    poison = Poison(mark)
    held = {
        "whole": poison,
        "picture": ([png(0, 0), poison], [True]),
        "boolean": ([png(0, 0), png(0, 1)], [poison]),
        "beside": ([png(0, 0), png(0, 1)], [True], poison),
    }[where]
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(BadInput, match=r"is refused: it wants to run other code.*do not open it with anything else"):
        read_bin(path)
    assert not mark.exists()
    # The test can fail: Python's own reader runs it.
    pickle.loads(path.read_bytes())
    assert mark.exists()


def stand_ins() -> dict[str, dict]:
    kinds = set(insightface_bin._Restricted._stand_ins.values())
    return {kind.__name__: dict(vars(kind)) for kind in kinds}


NAMES = sorted({name for _, name in insightface_bin._Restricted._stand_ins})


def setting(target: str, attribute: str, *, slots: bool) -> bytes:
    """A pickle that sets an attribute of what stands for `target` to 7, by BUILD: it takes a class as well as an object."""
    module = next(module for module, name in insightface_bin._Restricted._stand_ins if name == target)
    text = b"X" + struct.pack("<I", len(attribute)) + attribute.encode()
    state = b"}(" + text + b"K\x07u"
    return b"\x80\x02c" + f"{module}\n{target}\n".encode() + (b"N" + state + b"\x86" if slots else state) + b"b."


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("attribute", ["__init__", "__new__", "__setstate__"])
@pytest.mark.parametrize("slots", [True, False])
def test_a_pickle_cannot_change_the_stand_ins_for_later_ones(
    tmp_path: Path, target: str, attribute: str, slots: bool
) -> None:
    before = stand_ins()
    path = tmp_path / "x.bin"
    path.write_bytes(setting(target, attribute, slots=slots))
    with pytest.raises(BadInput, match="no whole pickle"):
        read_bin(path)
    assert stand_ins() == before


@pytest.mark.parametrize("target", NAMES)
def test_it_could_if_they_took_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """So the test above can fail."""
    kind = next(kind for (_, name), kind in insightface_bin._Restricted._stand_ins.items() if name == target)
    monkeypatch.delattr(kind, "__setstate__")
    monkeypatch.setattr(kind, "mark", 0, raising=False)
    (tmp_path / "x.bin").write_bytes(setting(target, "mark", slots=True))
    with pytest.raises(BadInput, match="does not hold"):
        read_bin(tmp_path / "x.bin")
    assert kind.mark == 7


@pytest.mark.parametrize(
    "raw",
    [
        b"c_codecs\nencode\n(V../x\nVbase64\ntR.",  # another codec
        b"cbuiltins\nbytearray\n(I999999999999\ntR.",  # a row of that many zeros
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(Vf8\ntRVx\ntR.",
    ],
)  # fmt: skip
def test_allowed_names_do_only_what_a_set_of_pictures_needs(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(raw)
    with pytest.raises(BadInput, match=r"is refused"):
        read_bin(tmp_path / "x.bin")


@pytest.mark.parametrize(
    "held",
    [
        ([b"a", b"b"], [True, False]),
        ([b"a"], [True]),
        ([], []),
        ([b"a", "b"], [True]),
        ([b"a", b"b"], [2]),
        ([b"a", b"b"], ["yes"]),
        ([b"a", b"b"], [1.0]),
        ([b"a", b"b"], True),
        {"bins": [b"a", b"b"]},
        [b"a", b"b"],
        7,
        ([b"a", np.zeros(3, bool)], [True]),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, held: object) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(held))
    with pytest.raises(BadInput, match=r"does not hold"):
        read_bin(tmp_path / "x.bin")


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.uint8), np.zeros(3), np.zeros(3, np.int64)])
def test_arrays_of_something_else_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    for protocol in (2, 5):
        (tmp_path / "x.bin").write_bytes(pickle.dumps(([array, array], [True]), protocol=protocol))
        with pytest.raises(BadInput, match=r"refused: it holds an array"):
            read_bin(tmp_path / "x.bin")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int) -> None:
    raw = pickle.dumps(([png(0, 0), png(0, 1)], [True]))
    (tmp_path / "x.bin").write_bytes(raw[:cut])
    with pytest.raises(BadInput, match=r"cannot read .*x\.bin"):
        read_bin(tmp_path / "x.bin")
    with pytest.raises(BadInput, match=r"cannot read"):
        read_bin(tmp_path / "none.bin")


def test_faces_and_pairs_of_a_file(tmp_path: Path) -> None:
    """Twelve pairs in ten folds, the first two of two pairs; equal pictures and genuine pairs are one identity."""
    encoded, same = [], []
    for pair in range(12):
        other = 0 if pair % 2 else pair + 1
        encoded += [png(0, 1) if pair == 3 else png(pair % 12, 2 * pair), png(other, 2 * pair + 1)]
        same.append(pair % 2 == 0)
    path = tmp_path / "x.bin"
    write_bin(path, PackedPairs(tuple(encoded), np.array(same)))
    faces, pairs = bin_faces(path, prepare=Exact(12))
    assert len(faces) == 24 and not faces.identified and pairs.same.tolist() == same
    assert pairs.fold.tolist() == [0, 0, 1, 1, *range(2, 10)]
    assert (pairs.first == 2 * np.arange(12)).all() and (pairs.second == pairs.first + 1).all()
    # png(0, 1) is the second picture of pair 0 and the first of pair 3.
    assert (encoded[1] == encoded[6]) == (faces.identities[1] == faces.identities[6])
    for pair in range(12):
        assert (faces.identities[2 * pair] == faces.identities[2 * pair + 1]) >= same[pair]
    assert (faces.read([2])[0] == colours(1, 2).transpose(2, 0, 1)).all()


def test_identities_are_the_components_of_what_is_known(tmp_path: Path) -> None:
    """Against transitive closure by repeated matrix products."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = int(rng.integers(1, 9))
        encoded = tuple(bytes([rng.integers(0, 12)]) for _ in range(2 * n))
        same = rng.random(n) < 0.5
        joined = np.array([[a == b for b in encoded] for a in encoded])
        for pair in np.flatnonzero(same):
            joined[2 * pair, 2 * pair + 1] = joined[2 * pair + 1, 2 * pair] = True
        for _ in range(5):
            joined = (joined.astype(int) @ joined.astype(int)) > 0
        identities = insightface_bin._identities(PackedPairs(encoded, same))
        assert ((identities[:, None] == identities) == joined).all()


def test_pictures_that_cannot_be_used_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bin(path, PackedPairs((png(0, 0), png(0, 1, 13), b"none", png(1, 1)), np.array([True, False])))
    with pytest.raises(
        BadInput, match=r"2 of 4 pictures .*picture 1 is 13 x 13.*picture 2 cannot be read.*data.fit=resize"
    ):
        bin_faces(path, prepare=Exact(12))
    write_bin(path, PackedPairs((png(0, 0), png(0, 1, 13)), np.array([True])))
    assert bin_faces(path, prepare=Resized(12))[0].read([1]).shape == (1, 3, 12, 12)


def test_packed_pairs_fit_each_other() -> None:
    for encoded, same in (((b"a",), [True]), ((), [])):
        with pytest.raises(BadInput, match=r"a pair has two"):
            PackedPairs(encoded, np.array(same))


@pytest.mark.shared_data
def test_the_published_sample_round_trips(shared_data: Path, tmp_path: Path) -> None:
    """Ten genuine pairs, in columns as OpenCV encodes them; the oracle is Python's own pickle."""
    path = shared_data / "faces" / "small_lfw.bin"
    packed = read_bin(path)
    pictures, same = pickle.loads(path.read_bytes(), encoding="bytes")
    assert [bytes(one) for one in pictures] == list(packed.encoded) and same == packed.same.tolist() == [True] * 10
    write_bin(tmp_path / "again.bin", packed)
    again = read_bin(tmp_path / "again.bin")
    assert again.encoded == packed.encoded and (again.same == packed.same).all()
    faces, pairs = bin_faces(path, prepare=Exact(112))
    assert len(faces) == 20 and len(pairs) == 10 and faces.size == (112, 112)
    with Image.open(io.BytesIO(packed.encoded[7])) as image:
        assert (faces.read([7])[0] == np.asarray(image.convert("RGB")).transpose(2, 0, 1)).all()
