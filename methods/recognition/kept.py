"""What many runs need alike (a teacher's weights, its embeddings): kept beside the runs, under a hash of what it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from torch import nn

from ...platform.training.run import Run
from ...platform.training.stages import MISSING, Stages
from ...platform.training.values import encode


def kept_beside(run: Run, name: str, make: Callable[[], Any], inputs: Any) -> Any:
    """The value of `make`, which every process of the run calls unless a run beside this one has kept it.

    It lies in `shared/recognition` beside the run's folder. `inputs` (JSON) is all that it depends on, a seed included.
    """
    store = Stages(run.folder.resolve().parent / "shared" / "recognition", seed=0, say=run.say)
    found = store.find(name, inputs) if run.world.first else None
    if run.agree(found is not MISSING):
        run.reused.append(name)
        run.say(f"{name}: found beside the runs, not made again")
        return found if run.world.first else store.find(name, inputs)
    value = make()
    if run.world.first:
        store.keep(name, inputs, value)
    run.agree(True)  # The others go on when it is on disk.
    # What processes made may differ (running statistics of batch norms are each one's own): all take the first one's.
    return value if run.world.first else store.find(name, inputs)


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a network's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encode(dict(network.state_dict()))[1].items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
