"""Arrays and questions for vectors on the wire, and what is refused before it is looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stillhouse.platform.aggregator import aggregator_pb2 as pb
from stillhouse.platform.aggregator.tensors import read_question, read_tensor, write_question, write_tensor
from stillhouse.platform.aggregator.vector_batches import DTYPES, VectorBatch, VectorQuestion, described, undescribed
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.vector_mean import VectorMean

MECHANISM = VectorMean(1.0, 2.0)


def question(**changes) -> VectorQuestion:
    inputs = {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "label": np.array([3, 1])}
    return VectorQuestion(**{"task": "targets", "inputs": inputs, "width": 5, **changes})


@settings(max_examples=60, deadline=None)
@given(
    values=st.sampled_from(DTYPES).flatmap(
        lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    )
)
def test_arrays_come_back(values: np.ndarray) -> None:
    message = pb.Tensor.FromString(write_tensor(values, "x").SerializeToString())
    back = read_tensor(message)
    assert back.dtype == values.dtype and back.shape == values.shape and back.tobytes() == values.tobytes()


def test_other_byte_orders_and_strides_come_back() -> None:
    values = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-1].T
    assert np.array_equal(read_tensor(write_tensor(values)), values)


@pytest.mark.parametrize(
    "wrong",
    [
        pb.Tensor(dtype="float64", shape=[1], data=bytes(8)),
        pb.Tensor(dtype="object", shape=[1], data=bytes(8)),
        pb.Tensor(dtype="float32", shape=[], data=bytes(4)),
        pb.Tensor(dtype="float32", shape=[2], data=bytes(4)),
        pb.Tensor(dtype="float32", shape=[2**31, 2**31, 4], data=b""),
        pb.Tensor(dtype="int16", shape=[1] * 7, data=bytes(2)),
    ],
)
def test_what_does_not_belong_together_is_refused(wrong: pb.Tensor) -> None:
    with pytest.raises(BadInput):
        read_tensor(wrong)


@pytest.mark.parametrize("centre", [None, np.arange(5.0), np.ones((2, 5), np.float32)], ids=["zero", "one", "each"])
def test_questions_come_back(centre: np.ndarray | None) -> None:
    asked = question(centre=centre)
    message = pb.VectorQuestion.FromString(write_question(asked, MECHANISM).SerializeToString())
    back, mechanism = read_question(message)
    assert mechanism == MECHANISM and back.content == asked.content and back.rows == 2
    kept = undescribed(
        json.loads(json.dumps(described(asked.arrays))), b"".join(v.tobytes() for v in asked.arrays.values())
    )
    assert all(np.array_equal(kept[name], values) for name, values in asked.arrays.items())


def test_the_order_of_inputs_is_nothing_and_everything_else_is_content() -> None:
    inputs = dict(question().inputs)
    turned = question(inputs=dict(reversed(inputs.items())))
    assert turned.content == question().content
    others = [
        question(task="gradients"), question(width=6), question(centre=np.zeros(5)),
        question(inputs={**inputs, "label": np.array([3, 2])}),
        question(inputs={**inputs, "label": np.array([3, 1], np.int32)}),
        question(inputs={"x": inputs["x"].reshape(2, 4, 3), "label": inputs["label"]}),
        question(inputs={"y": inputs["x"], "label": inputs["label"]}),
    ]  # fmt: skip
    contents = {each.content for each in [question(), *others]}
    assert len(contents) == len(others) + 1

    def name(**changes):
        settings = {
            "id": "a",
            "dataset": "d",
            "ensemble": "e",
            "mechanism": MECHANISM,
            "question": question(),
            "deadline": 0.0,
        }
        return VectorBatch(**(settings | changes)).hash

    assert name() == name(id="b", deadline=1.0)
    assert len({name(), name(dataset="x"), name(ensemble="x"), name(mechanism=VectorMean(1.0, 2.0, "one"))}) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": {}},
        {"inputs": {"x": np.zeros((2, 3)), "label": np.zeros(2, np.int64)}},
        {"inputs": {"x": np.zeros((2, 3), np.float32), "label": np.zeros(3, np.int64)}},
        {"inputs": {"x": np.full((2, 3), np.nan, np.float32)}},
        {"inputs": {"x": np.full((2, 3), np.inf, np.float32)}},
        {"inputs": {"x": np.zeros((0, 3), np.float32)}},
        {"inputs": {"x/y": np.zeros((2, 3), np.float32)}},
        {"inputs": {f"x{i}": np.zeros((2, 3), np.float32) for i in range(9)}},
        {"inputs": {"x": [[1.0]]}},
        {"task": "drop table"},
        {"task": "x" * 41},
        {"width": 0},
        {"centre": np.zeros(4)},
        {"centre": np.full(5, np.nan)},
        {"centre": np.zeros((3, 5))},
    ],
)
def test_wrong_questions_are_refused(wrong) -> None:
    with pytest.raises(BadInput):
        question(**wrong)


def test_a_question_that_fits_into_no_message_is_refused_with_a_number_that_does() -> None:
    large = question(inputs={"x": np.zeros((1000, 1), np.float32)}, width=2**13)
    with pytest.raises(BadInput, match="at most 512"):
        write_question(large, MECHANISM)
    fits = question(inputs={"x": np.zeros((512, 1), np.float32)}, width=2**13)
    assert read_question(write_question(fits, MECHANISM))[0].rows == 512


def test_a_mechanism_that_is_none_is_refused() -> None:
    message = write_question(question(), MECHANISM)
    for text in ("", "{", "[]", '{"name": "gnmax", "sigma": 1}', '{"name": "vector_mean"}', "[" * 100_000, "1" * 5000):
        message.mechanism_json = text
        with pytest.raises(BadInput):
            read_question(message)
    message = write_question(question(), MECHANISM)
    message.inputs.append(message.inputs[0])
    with pytest.raises(BadInput, match="one name"):
        read_question(message)
