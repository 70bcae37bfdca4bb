import math

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import validate


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", None, np.array([1.0])])
def test_positive_refuses_and_names_the_argument(value):
    with pytest.raises(BadInput, match="sigma"):
        validate.positive(sigma=value)


@pytest.mark.parametrize("check", [validate.positive, validate.moderate, validate.finite, validate.positive_int])
def test_a_whole_number_of_hundreds_of_digits_is_refused(check):
    with pytest.raises(BadInput, match="sigma"):
        check(sigma=10**400)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, 5e-324, 1e-101, 1e101, math.inf, True])
def test_a_size_without_a_square_is_not_moderate(value):
    with pytest.raises(BadInput, match="sigma"):
        validate.moderate(sigma=value)
    validate.moderate(sigma=1e-100, scale=1e100, noise_multiplier=np.float32(1))


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int64(3)])
def test_positive_accepts_numbers_of_any_kind(value):
    validate.positive(sigma=value)


def test_zero_is_non_negative_but_not_a_probability():
    validate.non_negative(threshold=0)
    with pytest.raises(BadInput, match="delta"):
        validate.probability(delta=0)
    with pytest.raises(BadInput, match="delta"):
        validate.probability(delta=1)


@pytest.mark.parametrize("value", [0, -3, 1.0, True, math.nan])
def test_positive_int(value):
    with pytest.raises(BadInput, match="count"):
        validate.positive_int(count=value)


@pytest.mark.parametrize("value", [[1, 2], np.array([1.0]), np.array([True])])
def test_integer_array(value):
    with pytest.raises(BadInput, match="histograms"):
        validate.integer_array(histograms=value)


@pytest.mark.parametrize("orders", [[], [1.0], [2, math.inf], [[2, 3]], [math.nan]])
def test_orders(orders):
    with pytest.raises(BadInput, match="orders"):
        validate.renyi_orders(orders)
