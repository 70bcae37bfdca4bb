"""What an unlabelled image teaches a student: to answer alike along the manifold, just off it, and firmly.

    total = ramp * (tangent * R_tan + normal * R_nor + vat * R_vat + entropy * R_ent)

R_tan, R_nor, R_vat are mean KL(p(.|x) || p(.|x + r)) at the worst small r along a decoder's manifold, normal to it, and anywhere;
R_ent is the mean entropy of p(.|x). Gradients reach the student's parameters only: through the perturbed answers, and through the
clean ones in R_ent. The directions, the decoder, the latents and the target of the divergence are constants.

>>> Regulariser.named("tnar")
Regulariser(tangent=1.0, normal=1.0, vat=0.0, entropy=1.0, tangent_radius=0.5, normal_radius=0.5, vat_radius=1.0, \
tangent_radius_in='image', power_steps=1, cg_steps=4, exact=False, whole_tangent_space=False, ramp=0.25, chunk=32)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor, nn

from ...platform.errors import BadInput
from .curvature import Curvature, Decoder, Linearisation
from .divergence import entropy, kl
from .inner import column, inner, random_unit
from .normal import normal_direction
from .tangent import RadiusIn, Tangent, exact_tangent_direction, tangent_direction, tangent_space
from .vat import vat_direction

# The ablation of the regulariser's parts: which weights are 1.
NAMED: dict[str, tuple[str, ...]] = {
    "labelled": (),
    "entropy": ("entropy",),
    "vat": ("vat",),
    "tar": ("tangent",),
    "nar": ("normal",),
    "tnar": ("tangent", "normal", "entropy"),
}
WEIGHTS = ("tangent", "normal", "vat", "entropy")


@dataclass(frozen=True)
class Regulariser:
    """Weights (0: off), radii and effort of the unlabelled loss.

    Attributes:
        tangent: weight of the divergence along the manifold.
        normal: weight of the divergence normal to it. Its direction is orthogonal to the tangent one, which is found for it.
        vat: weight of the divergence in the worst direction of all.
        entropy: weight of the answers' entropy.
        tangent_radius: L2 length of the tangent step, in the units of `tangent_radius_in`.
        normal_radius: L2 length in the image of the normal step.
        vat_radius: L2 length in the image of the VAT step.
        tangent_radius_in: "image": ||J eta|| = radius (the paper's constraint); "latent": ||eta|| = radius (its published code's).
        power_steps: power iterations of each direction.
        cg_steps: conjugate gradient steps in each tangent iteration.
        exact: tangent directions by a dense eigenproblem; for at most 64 latents.
        whole_tangent_space: normal directions orthogonal to all tangents, not to the worst alone; for at most 64 latents.
        ramp: share of the training over which the total grows linearly from 0; 0: at full weight from the start.
        chunk: images worked on at once. The result does not depend on it; 32 fit a processor's cache, a GPU wants all of them.
    """

    tangent: float = 0.0
    normal: float = 0.0
    vat: float = 0.0
    entropy: float = 0.0
    tangent_radius: float = 0.5
    normal_radius: float = 0.5
    vat_radius: float = 1.0
    tangent_radius_in: str = "image"
    power_steps: int = 1
    cg_steps: int = 4
    exact: bool = False
    whole_tangent_space: bool = False
    ramp: float = 0.25
    chunk: int = 32

    def __post_init__(self) -> None:
        numbers = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in (*WEIGHTS, "tangent_radius", "normal_radius", "vat_radius"):
            if not 0 <= numbers[name] < float("inf"):
                raise BadInput(f"{name}={numbers[name]}", why="weights and radii are finite and not negative")
        for name in ("power_steps", "cg_steps", "chunk"):
            if numbers[name] < 1:
                raise BadInput(f"{name}={numbers[name]}", why="there is at least one")
        if not 0 <= self.ramp <= 1:
            raise BadInput(f"ramp={self.ramp}", why="it is a share of the training, between 0 and 1")
        if self.tangent_radius_in not in ("image", "latent"):
            raise BadInput(f"tangent_radius_in={self.tangent_radius_in!r}", mend="use 'image' or 'latent'")

    @classmethod
    def named(cls, name: str) -> Regulariser:
        """Return one of the ablation: labelled, entropy, vat, tar, nar or tnar, its weights 1."""
        if name not in NAMED:
            raise BadInput(f"no regulariser is named {name!r}", mend=f"use one of {', '.join(NAMED)}")
        tangent, normal, vat, entropy = (float(term in NAMED[name]) for term in WEIGHTS)
        return cls(tangent=tangent, normal=normal, vat=vat, entropy=entropy)

    @property
    def active(self) -> tuple[str, ...]:
        """The terms that are on."""
        return tuple(name for name in WEIGHTS if getattr(self, name))

    def factor(self, progress: float) -> float:
        """Return the ramp's height, 0 to 1, at `progress` in [0, 1]."""
        if not 0 <= progress <= 1:
            raise BadInput(f"progress={progress}", why="it is a share of the training, between 0 and 1")
        return min(1.0, progress / self.ramp) if self.ramp else 1.0

    def loss(
        self,
        student: nn.Module,
        x: Tensor,
        z: Tensor,
        decoder: Decoder,
        *,
        progress: float,
        generator: torch.Generator,
        start: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of unlabelled images.

        The student is in eval mode meanwhile, so that its clean and perturbed answers agree at r = 0 and no statistics move.

        Args:
            student: images (B, c, h, w) to logits (B, K).
            x: the base points: reconstructions g(z) or the samples themselves.
            z: their latents (B, zV); unused, as is the decoder, where neither `tangent` nor `normal` is on.
            decoder: latents to images shaped as `x`, in eval mode: it works sample by sample.
            progress: share of the training that is done.
            generator: source of the random starts.
            start: tangent directions (B, zV) found for these samples before; a row of zeros is drawn afresh. None: all are.

        Returns:
            Scalars: each term that is on, by its name, neither weighted nor ramped; "regulariser", the weighted and ramped sum, always.
            And, where tangent directions were sought, "eta" (B, zV): the next `start` for the same samples.

        Raises:
            BadInput: shapes do not fit together.
        """
        factor = self.factor(progress)
        active = self.active
        on_manifold = bool(self.tangent or self.normal)
        x, z = x.detach(), z.detach()
        if len(x) != len(z) or len(x) == 0 or z.ndim != 2:
            raise BadInput(
                f"{len(x)} images and latents of shape {tuple(z.shape)}", why="every image has its latents (B, zV)"
            )
        starts = {}
        if on_manifold:
            starts["eta"] = _eta(z, generator, start)
        if self.normal:
            starts["normal"] = random_unit(x, generator)
        if self.vat:
            starts["vat"] = random_unit(x, generator)
        found: dict[str, list[Tensor]] = {name: [] for name in (*active, *(["eta"] if on_manifold else []))}
        if active:
            with evaluating(student):
                for at in range(0, len(x), self.chunk):
                    part = slice(at, at + self.chunk)
                    cut = {name: values[part] for name, values in starts.items()}
                    for name, values in self._per_sample(student, x[part], z[part], decoder, cut).items():
                        found[name].append(values)
        joined = {name: torch.cat(parts) for name, parts in found.items()}
        terms = {name: joined[name].mean() for name in active}
        total = sum((factor * getattr(self, name) * terms[name] for name in active), x.new_zeros(()))
        return {**terms, "regulariser": total, **({"eta": joined["eta"]} if on_manifold else {})}

    def _per_sample(
        self, student: nn.Module, x: Tensor, z: Tensor, decoder: Decoder, starts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return each active term (b,), and eta (b, zV)."""
        found: dict[str, Tensor] = {}
        if self.entropy:
            # Not from the curvature's pass: its gradient would go back to the images too, and hold that pass's graph until then.
            found["entropy"] = entropy(student(x))
        if not starts:
            return found
        curvature = Curvature(student, x)
        clean = curvature.logits
        if "eta" in starts:
            tangent, space = self._tangent(curvature, Linearisation(decoder, z), starts["eta"])
            found["eta"] = tangent.eta
            if self.tangent:
                found["tangent"] = kl(clean, student(x + tangent.displacement))
            if self.normal:
                radius, steps = self.normal_radius, self.power_steps
                normal = normal_direction(
                    curvature,
                    tangent.displacement,
                    starts["normal"],
                    radius=radius,
                    power_steps=steps,
                    tangent_space=space,
                )
                found["normal"] = kl(clean, student(x + normal))
        if self.vat:
            r = vat_direction(curvature, starts["vat"], radius=self.vat_radius, power_steps=self.power_steps)
            found["vat"] = kl(clean, student(x + r))
        return found

    def _tangent(self, curvature: Curvature, manifold: Linearisation, start: Tensor) -> tuple[Tangent, Tensor | None]:
        """Return the tangent direction and, if wanted, the whole tangent space."""
        if manifold.output.shape != curvature.point.shape:
            raise BadInput(
                f"the decoder's images are {tuple(manifold.output.shape)}, the student's {tuple(curvature.point.shape)}"
            )
        # Checked when it was made; a configuration knows texts only.
        radius, radius_in = self.tangent_radius, cast(RadiusIn, self.tangent_radius_in)
        jacobian = manifold.jacobian() if self.exact or (self.whole_tangent_space and self.normal) else None
        space = tangent_space(jacobian) if jacobian is not None and self.whole_tangent_space and self.normal else None
        if jacobian is not None and self.exact:
            return exact_tangent_direction(curvature, manifold, jacobian, radius=radius, radius_in=radius_in), space
        steps, cg_steps = self.power_steps, self.cg_steps
        found = tangent_direction(
            curvature, manifold, start, radius=radius, radius_in=radius_in, power_steps=steps, cg_steps=cg_steps
        )
        return found, space


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode, gradients as they are; afterwards each of its parts is in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _eta(z: Tensor, generator: torch.Generator, start: Tensor | None) -> Tensor:
    drawn = random_unit(z, generator)
    if start is None:
        return drawn
    if start.shape != z.shape:
        raise BadInput(f"starts of shape {tuple(start.shape)} for latents {tuple(z.shape)}")
    start = start.detach().to(z)
    return torch.where(column(inner(start, start) > 0, z), start, drawn)
