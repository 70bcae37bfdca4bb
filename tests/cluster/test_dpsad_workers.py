"""DP-SAD with cluster.workers=2. V4: the silos are asked once, two workers teach the student, and it is the student of one process. The
teacher who has all records learns on two workers as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import Finished, run
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion.denoising import denoising_losses
from stillhouse.platform.diffusion.networks import Network, fresh
from stillhouse.platform.diffusion.sampling import centred
from stillhouse.platform.diffusion.schedule import Schedule
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.training.seeds import seed_for

# One round, so that a second run asks the very question of the first and is answered from the store; hardly any noise, since the
# student's critic sees noise of that size that the workers draw for themselves.
SMALL = [
    "method=dpsad", "data=digits", "data.score=test", "silos=diffusion", "silos.teachers=3", "silos.per_actor=3",
    "silos.teacher.hidden=16", "silos.teacher.steps=20", "silos.teacher.critic_width=8", "silos.deadline_seconds=200",
    "method.rungs=1", "method.queries=40", "method.noise_multiplier=0.001", "method.student.hidden=16",
    "method.distillation.steps=20", "method.distillation.batch_size=20", "method.distillation.critic.width=16",
    "method.judging.images=40", "method.judging.evaluation.repeats=2", "method.judging.evaluation.recipe.steps=2",
    "method.judging.proxy.steps=2", "privacy.target_epsilon=1e9", "diagnostics=false", "cluster.num_cpus=3", "seed=1",
]  # fmt: skip


def start(root: Path, name: str, workers: int) -> Finished:
    return run(compose([*SMALL, f"root={root}", f"name={name}", f"cluster.workers={workers}"]))


@pytest.mark.slow
def test_two_workers_teach_the_student_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    alone = start(tmp_path, "alone", 0)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        spent = ledger.budget("digits").spent_epsilon
        charges = [entry.content["event"] for entry in ledger.entries("digits") if entry.what == "charge"]
    both = start(tmp_path, "both", 2)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").spent_epsilon == spent, "what was paid for once is not paid for again"
    assert len(charges) == 1 and charges[0]["count"] == 40
    assert both.outcome.privacy == alone.outcome.privacy
    weights = [load_file(finished.folder / "student.safetensors") for finished in (alone, both)]
    begun = fresh(Network(hidden=16), (1, 8, 8), 10, seed_for(1, "student")).state_dict()
    for name, value in weights[0].items():
        moved, apart = (value - begun[name]).norm(), (weights[1][name] - value).norm()
        assert moved > 0 and apart < 0.02 * moved, name
    assert torch.isfinite(torch.tensor([metric.value for metric in both.outcome.metrics.values()])).all()


@pytest.mark.slow
def test_two_workers_train_a_teacher(tmp_path: Path) -> None:
    """Each worker draws its own steps and noise, so it is another teacher than one process's; it learns all the same."""
    pytest.importorskip("diffusers")
    settings = [one for one in SMALL if one.startswith(("method.judging", "data", "diagnostics", "cluster", "seed"))]
    finished = run(
        compose(
            [
                "method=dpsad_nonprivate", *settings, f"root={tmp_path}", "cluster.workers=2", "method.teacher.hidden=32",
                "method.training.steps=200", "method.training.batch_size=20", "method.training.learning_rate=3e-3",
            ]
        )
    )  # fmt: skip
    digits = load("digits").score.take(range(200))
    generator = torch.Generator().manual_seed(0)
    step, noise = torch.randint(500, (200,), generator=generator), torch.randn(200, 1, 8, 8, generator=generator)
    network = fresh(Network(hidden=32), (1, 8, 8), 10, seed_for(1, "teacher"))
    losses = []
    for weights in (network.state_dict(), load_file(finished.folder / "student.safetensors")):
        network.load_state_dict(weights)
        with torch.no_grad():
            told = centred(torch.from_numpy(digits.images)), torch.from_numpy(digits.labels)
            losses.append(float(denoising_losses(network, Schedule(), *told, step, noise).mean()))
    assert losses[1] < 0.9 * losses[0]
