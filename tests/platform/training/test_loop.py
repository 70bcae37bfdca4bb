import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.training.loop import train
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.seeds import seeded

SCRIPT = Path(__file__).parent / "killed_run.py"


def start_script(folder, *moment):
    return subprocess.run(
        [sys.executable, SCRIPT, folder, *moment], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    done = start_script(tmp_path_factory.mktemp("whole") / "run")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("moment", "resumed_at"),
    [
        # Each starts two processes that import torch, so the default suite has two: inside an epoch and between two.
        ("step:11", "10"),  # right after a checkpoint inside an epoch
        ("aside:5", "12"),  # a checkpoint between epochs is the last; the next is written aside, not yet renamed
        pytest.param("step:2", "None", marks=pytest.mark.slow),  # before any checkpoint
        pytest.param("step:10", "6", marks=pytest.mark.slow),  # just before a checkpoint inside an epoch
        pytest.param("renamed:5", "16", marks=pytest.mark.slow),  # renamed, an old one not yet deleted
    ],
)
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path, undisturbed, moment, resumed_at):
    killed = start_script(tmp_path / "run", moment)
    assert killed.returncode == -signal.SIGKILL
    resumed = start_script(tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    digest, steps, at = resumed.stdout.split()
    assert at == resumed_at
    assert [digest, steps] == undisturbed[:2] == [undisturbed[0], "24"]


IMAGES = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES[:, 0] > 0).long()


def job(run, *, epochs=3, lr=0.1, name="train", loss_fn=None, batch_size=16, **options):
    with seeded(run.seed_for("model")):
        model = torch.nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loss_fn = loss_fn or (lambda net, batch: torch.nn.functional.cross_entropy(net(batch[0]), batch[1]))
    loader = run.loader((IMAGES, LABELS), batch_size)
    return model, train(run, model, loss_fn, loader, optimizer, epochs=epochs, name=name, **options)


def test_it_learns_and_logs(run):
    model, trained = job(run, epochs=20)
    assert (model(IMAGES).argmax(1) == LABELS).float().mean() > 0.9
    losses = [value for _, value in read_metrics(run.folder / "metrics.jsonl")["train/loss"]]
    assert trained.steps == 80 and len(losses) == 20 and trained.loss == losses[-1] < losses[0]


def test_the_seed_decides_the_result(start):
    weights = [job(start(seed=s, name=n)[0])[0].weight for s, n in [(1, "a"), (1, "b"), (2, "c")]]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_second_start_finds_it_trained(start):
    first, trained = job(start()[0])
    run, said = start()
    second, again = job(run)
    assert torch.equal(first.weight, second.weight) and again.means == trained.means
    assert run.reused == ["train"] and "found" in said.said[-1]


@pytest.mark.parametrize("change", [{"epochs": 4}, {"lr": 0.05}, {"batch_size": 8}, {"inputs": {"labels": "other"}}])
def test_a_checkpoint_of_another_training_is_not_taken_over(start, change):
    job(start()[0])
    run, said = start()
    _, trained = job(run, **change)
    assert trained.resumed_at is None and "other settings" in said.said[0]
    fresh, _ = job(start(name="fresh")[0], **change)
    assert torch.equal(fresh.weight, job(start()[0], **change)[0].weight)


def test_a_checkpoint_of_another_seed_is_not_taken_over(start):
    first, _ = job(start(seed=1)[0])
    run, said = start(seed=2)
    second, trained = job(run)
    assert trained.resumed_at is None and "other settings" in said.said[0]
    assert not torch.equal(first.weight, second.weight)


def test_a_damaged_checkpoint_costs_one_checkpoint_not_the_run(start):
    first, _ = job(start()[0], checkpoint_seconds=0)
    run, said = start()
    newest = max((run.folder / "checkpoints" / "train").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    second, trained = job(run, checkpoint_seconds=0)
    assert torch.equal(first.weight, second.weight) and trained.resumed_at == 8
    assert "damaged" in said.said[0]


def test_the_outside_draws_the_same_whether_it_was_trained_or_found(start):
    def outside():
        run, _ = start()
        torch.manual_seed(5)
        job(run)
        return torch.rand(3), torch.rand(3, generator=run.generator)

    for one, two in zip(outside(), outside(), strict=True):
        assert torch.equal(one, two)


def test_two_trainings_in_one_run_do_not_meet(run):
    one, _ = job(run, name="one")
    two, _ = job(run, name="two")
    assert not torch.equal(one.weight, two.weight)
    assert {p.name for p in (run.folder / "checkpoints").iterdir()} == {"one", "two"}


def test_each_record_is_seen_once_an_epoch_in_another_order_each_time(run):
    seen = []

    def loss_fn(net, batch):
        seen.extend(batch[0][:, 0].tolist())
        return net(batch[0]).sum() * 0

    job(run, loss_fn=loss_fn, epochs=2)
    assert sorted(seen[:64]) == sorted(seen[64:]) == sorted(IMAGES[:, 0].tolist())
    assert seen[:64] != seen[64:]


def test_named_losses_are_logged_and_loss_is_minimised(run):
    def loss_fn(net, batch):
        loss = torch.nn.functional.cross_entropy(net(batch[0]), batch[1])
        return {"loss": loss, "size": torch.tensor(float(len(batch[0])))}

    _, trained = job(run, loss_fn=loss_fn)
    assert trained.means["size"] == 16


def test_a_term_that_joins_late_is_averaged_over_the_steps_that_had_it(run):
    steps = []

    def loss_fn(net, batch):
        steps.append(None)
        loss = net(batch[0]).square().mean()
        return {"loss": loss, "late": torch.tensor(7.0)} if len(steps) > 3 else {"loss": loss}

    _, trained = job(run, loss_fn=loss_fn, epochs=1)
    assert len(steps) == 4 and trained.means["late"] == 7


def test_evaluation_runs_each_epoch_without_gradients_in_eval_mode(run):
    modes = []

    def evaluate(net):
        modes.append((net.training, torch.is_grad_enabled()))
        return {"accuracy": 0.5}

    job(run, evaluate=evaluate)
    assert modes == [(False, False)] * 3
    assert len(read_metrics(run.folder / "metrics.jsonl")["train/accuracy"]) == 3


def test_clipping_bounds_the_step(start):
    def explode(net, batch):
        return 1e6 * net(batch[0]).sum()

    with seeded(start()[0].seed_for("model")):
        before = torch.nn.Linear(5, 2)
    after, _ = job(start()[0], epochs=1, loss_fn=explode, batch_size=64, lr=1.0, clip_norm=0.5)
    moved = torch.cat([(after.weight - before.weight).flatten(), after.bias - before.bias]).norm().item()
    assert moved == pytest.approx(0.5, rel=1e-3)


def test_bfloat16_learns(run):
    model, _ = job(run, epochs=20, precision="bfloat16")
    assert model.weight.dtype == torch.float32
    assert (model(IMAGES).argmax(1) == LABELS).float().mean() > 0.9


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(run):
    with pytest.raises(RunFailed, match="learning rate"):
        job(run, loss_fn=lambda net, batch: net(batch[0]).sum() * float("nan"))


def test_nonsense_is_refused(run):
    with pytest.raises(BadInput):
        job(run, epochs=0)
    with pytest.raises(BadInput, match="float8"):
        job(run, precision="float8")
