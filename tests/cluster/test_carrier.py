"""Which silos can be Flower clients: found out before anything starts, and no part of a run's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.carrier import check_carrier
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import run
from stillhouse.platform.errors import BadInput

FLOWER = ["method=pate", "data=digits", "cluster.carrier=flower"]


def test_who_carries_is_no_part_of_a_runs_name() -> None:
    assert compose(FLOWER).folder == compose(FLOWER[:2]).folder
    check_carrier(compose(FLOWER))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("cluster.carrier=pigeon", "unknown cluster.carrier 'pigeon'"), ("method=dpsgd", "asks no silos"),
        ("method=m3d", "asks no silos"), ("silos.address=127.0.0.1:1", "simulated on this machine"),
        ("cluster.address=auto", "simulated on this machine"), ("silos.label=home", "place Ray actors"),
        ("silos.per_actor=2", "place Ray actors"), ("method=dpsad silos=diffusion", "answer with vectors"),
    ],
    ids=["carrier", "asks-none", "no-ensemble", "aggregator", "cluster", "label", "packing", "vectors"],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_starts(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        run(compose([*FLOWER, *more.split(), f"root={tmp_path}"]))
    assert not list(tmp_path.iterdir())
