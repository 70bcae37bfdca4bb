from __future__ import annotations

from typing import Any

import pytest
from stillhouse.methods.noisy_labels.multilabel.method import NoisyMultiLabel
from stillhouse.methods.noisy_labels.multilabel.settings import Estimator, Training
from stillhouse.platform.errors import BadInput


def test_what_the_method_says_of_itself() -> None:
    assert NoisyMultiLabel.works_on == "multilabel"
    assert not NoisyMultiLabel.charges
    assert NoisyMultiLabel().estimator.known_zero == "none"  # no estimator looks at which true rate is zero


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"risk": "l2"}, "reweight"), ({"refused": "drop"}, "plain"), ({"gce_power": 0.0}, "gce_power"),
        ({"validation": 1.0}, "validation"), ({"sample_epoch": 30}, "keep sample_epochs"),
        ({"sample_epochs": 11}, "keep sample_epochs"),
        ({"estimator": Estimator(kind="none")}, "method.risk=bce"), ({"algorithm": "a b"}, "name"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        NoisyMultiLabel(**wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Estimator, {"kind": "pair"}), (Estimator, {"consensus": "mean"}), (Estimator, {"known_zero": "both"}),
        (Estimator, {"selection": "all"}), (Estimator, {"least_selected": 0}), (Estimator, {"confidence": 1.0}),
        (Training, {"epochs": 0}), (Training, {"learning_rate": 0.0}), (Training, {"clip_norm": 0.0}), (Training, {"keep": "mean"}),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        kind(**wrong)
