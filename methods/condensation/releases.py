"""The private form's plan: which noisy releases are bought, at what noise, and the start and the term that follow from them."""

from __future__ import annotations

import hashlib
from functools import partial

import torch
from torch import Tensor

from ...platform.errors import BadInput
from ...platform.privacy.accounting import plan_epsilon
from ...platform.privacy.budget import BudgetKind
from ...platform.privacy.calibration import smallest_scale
from ...platform.privacy.events import Event
from ...platform.privacy.statement import ADD_OR_REMOVE, PrivacyStatement, Release
from ...platform.privacy.sums import sums_event
from ...platform.training.run import Run
from ..labelled import LabelledData
from ..private import PrivateWork
from ..transfer import BudgetTerms
from . import initial
from .formation import compose
from .matching import Term
from .prepared import Prepared
from .private import Embedding, PrivateEmbeddings, PrivatePixels, ReleasedMatching, sample_pixels
from .settings import Settings
from .standard import Standard

# A record that comes or goes moves one class's sum by at most its length; one that changes its class would move two.
TERMS = BudgetTerms(BudgetKind.GAUSSIAN, (), ADD_OR_REMOVE)
# Of the squared signal to noise, what the start takes where embeddings are bought too.
START_SHARE = 0.3


def noises(settings: Settings, *, epsilon: float, delta: float) -> tuple[float | None, float | None]:
    """Noise of the pixel statistics and of the embeddings, None for what is not bought; together they cost the budget."""
    pixels, embeddings = settings.initial == "class_means", settings.iterations > 0
    share = START_SHARE if pixels and embeddings else 1.0 if pixels else 0.0

    def plan(scale: float) -> list[Event]:
        shares = [s for s in (share, 1 - share) if s]
        return [sums_event(scale / s**0.5) for s in shares]

    scale = settings.release.sigma or smallest_scale(plan, epsilon=epsilon, delta=delta)
    return (scale / share**0.5 if pixels else None), (scale / (1 - share) ** 0.5 if embeddings else None)


def prepare(settings: Settings, data: LabelledData, run: Run) -> Prepared:
    """Plan, charge, release; all that follows is post-processing.

    Raises:
        BudgetExhausted: the plan does not fit; nothing was spent.
    """
    curator = data.curator
    if curator is None:
        raise BadInput("a private condensation needs all records in one place, with a curator who charges")
    standard = Standard.constant(data.shape[0])
    pixel_noise, embedding_noise = noises(settings, epsilon=data.epsilon, delta=data.delta)
    embedding = None
    if embedding_noise is not None:
        embedding = Embedding(
            settings.loss, settings.release, settings.architecture, data.shape, data.classes,
            seed=run.seed_for("embedding"), forward=settings.forward, device=run.device,
        )  # fmt: skip
    works: list[PrivateWork] = []
    if pixel_noise is not None:
        works.append(PrivatePixels(pixel_noise))
    if embedding is not None and embedding_noise is not None:
        works.append(PrivateEmbeddings(embedding, embedding_noise))
    events = [named for work in works for named in work.events(curator.records)]
    # Relations came into the JSON later: what was released and paid for before is found by the rest of it.
    bought = [[name, {k: v for k, v in event.to_json().items() if k != "holds_for"}] for name, event in events]
    question = {
        "data": data.identity, "events": bought, "loss": settings.loss,
        "architecture": settings.architecture, "encoders": settings.release.encoders,
        "frequencies": settings.release.frequencies, "count_share": settings.release.count_share,
    }  # fmt: skip
    statement = _statement(events, data.delta)
    found = run.stage("releases", partial(_release, works, events, data, run), inputs=question, once=True)
    start = (
        _tiled(settings, sample_pixels(found[0], data.shape, settings.ipc * settings.factor**2, run.generator))
        if pixel_noise is not None
        else initial.noise(data.classes, settings.ipc, data.shape, seed=run.seed_for("initial"))
    )
    terms: list[Term] = (
        [] if embedding is None else [ReleasedMatching(embedding, embedding.means(found[-1].to(run.device)))]
    )
    source = hashlib.sha256(b"".join(part.numpy().tobytes() for part in found)).hexdigest()
    return Prepared(start, terms, standard, statement, source=source)


def _tiled(settings: Settings, images: Tensor) -> Tensor:
    """Whole images (K, ipc factor^2, c, h, w), laid out as the tiles of stored ones."""
    return torch.stack([compose(own, settings.factor, settings.shrink) for own in images])


def _release(works: list[PrivateWork], events: list[tuple[str, Event]], data: LabelledData, run: Run) -> list[object]:
    assert data.curator is not None
    data.curator.refuse_unless_affordable(
        events, mend="raise the budget with `stillhouse ledger grant`, or method.release.sigma"
    )
    return [data.curator.release(work, run) for work in works]


def _statement(events: list[tuple[str, Event]], delta: float) -> PrivacyStatement:
    """Everything that the set follows from was released here."""
    releases = [Release(name, event.to_json(), plan_epsilon([event], delta)) for name, event in events]
    return PrivacyStatement.of_releases(
        plan_epsilon([event for _, event in events], delta), delta, releases=releases, neighbouring=ADD_OR_REMOVE,
        accounting="data-independent, exact conversion of a Gaussian plan",
    )  # fmt: skip
