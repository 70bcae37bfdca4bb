"""100,000 answers of a whole engine on two neighbouring sets of votes, with the system's own noise, against what it claims.

A question cannot be drawn twice, so every draw is a question of its own. Two classes at balance are the hardest case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import Batch
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.audit import output_errors
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.noise import SystemNoise

DRAWS, AT_ONCE = 50_000, 2_000
SIGMA, DELTA, SIGNIFICANCE = 2.0, 0.02, 1e-6
HERE, THERE = [0] * 10 + [1] * 9, [0] * 9 + [1] * 10


@dataclass(frozen=True)
class HalfTheNoise:
    gdp: bool = True

    def gaussian(self, sigma, shape):
        return SystemNoise().gaussian(sigma / 2, shape)


def answers(house, noise, teachers, first):
    engine = house.engine(noise, teachers=len(teachers), classes=2)
    labels: list[int] = []
    for start in range(first, first + DRAWS, AT_ONCE):
        images = np.arange(start, start + AT_ONCE, dtype="<u4").view(np.uint8).reshape(-1, 1, 2, 2)
        asked = Batch(str(start), "scans", "first", GNMax(SIGMA), images, 0.0)
        assert engine.submit(asked) is None
        result = engine.evaluate(asked.id, np.repeat(np.array(teachers)[:, None], AT_ONCE, axis=1))
        labels += result.labels.tolist()
    return labels


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "refuted"), [(SystemNoise(), False), (HalfTheNoise(), True)])
def test_a_hundred_thousand_answers(house, noise, refuted):
    house.grant(epsilon=1e5, kind=BudgetKind.ZCDP)
    errors = output_errors(answers(house, noise, HERE, 0), answers(house, noise, THERE, DRAWS))
    event = GNMax(SIGMA).answer_event()
    assert house.spent() == 2 * DRAWS * event.nano_rho()
    claimed = float(np.sqrt(2 * event.nano_rho() / 1e9))
    shown = errors.mu(significance=SIGNIFICANCE)
    print(
        f"\nmu: shown {shown:.4f}, claimed {claimed:.4f}; epsilon at delta {DELTA}: shown "
        f"{errors.epsilon(delta=DELTA, significance=SIGNIFICANCE):.4f}, claimed {gdp_epsilon(claimed, DELTA):.4f}"
    )
    assert (shown > claimed) is refuted
    assert refuted or shown > 0.8 * claimed, "an audit that comes nowhere near shows nothing"
