"""Masked pairs at thresholds of bare ones, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.folds import best_threshold, verify
from stillhouse.platform.verification.masked import KINDS, mask_kinds, verify_masked


def drawn(seed: int, *, each: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores of genuine pairs fall with every mask."""
    random = np.random.default_rng(seed)
    count = 3 * 5 * each
    kind = np.repeat(KINDS, 5 * each)
    same, fold = np.tile([True, False], count // 2), np.tile(np.repeat(np.arange(5), each), 3)
    mean = np.where(same, np.repeat([0.7, 0.5, 0.4], 5 * each), 0.1)
    mixed = random.permutation(count)
    return (random.normal(mean, 0.2))[mixed], same[mixed], fold[mixed], kind[mixed]


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_rates_are_those_of_a_plain_loop(seed: int) -> None:
    scores, same, fold, kind = drawn(seed)
    rows = verify_masked(scores, same, fold, kind)
    assert [row.kind for row in rows] == list(KINDS) and [row.pairs for row in rows] == [60, 60, 60]
    thresholds = [
        best_threshold(scores[(kind == "U-U") & (fold != f)], same[(kind == "U-U") & (fold != f)]) for f in range(5)
    ]
    for row in rows:
        pairs = [(s >= thresholds[f], t) for s, t, f, k in zip(scores, same, fold, kind, strict=True) if k == row.kind]
        assert row.fmr == np.mean([accepted for accepted, genuine in pairs if not genuine])
        assert row.fnmr == np.mean([not accepted for accepted, genuine in pairs if genuine])
        assert row.accuracy == np.mean([accepted == genuine for accepted, genuine in pairs])
        here = kind == row.kind
        assert row.own.accuracies == verify(scores[here], same[here], fold[here]).accuracies
    assert rows[0].accuracy == rows[0].own.correct.mean()  # of bare pairs both thresholds are one


def test_masks_cost_genuine_pairs_at_the_bare_threshold() -> None:
    rows = {row.kind: row for row in verify_masked(*drawn(0, each=200))}
    assert rows["U-U"].fnmr < rows["U-M"].fnmr < rows["M-M"].fnmr
    assert rows["M-M"].own.mean > rows["M-M"].accuracy


def test_rates_without_pairs_enough_are_named_and_left_out() -> None:
    few, many = verify_masked(*drawn(0))[0], verify_masked(*drawn(0, each=400), fars=(0.1, 0.01, 0.001))[0]
    assert few.tar == {} and few.not_measured == (0.01, 0.001)
    assert many.tar == {far: many.own.at_far(far).tar for far in (0.1, 0.01)} and many.not_measured == (0.001,)


def test_a_kind_may_lack_a_fold_but_not_the_bare_pairs() -> None:
    scores, same, fold, kind = drawn(1)
    kept = ~((kind == "M-M") & (fold == 2))
    rows = verify_masked(scores[kept], same[kept], fold[kept], kind[kept])
    assert len(rows[2].own.accuracies) == 4 and len(rows[0].own.accuracies) == 5
    two = kind != "M-M"
    assert [row.kind for row in verify_masked(scores[two], same[two], fold[two], kind[two])] == ["U-U", "U-M"]
    bare = kind != "U-U"
    with pytest.raises(BadInput, match="no U-U pairs"):
        verify_masked(scores[bare], same[bare], fold[bare], kind[bare])


def test_kinds_come_from_masks_on_either_side() -> None:
    assert mask_kinds([0, 1, 0, 1], [0, 0, 1, 1]).tolist() == ["U-U", "U-M", "U-M", "M-M"]
    with pytest.raises(BadInput, match="masked"):
        mask_kinds([True], [True, False])
    scores, same, fold, kind = drawn(1)
    with pytest.raises(BadInput, match="one of U-U, U-M, M-M"):
        verify_masked(scores, same, fold, np.where(kind == "M-M", "masked", kind))
