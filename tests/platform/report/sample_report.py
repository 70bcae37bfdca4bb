"""A report made of invented figures, for tests and for looking at the page."""

import numpy as np
from stillhouse.platform.privacy.statement import PrivacyStatement, Release
from stillhouse.platform.report.report import Accuracy, Agreement, Report, Spending


def sample() -> Report:
    random = np.random.default_rng(0)
    favourites = random.dirichlet([0.12] * 10, size=400)
    favourites /= favourites.sum(axis=1, keepdims=True)
    votes = np.stack([random.multinomial(250, favourite) for favourite in favourites])
    passed = random.random(400) < 0.62
    spent = np.sqrt(np.cumsum(0.0009 + 0.0098 * passed))
    events = [
        {"kind": "gaussian", "sigma": 150.0, "squared_sensitivity": 1, "count": 400},
        {"kind": "gaussian", "sigma": 40.0, "squared_sensitivity": 2, "count": int(passed.sum())},
    ]
    return Report(
        title="Invented figures, for a test of this page",
        method="pate (confident_gnmax)",
        data="made-up pictures, 250 silos",
        protocol="Queries come from the first part of the test set and scores from the rest; the two are disjoint.",
        accuracies=(
            Accuracy("Student", 0.861, "released"),
            Accuracy("Ensemble, no noise", 0.874, "diagnostic"),
            Accuracy("Mean teacher", 0.812, "diagnostic", 0.011),
            Accuracy("Non-private reference", 0.905, "non_private"),
        ),
        privacy=PrivacyStatement(
            epsilon=float(spent[-1]),
            delta=1e-5,
            releases=(
                Release("decisions to answer (threshold check)", events[0], 0.42),
                Release("labels of answered queries", events[1], 1.58),
            ),
            accounting="exact Gaussian differential privacy, data-independent",
        ),
        seed=7,
        spending=Spending(tuple(float(e) for e in spent), int(passed.sum()), cap=2.0),
        agreement=Agreement.of(votes),
        notes=("The figures on this page are invented and mean nothing.",),
        this_start=(
            "Found from an earlier start: teachers, votes.",
            "All 400 answers came from the store; this start spent nothing.",
        ),
        ledger=(12, "3f9a0c5d" * 8),
        config={
            "method": {"name": "pate", "threshold": 200.0, "queries": 400},
            "data": {"name": "made_up", "root": None},
        },
        versions={"stillhouse": "0.1.0", "torch": "2.14.1", "ray": "2.60.0", "python": "3.11.7"},
    )
