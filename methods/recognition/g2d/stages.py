"""G2D's modules, and how they are trained one after the other: what was trained is frozen before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ....platform.errors import RunFailed
from ....platform.training.run import Run
from ....platform.training.seeds import seeded
from ..kept import weights_hash
from ..seen import Seen
from .mask_map import MaskMap
from .networks import Decoder, Descriptor, Encoder
from .reformer import Reformer, Reforming


@dataclass(frozen=True)
class Network:
    """Form of the whole network.

    Args:
        descriptor: of encoder and decoder.
        reformer: of the reformer.
    """

    descriptor: Descriptor = field(default_factory=Descriptor)
    reformer: Reforming = field(default_factory=Reforming)


class MaskedRecogniser(nn.Module):
    """What is used in the end: pictures (B, 3, s, s) in [0, 1], masked or not, to a `Seen` without maps."""

    def __init__(self, network: Network, mask_map: str) -> None:
        super().__init__()
        self.maps = MaskMap(mask_map)
        self.encoder = Encoder(network.descriptor)
        self.reformer = Reformer(network.descriptor.channels, network.reformer)
        self.embedding_length = network.reformer.embedding

    def forward(self, pictures: Tensor) -> Seen:
        """The embedding."""
        return Seen(self.reformer(self.encoder(pictures, self.maps(pictures))))


@dataclass(frozen=True, eq=False)
class Modules:
    """The recogniser, and the decoder of its first stage, which is thrown away."""

    recogniser: MaskedRecogniser
    decoder: Decoder

    @property
    def maps(self) -> MaskMap:
        """What tells where the mask is."""
        return self.recogniser.maps

    @property
    def encoder(self) -> Encoder:
        """The first module."""
        return self.recogniser.encoder

    @property
    def reformer(self) -> Reformer:
        """The second."""
        return self.recogniser.reformer


def fresh_modules(run: Run, network: Network, mask_map: str) -> Modules:
    """Modules with first weights that depend on the run's seed alone, on its device."""
    with seeded(run.seed_for("g2d")):
        recogniser = MaskedRecogniser(network, mask_map)
    with seeded(run.seed_for("g2d", "decoder")):
        decoder = Decoder(network.descriptor)
    return Modules(recogniser.to(run.device), decoder.to(run.device))


@contextmanager
def held(**modules: nn.Module | None) -> Iterator[None]:
    """Keep modules as they are: in evaluation and without gradients; afterwards every bit of them is compared.

    Raises:
        RunFailed: a weight or a buffer is another than before.
    """
    here = {name: module for name, module in modules.items() if module is not None}
    before = {name: weights_hash(module) for name, module in here.items()}
    wanted = [(parameter, parameter.requires_grad) for module in here.values() for parameter in module.parameters()]
    for module in here.values():
        module.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, needs in wanted:
            parameter.requires_grad_(needs)
    changed = [name for name, module in here.items() if weights_hash(module) != before[name]]
    if changed:
        raise RunFailed(
            f"{', '.join(changed)} changed while another module was trained",
            why="it is frozen in this stage", mend="report this: it is a bug",
        )  # fmt: skip


def kept_stage(
    run: Run, name: str, modules: Mapping[str, nn.Module], work: Callable[[], Mapping[str, float]], inputs: Any
) -> dict[str, float]:
    """Train modules by `work`, or load what an earlier start trained; what `work` measured comes with them."""

    def trained() -> dict[str, Any]:
        figures = dict(work())
        return {"weights": {key: module.state_dict() for key, module in modules.items()}, "figures": figures}

    value = run.stage(name, trained, inputs)
    for key, module in modules.items():
        module.load_state_dict(value["weights"][key])
        module.eval()
    figures: dict[str, float] = value["figures"]
    return figures
