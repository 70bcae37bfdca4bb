import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.values import decode, encode, load_value, save_value, value_from_bytes, value_to_bytes


def same(a, b):
    if isinstance(a, (np.ndarray, torch.Tensor)):
        assert type(a) is type(b) and a.dtype == b.dtype and tuple(a.shape) == tuple(b.shape)
        assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
    elif isinstance(a, dict):
        assert isinstance(b, dict) and list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert type(a) is type(b) and (a == b or (a != a and b != b))


kinds = ["bool", "uint8", "int8", "int64", "uint16", "uint64", "float32", "float64", "complex64"]
arrays = st.sampled_from(kinds).flatmap(
    lambda kind: st.lists(st.integers(0, 5), max_size=3).map(lambda shape: np.ones(shape, dtype=kind))
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
leaves = plain | arrays | arrays.map(torch.tensor)
keys = st.text(max_size=3) | st.sampled_from(["$tensor", "$array", "$tuple", "$items", "a.b", "a", "b"]) | st.integers()
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(trees)
@settings(max_examples=200, deadline=None)
def test_every_value_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.safetensors"
    save_value(path, value)
    same(value, load_value(path))
    same(value, value_from_bytes(value_to_bytes(value)))


def test_dotted_keys_do_not_overwrite_one_another():
    value = {"a.b": torch.tensor([1]), "a": {"b": torch.tensor([2])}}
    same(value, decode(*encode(value)))


def test_tied_and_strided_tensors_are_kept_as_copies(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    value = {"one": weight, "two": weight, "turned": weight.T}
    save_value(tmp_path / "v", value)
    weight.zero_()
    back = load_value(tmp_path / "v")
    assert back["two"].tolist() == [[0, 1, 2], [3, 4, 5]] and back["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_an_optimizer_state_comes_back(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_value(tmp_path / "v", optimizer.state_dict())
    same(optimizer.state_dict(), load_value(tmp_path / "v"))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["text"]), np.array([object()]), lambda: 1, b"bytes"])
def test_what_would_need_pickle_is_refused_by_name(value):
    with pytest.raises(BadInput, match=r"value\.deep"):
        encode({"deep": value})


def test_a_file_that_is_no_value_is_refused(tmp_path):
    path = tmp_path / "v"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        load_value(path)
