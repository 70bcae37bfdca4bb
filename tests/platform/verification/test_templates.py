"""Templates against plain loops: averages over media first, weights by length, unknown templates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.roc import roc
from stillhouse.platform.verification.templates import TEMPLATE_FARS, templates, verify_templates


def reference(embeddings: np.ndarray, template: np.ndarray, media: np.ndarray, *, norm: bool) -> dict[int, np.ndarray]:
    made = {}
    for number in sorted(set(template.tolist())):
        averages = []
        for medium in sorted(set(media[template == number].tolist())):
            rows = [e for e, t, m in zip(embeddings, template, media, strict=True) if (t, m) == (number, medium)]
            averages.append(np.mean(rows if norm else [row / np.sqrt(row @ row) for row in rows], axis=0))
        whole = np.sum(averages, axis=0)
        made[number] = whole / np.sqrt(whole @ whole)
    return made


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40)
def test_they_are_averaged_over_media_first(seed: int, norm: bool) -> None:
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(25, 6)) * random.uniform(0.1, 9, size=(25, 1))
    template, media = random.integers(-3, 6, size=25) * 7, random.integers(0, 3, size=25)
    made = templates(embeddings, template, media, weighting="norm" if norm else "equal")
    expected = reference(embeddings, template, media, norm=norm)
    assert made.numbers.tolist() == list(expected)
    assert np.allclose(made.embeddings, np.stack(list(expected.values())), atol=1e-12)
    mixed = random.permutation(25)
    again = templates(embeddings[mixed], template[mixed], media[mixed], weighting="norm" if norm else "equal")
    assert np.allclose(again.embeddings, made.embeddings)


def test_a_long_video_counts_as_one_still() -> None:
    video, still = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    embeddings = np.stack([video] * 99 + [still])
    together = templates(embeddings, np.zeros(100, int), np.repeat([0, 1], [99, 1])).embeddings[0]
    assert together == pytest.approx([0.5**0.5, 0.5**0.5])
    each = templates(embeddings, np.zeros(100, int), np.arange(100)).embeddings[0]
    assert each[0] > 0.999


def test_weights_by_length_follow_the_better_picture() -> None:
    embeddings, number = np.array([[9.0, 0.0], [0.0, 1.0]]), np.zeros(2, int)
    assert templates(embeddings, number, np.arange(2), weighting="norm").embeddings[0, 0] > 0.99
    assert templates(embeddings, number, np.arange(2)).embeddings[0, 0] == pytest.approx(0.5**0.5)


def test_pairs_of_templates_are_scored_by_their_numbers() -> None:
    random = np.random.default_rng(0)
    embeddings, template = random.normal(size=(60, 5)), np.repeat(np.arange(20) * 10, 3)
    made = templates(embeddings, template, np.tile([0, 0, 1], 20))
    first, second = (10 * side for side in np.triu_indices(20, 1))
    same = random.random(190) < 0.3
    curve = verify_templates(made, first, second, same)
    table = reference(embeddings, template, np.tile([0, 0, 1], 20), norm=False)
    expected = roc([table[int(a)] @ table[int(b)] for a, b in zip(first, second, strict=True)], same)
    assert curve.auc == pytest.approx(expected.auc)
    assert curve.at_far(0.1).tar == pytest.approx(expected.at_far(0.1).tar)
    with pytest.raises(BadInput, match=r"TAR at FAR 1e-06.*10,000,000 negatives"):
        curve.at_far(TEMPLATE_FARS[0])


def test_what_makes_no_template_is_refused() -> None:
    made = templates(np.eye(3), np.array([1, 5, 9]), np.zeros(3, int))
    with pytest.raises(BadInput, match="2 of 3 pairs name a template"):
        made.rows(np.array([1, 4, 10]))
    with pytest.raises(BadInput, match="averages of templates are nil"):
        templates(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2, int), np.zeros(2, int))
    with pytest.raises(BadInput, match="media"):
        templates(np.eye(3), np.arange(3), np.arange(2))
