"""Which runs may have their votes added up securely, and by which mechanism."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.budget import budget_terms
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.secured import secured
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.distributed_mechanisms import SharedConfidentGNMax, SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare

SECURE = ["method=pate", "data=digits", "silos.teachers=20", "silos.secure=true", "cluster.carrier=flower"]


def test_each_mechanism_becomes_its_form_in_shares(tmp_path: Path) -> None:
    share = {"silos": 20, "dropped": 2, "colluding": 1}
    one = secured(compose([*SECURE, "silos.dropped=2", "privacy=gnmax", "privacy.mechanism.sigma=4"]))
    assert one.mechanism == SharedGNMax(NoiseShare(4.0, **share))
    both = secured(
        compose(
            [
                *SECURE,
                "silos.dropped=2",
                "privacy.mechanism.threshold=9",
                "privacy.mechanism.sigma1=6",
                "privacy.mechanism.sigma2=3",
            ]
        )
    )
    assert both.mechanism == SharedConfidentGNMax(9.0, check=NoiseShare(6.0, **share), answer=NoiseShare(3.0, **share))
    # Sums of discrete Gaussians have no exact Gaussian conversion.
    assert budget_terms(one).kind is BudgetKind.ZCDP


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    plain = compose(["method=pate", "data=digits", "privacy=gnmax"])
    assert secured(plain) is plain and budget_terms(plain).kind is BudgetKind.GAUSSIAN


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("cluster.carrier=ray", "stillhouse federate"),
        ("privacy=lnmax", "not offered with noise in shares"),
        ("privacy=histogram", "not offered with noise in shares"),
    ],
    ids=["ray", "laplace", "histogram"],
)
def test_what_cannot_be_added_up_securely_is_refused(change: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        secured(compose([*SECURE, change]))


def test_noise_that_nothing_is_proven_for_is_refused() -> None:
    with pytest.raises(BadInput):
        secured(compose([*SECURE, "privacy=gnmax", "privacy.mechanism.sigma=1"]))
