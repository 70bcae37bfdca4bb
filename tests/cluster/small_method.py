"""A small method for the tests of `cluster.train`: importable by the workers, so it is pickled by name."""

import os
import platform
import signal
from dataclasses import dataclass

import torch
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.statement import PrivacyStatement
from stillhouse.platform.training.loop import train
from stillhouse.platform.training.outcome import Metric, Outcome


@dataclass(frozen=True)
class Small:
    """Learns the sign of a sum; can fail or die on purpose."""

    epochs: int = 3
    fail: str = ""

    def fit(self, data, run):
        images, labels = data
        mean = run.stage("mean", lambda: {"mean": images.mean(0), "draw": torch.rand(2, generator=run.generator)}, "v1")
        asked = run.stage("asked", lambda: {"rank": run.world.rank}, once=True)
        if self.fail == "budget":
            raise BudgetExhausted("nothing is left", why="all was spent", mend="grant more")
        if self.fail == "bug":
            raise KeyError("a bug")
        model = torch.nn.Sequential(torch.nn.Linear(images.shape[1], 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

        def after_step(step):
            flag = run.folder / "died"
            if self.fail == "die" and step == 10 and run.world.first and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        trained = train(
            run,
            model,
            lambda net, batch: torch.nn.functional.cross_entropy(net(batch[0]), batch[1]),
            run.loader((images - mean["mean"], labels), 16),
            torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9),
            epochs=self.epochs,
            name="student",
            after_step=after_step,
            checkpoint_seconds=0,
        )
        run.image("mean", torch.rand(4, 4))
        with torch.no_grad():
            accuracy = (model(images - mean["mean"]).argmax(1) == labels).double().mean().item()
        metrics = {
            "loss": Metric(trained.loss, "nats", "lower"),
            "accuracy": Metric(accuracy, "fraction", "higher"),
            "draw": Metric(mean["draw"].sum().item(), "1"),
            "weight": Metric(sum(p.double().sum().item() for p in model.parameters()), "1"),
        }
        notes = (platform.__file__, f"asked on rank {asked['rank']}", f"world {run.world.size}")
        return Outcome("small", metrics, STATEMENT, notes=notes)


STATEMENT = PrivacyStatement(
    epsilon=0.0,
    delta=1e-5,
    neighbouring="replace one record",
    unit="record",
    coverage="covered",
    reasons=(),
    releases=(),
    accounting="public data",
)


def public_data():
    images = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
    return images, (images.sum(1) > 0).long()
