"""Thresholds that hold their rate on new pairs, counted over many calibrations; their form in a model card."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, norm
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.calibration import Calibrated, conformal_threshold


def rates(count: int, fmr: float, confidence: float | None) -> np.ndarray:
    """The true rates of thresholds from 600 calibrations on normal scores."""
    random = np.random.default_rng(0)
    made = [conformal_threshold(random.normal(size=count), fmr, confidence=confidence) for _ in range(600)]
    return norm.sf([one.threshold for one in made])


@pytest.mark.parametrize(("count", "fmr"), [(100, 0.1), (1999, 0.01), (250, 0.3)])
def test_the_rate_is_held_on_average(count: int, fmr: float) -> None:
    found, rank = rates(count, fmr, None), int(fmr * (count + 1) + 1e-9)
    assert found.mean() == pytest.approx(rank / (count + 1), rel=0.06) and rank / (count + 1) <= fmr
    assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx(
        beta.ppf([0.1, 0.5, 0.9], rank, count + 1 - rank), rel=0.08
    )
    assert (found > fmr).mean() > 0.3  # ... which a single calibration does not promise


@pytest.mark.parametrize(("count", "fmr"), [(200, 0.1), (1999, 0.01)])
def test_the_rate_is_held_with_confidence(count: int, fmr: float) -> None:
    broken = (rates(count, fmr, 0.9) > fmr).mean()
    assert 0.02 < broken < 0.13  # a tenth, or less where ranks are coarse


def test_it_is_the_lowest_that_is_sure() -> None:
    scores = np.arange(2000.0)
    for confidence in (0.5, 0.9, 0.99):
        rank = conformal_threshold(scores, 0.02, confidence=confidence).rank
        assert beta.cdf(0.02, rank, 2001 - rank) >= confidence > beta.cdf(0.02, rank + 1, 2000 - rank)
    made = conformal_threshold(scores[::-1], 0.02)
    assert made.rank == 40 and 1960 < made.threshold < 1960 + 1e-9
    assert np.count_nonzero(scores >= made.threshold) == 39


def test_scores_alike_let_nobody_pass() -> None:
    assert not conformal_threshold(np.full(100, 0.3), 0.1).accepts(np.full(5, 0.3), "").any()


def test_it_keeps_to_its_source_and_survives_a_card() -> None:
    made = conformal_threshold(np.arange(100.0), 0.1, confidence=0.8, source="student, 16 pixels, U-U")
    assert Calibrated.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.accepts([90.0, 99.0], "student, 16 pixels, U-U").tolist() == [False, True]
    with pytest.raises(BadInput, match="calibrate on impostor pairs of that source"):
        made.accepts([90.0], "student, 16 pixels, U-M")
    with pytest.raises(BadInput, match="not finite"):
        made.accepts([np.nan], made.source)


def good() -> dict[str, Any]:
    return conformal_threshold(np.arange(100.0), 0.1).to_json()


@pytest.mark.parametrize(
    "card",
    [
        {},
        good() | {"threshold": "nan"},
        good() | {"fmr": 0},
        good() | {"impostors": "many"},
        good() | {"confidence": "x"},
    ],
)
def test_a_spoilt_card_is_refused(card: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="no calibrated threshold"):
        Calibrated.from_json(card)
    assert replace(Calibrated.from_json(good()), source="a").source == "a"


def test_too_few_impostors_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 1,000 impostor pairs"):
        conformal_threshold(np.arange(999.0), 0.01)
    with pytest.raises(BadInput, match="too few"):
        conformal_threshold(np.arange(100.0), 0.1, confidence=0.99999)
    with pytest.raises(BadInput, match="confidence"):
        conformal_threshold(np.arange(100.0), 0.1, confidence=1.0)
