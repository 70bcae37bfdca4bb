"""A training that kills itself with SIGKILL at a chosen moment: `killed_run.py FOLDER [step:N | aside:N | renamed:N]`.

Momentum, a scheduler, dropout, draws of the loss from the run's generator, and a kept average of weights: whatever a
checkpoint could forget is here.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

import torch
from stillhouse.platform.training import checkpoints, files
from stillhouse.platform.training.loop import train
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.seeds import seeded


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_around_rename(moment, number):
    count, replace = 0, files.replace

    def watched(path, fill):
        nonlocal count
        count += 1

        def fill_and_die(aside):
            target = fill(aside)
            if count == number and moment == "aside":
                die()
            return target

        target = replace(path, fill_and_die)
        if count == number and moment == "renamed":
            die()
        return target

    checkpoints.replace = watched


def main(folder, moment="", number="0"):
    torch.set_num_threads(1)
    if moment in ("aside", "renamed"):
        kill_around_rename(moment, int(number))
    run = LocalRun(folder, seed=11, reporter=Silent())
    images = run.stage("data", lambda: torch.randn(90, 8, generator=run.generator))
    labels = (images.sum(1) > 0).long()
    with seeded(run.seed_for("model")):
        layers = [torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 2)]
        model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    average = torch.optim.swa_utils.AveragedModel(model)

    def loss_fn(net, batch):
        x, y = batch
        noisy = x + 0.1 * torch.randn(x.shape, generator=run.generator)
        return torch.nn.functional.cross_entropy(net(noisy), y)

    def after_step(step):
        average.update_parameters(model)
        if moment == "step" and step == int(number):
            die()

    trained = train(
        run,
        model,
        loss_fn,
        run.loader((images, labels), 16),
        optimizer,
        epochs=4,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=24),
        scheduler_every="step",
        clip_norm=1.0,
        after_step=after_step,
        extras={"average": average},
        checkpoint_seconds=0,
        check_every=4,
    )
    digest = hashlib.sha256()
    for state in (model.state_dict(), average.state_dict()):
        for name, tensor in state.items():
            digest.update(name.encode() + tensor.numpy().tobytes())
    digest.update(repr(sorted(trained.means.items())).encode())
    digest.update(torch.rand(4, generator=run.generator).numpy().tobytes())
    print(digest.hexdigest(), trained.steps, trained.resumed_at)


main(Path(sys.argv[1]), *(sys.argv[2].split(":") if len(sys.argv) > 2 else []))
