"""How many trials fit side by side, and which do not fit at all."""

from __future__ import annotations

import pytest
from stillhouse.cluster.config.compose import Resolved, compose
from stillhouse.cluster.sweep.room import room_for
from stillhouse.platform.errors import ConfigError


@pytest.fixture(scope="module")
def condensing() -> Resolved:
    return compose(["data=digits", "method=random_real"])


@pytest.mark.parametrize(
    ("wanted", "cpus", "trials", "threads"),
    [(None, 4, 4, 1), (2, 4, 2, 2), (1, 4, 1, 4), (9, 4, 4, 1), (None, 1, 1, 1), (3, 10, 3, 3)],
)
def test_a_trial_takes_a_cpu(condensing: Resolved, wanted: int | None, cpus: int, trials: int, threads: int) -> None:
    room = room_for([condensing], wanted, cluster={"CPU": cpus})
    assert (room.trials, room.threads) == (trials, threads)
    assert bool(room.why) == (wanted is not None and wanted > trials)


def test_training_workers_and_gpus_bound_it() -> None:
    workers = compose(
        ["data=digits", "method=random_real", "cluster.workers=2", "cluster.cpus_per_worker=3", "cluster.use_gpu=true"]
    )
    assert room_for([workers], None, cluster={"CPU": 32, "GPU": 5}).trials == 2
    assert room_for([workers], None, cluster={"CPU": 13, "GPU": 100}).trials == 2
    with pytest.raises(ConfigError, match=r"a trial's training wants 6 CPUs of 4, 2 GPUs of 0"):
        room_for([workers], None, cluster={"CPU": 4})


def test_trials_that_question_an_ensemble_go_one_after_another(condensing: Resolved) -> None:
    asking = compose(["data=digits", "method=pate"])
    room = room_for([condensing, asking], 3, cluster={"CPU": 8})
    assert (room.trials, room.threads) == (1, 8) and "one after another" in room.why


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("silos.per_actor=4", "10 silo actors want 10 CPUs, the cluster has 2"),
        ("silos.cpus_per_actor=3", "1 silo actors want 3 CPUs"),
        ("silos.gpus_per_actor=1", "2 silo actors want 2 GPUs, the cluster has 0"),
        ("cluster.workers=2", "want 3 CPUs, the cluster has 2"),
    ],
)
def test_silos_that_would_wait_for_ever_are_refused_beforehand(more: str, complaint: str) -> None:
    asking = compose(["data=digits", "method=pate", "silos.teachers=40", more])
    with pytest.raises(ConfigError) as caught:
        room_for([asking], None, cluster={"CPU": 2})
    assert complaint in str(caught.value)
