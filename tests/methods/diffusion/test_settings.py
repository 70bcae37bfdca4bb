"""Modes and settings: what is promised, and what does not fit together."""

from __future__ import annotations

import pytest
from stillhouse.methods.diffusion import DpSad
from stillhouse.methods.diffusion.distilling import Distillation
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.platform.diffusion.discriminator import Critic
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.neighbours import ADD_OR_REMOVE, REPLACE_ONE
from stillhouse.platform.privacy.statement import NOT_ESTABLISHED

from .tiny import method


def test_the_method_as_described_wants_a_word_first() -> None:
    with pytest.raises(BadInput, match=f"promises nothing: {NOT_ESTABLISHED}"):
        DpSad(mode="as_described", noise_multiplier=1.0)
    with pytest.raises(BadInput, match="needs its sigma"):
        DpSad(mode="as_described", acknowledge_no_guarantee=True)
    assert not method("as_described").charges


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_says_what_it_works_on_and_which_budget_it_needs(mode: Mode) -> None:
    made = method(mode)
    terms = made.budget_terms(epsilon=5.0, delta=1e-5)
    assert made.charges == mode.covered == (terms is not None)
    assert made.works_on == ("ensemble" if mode.asks_teachers else "labelled") and made.asks == mode.asks_teachers
    if terms is None:
        return
    kinds = {
        Mode.RELEASED_TARGETS: (BudgetKind.GAUSSIAN, REPLACE_ONE),
        Mode.AGGREGATED_OUTPUT_GRAD: (BudgetKind.GAUSSIAN, REPLACE_ONE),
        Mode.SHARDED_OUTPUT_GRAD: (BudgetKind.RDP, REPLACE_ONE),
        Mode.DPSGD_STUDENT: (BudgetKind.RDP, ADD_OR_REMOVE),
        Mode.DP_TEACHER: (BudgetKind.RDP, ADD_OR_REMOVE),
    }
    assert (terms.kind, terms.neighbouring) == kinds[mode]
    assert len(terms.orders) == (terms.kind is BudgetKind.RDP)


def test_no_form_of_the_method_as_described_has_an_epsilon() -> None:
    """Undivided noise removes one of three reasons, and what is said is what is left."""
    said = [method("as_described", dilution=dilution).why_uncovered for dilution in (True, False)]
    assert all(
        NOT_ESTABLISHED in line and "fed noised records" in line and "part in the teacher" in line for line in said
    )
    assert ["divided by the number of diffusion steps" in line for line in said] == [True, False]


def test_the_default_is_the_variant_whose_cost_does_not_grow_with_training() -> None:
    assert DpSad().which is Mode.RELEASED_TARGETS


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "v4"}, "mode is 'v4'"),
        ({"labels": "empirical"}, "labels is 'empirical'"),
        ({"labels": "histogram"}, "the histogram of the records is private"),
        ({"queries": 3}, "3 queries for 4 rounds"),
        ({"rungs": 7}, "7 steps of a chain of 500"),
        ({"centre": -1.5}, "centre is -1.5"),
        ({"normalise": True}, "only gradients have a direction"),
        ({"normalise": True, "mode": "dpsgd_student"}, "only gradients have a direction"),
        ({"clip": 0.0}, "clip"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"algorithm": "../up"}, "up"),
        *[
            ({"mode": mode, "distillation": Distillation(**{name: value})}, f"with method.distillation.{name}")
            for mode in ("aggregated_output_grad", "sharded_output_grad")
            for name, value in (
                ("adversarial", 0.0),
                ("saturating", False),
                ("critic", Critic(width=8)),
                ("critic_rate", 0.1),
            )
        ],
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        DpSad(**wrong)  # type: ignore[arg-type]
