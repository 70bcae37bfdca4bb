"""What a student is made to imitate, beside its class loss: terms and their weights, by name. A weight of 0 leaves a term out.

    terms = Terms(kd=0.5, crrcd=2.0)                       # CRRCD (equation 13)
    modules = terms.build(sizes, seed)                     # weights, queues and memories of terms; no part of the student
    loss, parts = terms.weighted(batch, modules)           # parts: what each term is before it is weighed
    ...                                                    # backward, step
    terms.after_step(batch, modules)

The terms' own weights start random and have to learn quickly: give `own_parameters(modules)` to an optimiser of their own, such as
Adam with a rate of 1e-3 and no weight decay. Queues and memories are buffers, so `modules.state_dict()` is all that a checkpoint
needs.

>>> Terms(kd=0.5, crrcd=2.0).names
('kd', 'crrcd')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.seeds import seed_for, seeded
from .aird.losses import Instance, InstanceRelation, adapter, relation_term
from .baselines.attention import attention
from .baselines.correlation import correlation
from .baselines.crd import ContrastiveRepresentation, Memory
from .baselines.fitnet import FitNet
from .baselines.kd import kd
from .baselines.maps import check_maps
from .baselines.nst import nst
from .baselines.pkt import pkt
from .baselines.rkd import rkd
from .baselines.sp import sp
from .baselines.stateless import Stateless
from .baselines.vid import VariationalInformation
from .crrcd.loss import Relation, RelationalContrast, silent
from .seen import Batch, Seen, Sizes

NAMES = (
    "kd", "fitnet", "at", "sp", "rkd", "pkt", "crd", "cc", "vid", "nst", "crrcd", "instance", "relation",
)  # fmt: skip
SP_ON = ("map", "embedding")


@dataclass(frozen=True)
class Terms:
    """Weights of the terms, and their settings.

    RepDistiller's weights: fitnet 100, at 1000, sp 3000, rkd 1 (with 25 and 50 inside), pkt 30000, crd 0.8, vid 1, nst 50, for its
    networks and CIFAR-100. `cc` has another formula here (see `baselines.correlation`). CRRCD: kd 0.5, crrcd 2.

    Args:
        kd, fitnet, at, sp, rkd, pkt, crd, cc, vid, nst: weights; see `baselines`.
        crrcd: weight of the relational contrastive loss.
        instance, relation: weights of AIRD's two losses.
        kd_temperature: of kd.
        fitnet_hint: which pair of maps; None: the middle one.
        sp_on: map (the last) or embedding.
        rkd_distance, rkd_angle: weights inside rkd; rkd_normalise: whether it compares unit embeddings.
        cc_gamma, cc_order: kernel of cc.
        crd_settings, crrcd_settings, aird_settings: of those terms.
    """

    kd: float = 0.0
    fitnet: float = 0.0
    at: float = 0.0
    sp: float = 0.0
    rkd: float = 0.0
    pkt: float = 0.0
    crd: float = 0.0
    cc: float = 0.0
    vid: float = 0.0
    nst: float = 0.0
    crrcd: float = 0.0
    instance: float = 0.0
    relation: float = 0.0
    kd_temperature: float = 4.0
    fitnet_hint: int | None = None
    sp_on: str = "map"
    rkd_distance: float = 25.0
    rkd_angle: float = 50.0
    rkd_normalise: bool = False
    cc_gamma: float = 0.4
    cc_order: int = 2
    crd_settings: Memory = field(default_factory=Memory)
    crrcd_settings: Relation = field(default_factory=Relation)
    aird_settings: InstanceRelation = field(default_factory=InstanceRelation)

    def __post_init__(self) -> None:
        non_negative(**{name: getattr(self, name) for name in NAMES})
        non_negative(rkd_distance=self.rkd_distance, rkd_angle=self.rkd_angle)
        positive(kd_temperature=self.kd_temperature, cc_gamma=self.cc_gamma)
        positive_int(cc_order=self.cc_order)
        if self.sp_on not in SP_ON:
            raise BadInput(f"sp_on is {self.sp_on!r}", mend=f"use one of {', '.join(SP_ON)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are on."""
        return tuple(name for name in NAMES if getattr(self, name))

    @property
    def needs_maps(self) -> bool:
        """Whether a term compares feature maps."""
        return bool({"fitnet", "at", "vid", "nst"} & set(self.names)) or bool(self.sp and self.sp_on == "map")

    def build(self, sizes: Sizes, seed: int) -> nn.ModuleDict:
        """The terms that are on, by name; the weights of each depend on the seed and its name only.

        BadInput if a term needs maps and a network has none, or supervised negatives and there is one identity.
        """
        with seeded(seed_for(seed, "terms", "adapter")):
            shared = adapter(sizes) if self.instance or self.relation else nn.Identity()
        modules = nn.ModuleDict()
        for name in self.names:
            with seeded(seed_for(seed, "terms", name)):
                modules[name] = self._makers(sizes, shared)[name]()
        return modules

    def weighted(self, batch: Batch, modules: nn.ModuleDict) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighed sum, and the terms' values (detached) by name, with what CRRCD measures: `crrcd_below_floor` and others.

        At least in single precision, whatever the networks computed in. A term whose schedule is at 0 is computed for the log only.
        """
        batch = in_full(batch)
        parts: dict[str, Tensor] = {}
        total = batch.student.embedding.new_zeros(())
        with torch.autocast(batch.labels.device.type, enabled=False):
            for name, term in modules.items():
                weight = getattr(self, name) * _schedule(term, batch.progress)
                with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                    value = term(batch)
                total = total + (weight * value if weight > 0 else silent(term))
                parts[name] = value.detach()
                if isinstance(term, RelationalContrast):
                    parts |= {f"{name}_{what}": measure for what, measure in term.measures.items()}
        return total, parts

    def after_step(self, batch: Batch, modules: nn.ModuleDict) -> None:
        """To be called once the optimiser has stepped: what later batches are compared with is remembered."""
        batch = in_full(batch)
        with torch.no_grad(), torch.autocast(batch.labels.device.type, enabled=False):
            for term in modules.values():
                term.after_step(batch)  # type: ignore[operator]

    def _makers(self, sizes: Sizes, shared: nn.Module) -> Mapping[str, Callable[[], nn.Module]]:
        def of_maps(name: str, function: Callable[[Batch], Tensor]) -> nn.Module:
            check_maps(name, sizes)
            return Stateless(function)

        return {
            "kd": lambda: Stateless(partial(kd, temperature=self.kd_temperature)),
            "fitnet": lambda: FitNet(sizes, self.fitnet_hint),
            "at": lambda: of_maps("at", attention),
            "sp": lambda: of_maps("sp", sp) if self.sp_on == "map" else Stateless(partial(sp, on="embedding")),
            "rkd": lambda: Stateless(
                partial(rkd, distance=self.rkd_distance, angle=self.rkd_angle, normalise=self.rkd_normalise)
            ),
            "pkt": lambda: Stateless(pkt),
            "crd": lambda: ContrastiveRepresentation(sizes, self.crd_settings),
            "cc": lambda: Stateless(partial(correlation, gamma=self.cc_gamma, order=self.cc_order)),
            "vid": lambda: VariationalInformation(sizes),
            "nst": lambda: of_maps("nst", nst),
            "crrcd": lambda: RelationalContrast(sizes, self.crrcd_settings),
            "instance": lambda: Instance(self.aird_settings, shared),
            "relation": lambda: relation_term(sizes, self.aird_settings, shared),
        }


def own_parameters(modules: nn.ModuleDict) -> list[nn.Parameter]:
    """The weights of terms, each once; for an optimiser of their own. Empty if no term has any."""
    return list(modules.parameters())


def in_full(batch: Batch) -> Batch:
    """The batch with half-precision tensors in single precision."""
    return replace(
        batch,
        teacher=_seen_in_full(batch.teacher),
        student=_seen_in_full(batch.student),
        teacher_logits=_full(batch.teacher_logits),
        student_logits=_full(batch.student_logits),
    )


def _seen_in_full(seen: Seen) -> Seen:
    return Seen(_full(seen.embedding), tuple(_full(one) for one in seen.maps))


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _schedule(term: nn.Module, progress: float) -> float:
    return term.settings.schedule(progress) if isinstance(term, RelationalContrast) else 1.0
