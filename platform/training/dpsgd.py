"""DP-SGD (Abadi et al. 2016, arXiv 1607.00133) whose noise is exact and cannot be seeded.

Opacus gives per-sample gradients. Its noise is a float from a seedable generator, added to a sum whose own rounding its accountant
does not know of. Here a clipped gradient is rounded to whole multiples of a unit, clip_norm * noise_multiplier / s; its length is
checked in whole numbers; sums of whole numbers are exact; and the noise is round(Z), Z Gaussian of s units, from the operating system
(`privacy.noise`). For an integer c, c + round(Z) = round(c + Z): the step is post-processing of the continuous mechanism on a sum that
one record moves by at most s / noise_multiplier, with no floating-point slack to forgive.

s is `SIGMA_UNITS`, for which there is an exact table. Where many parameters meet much noise that grid would be too coarse. Then s is as
many times larger, by powers of two, as a clipped gradient needs to have two units a coordinate, and the noise is put together from
narrow tables (`privacy.wide_noise`): c + X has the law of round((c + Z) + W), Z Gaussian of s units or a little more and W independent
of c, so it is post-processing of the same mechanism, and all else stands as it is.

Neighbours differ in whether one place holds a record; the number of places is public and fixed (`privacy.neighbours`). A place is
sampled, and has its row in the batch, whether or not it holds one; a row whose gradient is not finite (inputs of NaN) counts as empty.
That matters: kernels compute the same record's gradient to other bits in another row (a linear layer does), and those could round to
another unit. With fixed rows it depends on its own record alone, if the model mixes no rows: layers known to do so are refused.

Rounding costs little while a clipped gradient has a unit or more a coordinate (root mean square): the mean cosine of Gaussian rows
before and after it is 0.86 at 0.5 units, 0.96 at 1, 0.990 at 2 and 0.997 at 4.

>>> DpSgd(batch_size=600, steps=100).event(records=60_000, noise_multiplier=1.1)
SubsampledGaussianEvent(noise_multiplier=1.1, sample_rate=0.01, steps=100, count=1)
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput, InternalBug, RunFailed
from ..privacy.events import SubsampledGaussianEvent
from ..privacy.noise import Noise, SystemNoise
from ..privacy.validate import positive, positive_int
from ..privacy.wide_noise import wide_gaussian
from .run import Run

# Noise in grid units: the finer the grid, the longer its exact table takes to make (4 s for this one, once a process).
SIGMA_UNITS = 2048
# Beyond, 17 standard deviations and a sum of gradients would not be exact in double precision.
MOST_UNITS = 2**46
# Squared units a coordinate that a clipped gradient must have (half a unit, root mean square), and that a finer grid is to leave it.
COARSEST, FINE = 1 / 4, 4.0
# Whole numbers up to this are exact in single precision, and so are their sums while no partial sum exceeds it.
_EXACT = 2**24
_SYSTEM_NOISE = SystemNoise()

# Decay of the running mean of squared gradients (Adam's).
_SECOND = 0.999

BytesSource = Callable[[int], bytes]
Losses = Callable[[nn.Module, Tensor, Tensor], Tensor]


def cross_entropies(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Each record's cross entropy, (b,)."""
    return F.cross_entropy(model(inputs), labels, reduction="none")


@dataclass(frozen=True)
class DpSgd:
    """Settings of DP-SGD, all public.

    Args:
        batch_size: expected size of a batch: each record is in it with probability batch_size / records, by itself (Poisson).
        steps: how many batches.
        learning_rate, momentum: M <- momentum M + (1 - momentum) g; w <- w - learning_rate M.
        clip_norm: largest L2 length of one record's gradient.
        averaging: decay of the average of the weights over steps that is the result (bias-corrected). 0: the last weights.
        adaptive: divide M by the root of the running mean of g^2 (Adam: decay 0.999, bias-corrected), which is post-processing.
        physical_batch: records whose gradients are held at once. Changes memory and speed only.
    """

    batch_size: int = 2048
    steps: int = 200
    learning_rate: float = 80.0
    momentum: float = 0.9
    clip_norm: float = 1.0
    averaging: float = 0.95
    physical_batch: int = 512
    adaptive: bool = False

    def __post_init__(self) -> None:
        positive_int(batch_size=self.batch_size, steps=self.steps, physical_batch=self.physical_batch)
        positive(learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        for name in ("momentum", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 0 and below 1, not {getattr(self, name)!r}")

    def sample_rate(self, records: int) -> float:
        """The probability with which each of so many records (a public number) is in a batch.

        Raises:
            BadInput: a batch is larger than that.
        """
        positive_int(records=records)
        if self.batch_size > records:
            raise BadInput(f"batches of {self.batch_size} from {records} records", mend="use a smaller batch_size")
        return self.batch_size / records

    def event(self, records: int, noise_multiplier: float) -> SubsampledGaussianEvent:
        """What a whole training costs. BadInput where every batch holds every record: nothing is sampled then."""
        return SubsampledGaussianEvent(noise_multiplier, self.sample_rate(records), self.steps)


def refuse_unless_trainable(model: nn.Module, settings: DpSgd, *, noise_multiplier: float) -> None:
    """See, before anything is charged, whether `dp_sgd` can train this model with this noise.

    Raises:
        BadInput: nothing is trainable, a layer mixes records or has no per-sample gradients, or the grid is too coarse for the model.
    """
    from opacus import GradSampleModule
    from opacus.validators import ModuleValidator

    with _training_mode(model):
        problems: list[object] = [
            *filter(_mixes, model.modules()),
            *ModuleValidator.validate(model),
            *GradSampleModule.validate(model),
        ]
    if problems:
        raise BadInput(
            f"{type(model).__name__} cannot be trained by DP-SGD: {str(problems[0]).splitlines()[0]}",
            why="a record's gradient must be its own, and nothing else may be kept of the records",
            mend="use GroupNorm for normalisation, and layers that Opacus knows (opacus.validators.ModuleValidator.fix)",
        )
    Grid(settings.clip_norm, noise_multiplier, sum(parameter.numel() for parameter in trainable(model)))


def dp_sgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: DpSgd,
    *,
    noise_multiplier: float,
    noise: Noise = _SYSTEM_NOISE,
    run: Run | None = None,
    name: str = "dp_sgd",
    augment: Callable[[Tensor], Tensor] | None = None,
    bytes_source: BytesSource = os.urandom,
    losses: Losses = cross_entropies,
    draws: int = 1,
) -> None:
    """Train `model` in place on private records: the cross entropy of inputs (n, ...) and labels (n,), or other `losses`.

    `losses(model, inputs, labels)` gives each record's loss (b,), a function of its own row. Where it draws something itself,
    `draws` > 1 averages a record's gradient over so many draws *before* it is clipped (noise multiplicity: Dockhorn et al. 2022,
    arXiv 2210.09929): the record's gradient varies less, while what it can move, the noise and the cost stay what they are.

    The caller has charged `settings.event(n, noise_multiplier)`. Nothing is logged but the number of steps done: losses, accuracies and
    the batches' real sizes are functions of the records. There are no checkpoints in the middle: a training that is killed has spent
    its charge, and another one draws, and pays, again. `augment` changes sampled inputs (b, ...), each row by itself.

    Raises:
        BadInput: arguments that do not fit, and whatever `refuse_unless_trainable` refuses.
        RunFailed: the weights are not finite any more.
    """
    positive(noise_multiplier=noise_multiplier)
    positive_int(draws=draws)
    if labels.shape != inputs.shape[:1]:
        raise BadInput(f"labels of shape {tuple(labels.shape)} for inputs of shape {tuple(inputs.shape)}")
    if not noise.gdp:
        raise BadInput("DP-SGD with discrete noise", why="it is accounted for as a continuous Gaussian mechanism")
    rate = settings.sample_rate(len(inputs))
    refuse_unless_trainable(model, settings, noise_multiplier=noise_multiplier)
    parameters = trainable(model)
    weights = nn.utils.parameters_to_vector(parameters).detach().double().cpu()
    grid = Grid(settings.clip_norm, noise_multiplier, len(weights))
    device = parameters[0].device
    rows = torch.empty(settings.physical_batch, len(weights), device=device)
    momentum, average, squares = torch.zeros_like(weights), torch.zeros_like(weights), torch.zeros_like(weights)

    with _per_sample(model, losses, draws) as fill, run.progress(settings.steps, name) if run else nullcontext() as bar:
        for step in range(1, settings.steps + 1):
            total = torch.zeros_like(weights)
            places = poisson_sample(len(inputs), rate, bytes_source)
            for start in range(0, len(places), settings.physical_batch):
                chosen = places[start : start + settings.physical_batch]
                batch = inputs[chosen].to(device)
                gradients = rows[: len(chosen)]
                fill(gradients, batch if augment is None else augment(batch), labels[chosen].to(device))
                total += grid.sum(grid.round_(gradients)).cpu()
            total += grid.drawn(noise)
            # Divided by the expected size of a batch: the real one is private.
            gradient = total * (grid.unit / settings.batch_size)
            momentum = settings.momentum * momentum + (1 - settings.momentum) * gradient
            change = momentum
            if settings.adaptive:
                squares = _SECOND * squares + (1 - _SECOND) * gradient.square()
                size = (squares / (1 - _SECOND**step)).sqrt_().add_(1e-8)
                change = momentum / (1 - settings.momentum**step) / size
            weights -= settings.learning_rate * change
            average = settings.averaging * average + (1 - settings.averaging) * weights
            put_weights(parameters, weights)
            if not all(parameter.isfinite().all() for parameter in parameters):
                raise RunFailed(f"{name}: the weights are not finite any more", mend="lower the learning rate")
            if bar is not None:
                bar.advance()
        put_weights(parameters, average / (1 - settings.averaging**settings.steps))


def poisson_sample(records: int, rate: float, bytes_source: BytesSource = os.urandom) -> Tensor:
    """The numbers of the records in one batch, ascending: each is in it with probability `rate` (never more), by itself.

    The accountant counts on the batch being secret, so no seed decides it.
    """
    if rate >= 1:
        return torch.arange(records)
    raw = bytes_source(8 * records)
    if len(raw) != 8 * records:
        raise InternalBug("the source of randomness returned too few bytes", why="a batch must never be repeated")
    threshold = np.uint64(math.floor(math.ldexp(rate, 64)))
    return torch.from_numpy(np.flatnonzero(np.frombuffer(raw, dtype=np.uint64) < threshold))


@dataclass(frozen=True)
class Grid:
    """Gradients of `width` numbers in whole units, `sigma` of which are the noise's standard deviation.

    >>> Grid(1.0, noise_multiplier=3.4, width=1_000_000).sigma, Grid(1.0, noise_multiplier=18.3, width=3_400_000).sigma
    (2048, 131072)

    Raises:
        BadInput: even the finest grid leaves a clipped gradient less than half a unit a coordinate (root mean square), most of it lost
            in rounding; or the noise is next to none and lengths outgrow exact arithmetic.
    """

    clip_norm: float
    noise_multiplier: float
    width: int

    def __post_init__(self) -> None:
        positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        positive_int(width=self.width)
        if self._limit_at(SIGMA_UNITS) > _EXACT**2:
            raise BadInput(f"a noise multiplier of {self.noise_multiplier} is too small", mend="use 0.001 or more")
        if self._room_at(self.sigma) < COARSEST * self.width:
            raise BadInput(
                f"{self.width} parameters with a noise multiplier of {self.noise_multiplier}",
                why="a clipped gradient would be lost in rounding",
                mend="train fewer parameters, or lower the noise with a larger epsilon or fewer steps",
            )

    @property
    def unit(self) -> float:
        """One unit, in the gradients' own measure."""
        return self.clip_norm * self.noise_multiplier / self.sigma

    @cached_property
    def sigma(self) -> int:
        """The noise's standard deviation in units: `SIGMA_UNITS`, or a power of two times it where that grid is too coarse."""
        found = SIGMA_UNITS
        if self._room_at(found) < COARSEST * self.width:
            while found < MOST_UNITS and self._room_at(found) < FINE * self.width:
                found *= 2
        return found

    @cached_property
    def limit(self) -> int:
        """The largest squared length in units: floor((sigma / noise_multiplier)^2), exactly."""
        return self._limit_at(self.sigma)

    def drawn(self, noise: Noise) -> Tensor:
        """Noise for one sum, (width,), whole numbers in double precision."""
        # The table of `SIGMA_UNITS` is looked up once a number; put together, noise of that width would take two look-ups.
        narrow = self.sigma == SIGMA_UNITS
        units = noise.gaussian(self.sigma, self.width) if narrow else wide_gaussian(noise, self.sigma, self.width)
        return torch.from_numpy(units).double()

    def _limit_at(self, sigma: int) -> int:
        return math.floor((sigma / Fraction(self.noise_multiplier)) ** 2)

    def _room_at(self, sigma: int) -> float:
        """Squared length before rounding, which adds up to width / 12 on average; five standard deviations are kept free."""
        limit = self._limit_at(sigma)
        return limit - self.width / 12 - 5 * math.sqrt(limit / 3)

    def round_(self, gradients: Tensor) -> Tensor:
        """Clip rows (b, width), single precision, and round them to whole units, in place: no row's squared length exceeds `limit`.

        A row that is not finite, or too long for single precision (1.8e19), becomes zero. Rows are rounded to the nearest unit; the
        rare ones that this lifts above the limit are scaled down and cut towards zero, which never lengthens a row.
        """
        reach = math.sqrt(self._room_at(self.sigma))
        scale = reach / torch.linalg.vector_norm(gradients, dim=1).clamp(min=self.clip_norm)
        gradients.mul_(scale[:, None]).nan_to_num_(0.0, 0.0, 0.0).round_()
        # A partial sum that a type cannot hold exactly is larger than the limit, and stays so: no row passes by rounding.
        exact = torch.float32 if self.limit < _EXACT else torch.float64
        above = (gradients.to(exact).square().sum(1) > self.limit).nonzero()[:, 0]
        if len(above):
            rows = gradients[above].double()
            gradients[above] = rows.mul_(reach / rows.norm(dim=1, keepdim=True)).trunc_().to(gradients.dtype)
        return gradients

    def sum(self, units: Tensor) -> Tensor:
        """The sum of rounded rows (b, width), (width,), exact, in double precision."""
        exact = torch.float32 if len(units) * math.isqrt(self.limit) <= _EXACT else torch.float64
        return units.sum(0, dtype=exact).double()


Fill = Callable[[Tensor, Tensor, Tensor], None]


@contextmanager
def _per_sample(model: nn.Module, losses: Losses, draws: int) -> Iterator[Fill]:
    """Give `fill(rows, inputs, labels)`, which writes each record's gradient into its row; the model is as before afterwards."""
    from opacus import GradSampleModule

    parameters = trainable(model)
    layers = [layer for layer in model.modules() if any(p.requires_grad for p in layer.parameters(recurse=False))]

    def fill(rows: Tensor, inputs: Tensor, labels: Tensor) -> None:
        for draw in range(draws):
            once(rows, inputs, labels, first=draw == 0)
        if draws > 1:
            rows.div_(draws)

    def once(rows: Tensor, inputs: Tensor, labels: Tensor, *, first: bool) -> None:
        for parameter in parameters:
            parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
        found = losses(wrapped, inputs, labels)
        seen = [tensor for layer in layers for call in getattr(layer, "activations", ()) for tensor in call]
        if any(len(tensor) != len(inputs) for tensor in seen):
            raise BadInput(
                "a trainable layer is given other rows than the records'",
                why="the gradients of several records would pass for one record's",
                mend="give it one row a record, or freeze it",
            )
        found.sum().backward()
        samples = [parameter.grad_sample for parameter in parameters]  # type: ignore[attr-defined]
        if any(sample is None for sample in samples):
            raise BadInput("a trainable parameter has no part in the model's answers", mend="freeze it")
        for column, sample in zip(rows.split([p.numel() for p in parameters], dim=1), samples, strict=True):
            if first:
                column.copy_(sample.flatten(1))
            else:
                column.add_(sample.flatten(1))

    with _training_mode(model), warnings.catch_warnings():
        # Opacus needs no gradients of the inputs, which is what torch warns of.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        wrapped = GradSampleModule(model, loss_reduction="sum")
        try:
            yield fill
        finally:
            wrapped.to_standard_module()
            for parameter in parameters:
                parameter.grad = None
            for layer in layers:
                for left in ("activations", "max_batch_len"):
                    layer.__dict__.pop(left, None)


def _mixes(layer: nn.Module) -> bool:
    """Whether rows meet in this layer, or leave something behind in it. Opacus looks at trainable ones only; frozen ones do it too."""
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm):
        return layer.track_running_stats
    return isinstance(layer, nn.modules.batchnorm._BatchNorm)


@contextmanager
def _training_mode(model: nn.Module) -> Iterator[None]:
    modes = [(layer, layer.training) for layer in model.modules()]
    model.train()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in the model's order.

    Raises:
        BadInput: there are none.
    """
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise BadInput(f"{type(model).__name__} has no trainable parameters")
    return found


@torch.no_grad()
def put_weights(parameters: list[nn.Parameter], weights: Tensor) -> None:
    """Copy a vector of weights into parameters, in their order."""
    for parameter, part in zip(parameters, weights.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))
