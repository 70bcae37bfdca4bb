from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.multilabel_synthetic import MOST_FREQUENT, Correlated
from stillhouse.platform.errors import BadInput


@given(st.integers(3, 60), st.floats(0.02, 0.45), st.floats(0.0, 2.0))
def test_frequencies_fall_and_add_up(classes: int, share: float, decay: float) -> None:
    found = Correlated(classes=classes, cardinality=share * classes, decay=decay).frequencies()
    assert found.sum() == pytest.approx(share * classes, rel=1e-9)
    assert (np.diff(found) <= 1e-12).all()
    assert 0 < found[-1] <= found[0] <= MOST_FREQUENT


def test_labels_have_their_frequencies_and_go_together_by_the_correlation() -> None:
    _, loose = Correlated(correlation=0.0).draw(40_000, seed=3, part="train")
    _, tight = Correlated(correlation=0.9).draw(40_000, seed=3, part="train")
    for labels in (loose, tight):
        expected = Correlated().frequencies()
        assert (np.abs(labels.mean(0) - expected) < 5 * np.sqrt(expected / 40_000)).all()
    off = ~np.eye(20, dtype=bool)
    assert np.abs(np.corrcoef(loose.T)[off]).max() < 0.03
    assert np.abs(np.corrcoef(tight.T)[off]).max() > 0.2


def test_parts_are_other_records_of_one_world() -> None:
    settings = Correlated(noise=0.0)
    train, labels = settings.draw(300, seed=1, part="train")
    test, truth = settings.draw(300, seed=1, part="test")
    assert not np.array_equal(labels, truth)
    directions = np.linalg.lstsq(labels.astype(float), train, rcond=None)[0]
    assert np.abs(truth @ directions - test).max() < 1e-4
    assert np.array_equal(train, settings.draw(300, seed=1, part="train")[0])
    assert not np.array_equal(labels, settings.draw(300, seed=2, part="train")[1])


def test_settings_out_of_range() -> None:
    with pytest.raises(BadInput, match="cardinality"):
        Correlated(classes=4, cardinality=2.0)
    with pytest.raises(BadInput, match="correlation"):
        Correlated(correlation=1.0)
