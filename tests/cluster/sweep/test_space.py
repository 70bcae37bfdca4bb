"""Points of a space: all combinations, seeded draws, and the overrides that set them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.cluster.sweep.space import Choices, Range, draws, grid, grid_size, in_words, key_of, override, probes

SPACE = [Choices("a", (1, 2, 3)), Choices("method", ("pate", "dpsgd")), Choices("c", (None, True))]
RANGES = [Range("lr", 1e-3, 1.0, "log_uniform"), Range("n", 2, 5, "int_uniform"), Range("x", -1.0, 1.0, "uniform")]


def test_a_grid_is_every_combination_once() -> None:
    points = grid(SPACE)
    assert len(points) == grid_size(SPACE) == 12 == len(set(points))
    assert points[0] == (("a", 1), ("method", "pate"), ("c", None)) and points[-1][0] == ("a", 3)
    assert {dict(point)["method"] for point in points} == {"pate", "dpsgd"}


def test_draws_are_those_of_their_seed_and_more_of_them_go_on() -> None:
    few, many = draws(RANGES, 5, seed=3), draws(RANGES, 50, seed=3)
    assert many[:5] == few and draws(RANGES, 5, seed=4) != few


def test_draws_lie_in_their_ranges_as_they_should_be_spread() -> None:
    points = [dict(point) for point in draws([*RANGES, Choices("c", ("u", "v"))], 4000, seed=0)]
    logs = np.log10([p["lr"] for p in points])
    assert logs.min() >= -3 and logs.max() <= 0
    # Uniform in the logarithm: mean -1.5, standard deviation of the mean 0.0137.
    assert abs(logs.mean() + 1.5) < 0.07
    counts = [sum(p["n"] == n for p in points) for n in (2, 3, 4, 5)]
    assert sum(counts) == 4000 and all(abs(count - 1000) < 140 for count in counts)  # five standard deviations
    assert abs(np.mean([p["x"] for p in points])) < 0.05
    assert abs(sum(p["c"] == "u" for p in points) - 2000) < 160
    assert all(type(p["n"]) is int for p in points)


def test_probes_show_every_choice_and_both_ends_once() -> None:
    points = probes([*SPACE, RANGES[1]])
    assert len(points) == 1 + 2 + 1 + 1 + 1
    for dimension in (*SPACE, RANGES[1]):
        assert {dict(point)[dimension.key] for point in points} == set(dimension.samples)


def test_a_points_folder_is_named_by_its_settings() -> None:
    names = [key_of(point) for point in grid(SPACE)]
    assert len(set(names)) == 12 and key_of(grid(SPACE)[0]) == names[0]
    assert key_of((("a", 1),)) != key_of((("a", 1.5),)) != key_of((("a", "1"),))
    assert in_words((("lr", 0.012345678), ("c", None))) == "lr=0.0123457, c=null"


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12)
scalars = st.none() | st.booleans() | numbers | texts


@given(scalars | st.lists(scalars, max_size=3).map(tuple))
def test_an_override_says_what_the_point_says(value: object) -> None:
    parsed = OverridesParser.create().parse_override(override("some.key", value))
    assert parsed.key_or_group == "some.key"
    found = parsed.value()
    found = tuple(map(_unquoted, found)) if isinstance(found, list) else _unquoted(found)
    if isinstance(value, float):
        assert isinstance(found, float) and math.isclose(found, value, rel_tol=0, abs_tol=0)
    else:
        assert found == value and type(found) is type(value)


def _unquoted(value: object) -> object:
    return getattr(value, "text", value)


@pytest.mark.parametrize("value", ["null", "True", "1", "1e-3", "a b", "", "it's", "x\\y"])
def test_texts_that_look_like_something_else_stay_texts(value: str) -> None:
    parsed = OverridesParser.create().parse_override(override("k", value))
    assert _unquoted(parsed.value()) == value
