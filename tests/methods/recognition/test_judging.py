"""What a card says to decide by: a threshold that holds its rate on pairs to come, and a quality for that very threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stillhouse.methods.recognition.judging import Gallery, Judged, card_point, judge, people_in_several_folds
from stillhouse.platform.data.faces import FaceData, FacePairs
from stillhouse.platform.verification.folds import verify
from stillhouse.platform.verification.roc import roc

from .few_faces import few_faces, people

DATA = few_faces()


def test_the_threshold_of_a_card_holds_its_rate_on_impostors_to_come() -> None:
    """Impostors are normal, so that each threshold's rate is known; one that lets 1 % of those at hand pass fails half of the time."""
    from scipy.stats import norm

    random, same = np.random.default_rng(0), np.repeat([False, True], [1500, 300])
    points, in_sample = [], []
    for _ in range(200):
        curve = roc(np.concatenate([random.normal(size=1500), random.normal(2, 1, 300)]), same)
        point = card_point(curve, 0.01)
        assert point is not None
        points.append(point)
        in_sample.append(curve.at_far(0.01).threshold)
    over = np.mean(norm.sf([point.threshold for point in points]) > 0.01)
    assert over <= 0.1 and np.mean(norm.sf(in_sample) > 0.01) > 0.3
    assert all(0 < point.fmr < 0.01 and point.negatives == 1500 for point in points)


def test_too_few_impostors_give_a_card_no_threshold() -> None:
    scores = np.arange(200.0)
    assert card_point(roc(scores, scores >= 100), 0.1) is not None
    assert card_point(roc(scores, scores >= 100), 0.09) is None


def test_the_least_quality_is_for_the_threshold_that_decides() -> None:
    """The thresholds of the folds judge nearly all pairs rightly; a strict one refuses many genuine pairs of low quality."""
    random, count = np.random.default_rng(0), 1000
    same, fold = np.arange(count) % 2 == 0, np.arange(count) // 2 % 4
    scores = np.where(same, random.uniform(0.4, 1.0, count), random.uniform(0.0, 0.45, count))
    quality = random.uniform(1, 2, count)
    # From a quality of 1.5 on, genuine pairs score high enough for the strict threshold as well.
    scores = np.where(same & (quality >= 1.5), random.uniform(0.85, 1.0, count), scores)
    judged = Judged(scores, verify(scores, same, fold), None, quality)
    strict = 0.8
    wrong = (scores >= strict) != same
    assert judged.verification.mean > 0.95 and wrong.mean() > 0.1
    kept = judged.least_quality(same, strict, 0.05)
    decided = quality >= kept.threshold
    assert kept.error == wrong[decided].mean() <= kept.bound <= 0.05
    assert kept.coverage == decided.mean() < 0.7


def test_people_of_several_folds_are_counted_where_people_are_known() -> None:
    assert people_in_several_folds(DATA) == 0
    pairs = DATA.pairs
    mixed = FacePairs(pairs.first, pairs.second, pairs.same, np.arange(len(pairs)) % 3)
    data = FaceData(DATA.train, DATA.test, mixed, "mixed", "x")
    assert people_in_several_folds(data) == DATA.test.people
    unknown = replace(data, test=replace(data.test, identified=False))
    assert people_in_several_folds(unknown) == 0


def test_all_pairs_are_judged_whatever_folds_share() -> None:
    rows = np.eye(DATA.test.people)[DATA.test.identities] + 0.01
    mixed = replace(DATA, pairs=replace(DATA.pairs, fold=np.arange(len(DATA.pairs)) % 3))
    assert judge(rows, mixed, None).verification.mean == pytest.approx(1.0)


def test_strangers_are_those_whom_every_second_enrolment_leaves_out() -> None:
    """Of 100 people with two probes each 50 are not enrolled; ten of their 100 probes may find somebody."""
    shown = people(100, 4, 5)
    gallery = Gallery.of(shown)
    assert gallery is not None
    rows = np.eye(100)[shown.identities]
    data = replace(DATA, test=shown)
    sure = judge(rows, data, gallery)
    assert sure.strangers is not None and (sure.strangers.known, sure.strangers.unknown) == (100, 100)
    assert sure.metrics(())["dir_at_far_0.1"].value == 1.0
    # Twenty probes of those that are not enrolled look like somebody who is, as much as anybody does.
    mistaken = rows.copy()
    strangers = [probe for probe in gallery.probes if shown.identities[probe] % 2 == 1][:20]
    mistaken[strangers] = np.eye(100)[0]
    found = judge(mistaken, data, gallery)
    assert found.identification is not None and found.strangers is not None
    assert found.strangers.dir == 0.0 and found.strangers.false_alarms == 0
    few = judge(rows[:396], replace(data, test=shown.take(np.arange(396))), Gallery.of(shown.take(np.arange(396))))
    assert few.identification is not None and few.strangers is None
    assert "dir_at_far_0.1" not in few.metrics(())
