"""Stage 1: on real videos alone, learn to predict masked features and to tell natural order from any other.

Everything is trained together from pixels first; then the backbone is frozen, its features of all real videos are computed once, and
the rest is trained on for many cheap steps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ....platform.data.videos import VideoSet, tracks_hash
from ....platform.errors import BadInput
from ....platform.training.run import Run
from ....platform.training.seeds import seeded
from ..kept import kept_beside, weights_hash
from .batches import Row, Rows, below, real_batches
from .clips import Draw, augmented, central, clip_frames, draw_augmentation, starts
from .consistency import Consistency, HeldOut, own_generator
from .model import Network
from .optimising import optimise, rounds, share_state
from .settings import NacoSettings

JOINT, CACHED = "pretraining", "pretraining-cached"
KEPT = "naco-pretrained"  # beside the runs, for all that begin with the same stage 1
MOST_BYTES = 8 * 2**30  # of kept features
FRAMES = 64  # that go through the backbone at once when features are kept


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What stage 1 ends with: the model (in evaluation mode), what it knows of held-out real videos, and remarks."""

    model: Consistency
    found: Mapping[str, float]
    notes: tuple[str, ...] = ()


def pretrain(run: Run, settings: NacoSettings, network: Network, train: VideoSet, validation: VideoSet) -> Pretrained:
    """Train a network on the real videos of a set, or take over what a run beside this one has made of the same: it does not hang on
    the forgeries, nor on what stage 2 will be.

    Args:
        run: the run.
        settings: of the method.
        network: on the run's device; it is trained in place.
        train: real tracks are learned from, forged ones are not looked at.
        validation: real tracks are looked at along the way.

    Raises:
        BadInput: there is no real video, or their features do not fit in memory.
        RunFailed: the training diverged.
    """
    own, numbers = settings.pretraining, chosen_real(run, settings, train)
    with seeded(run.seed_for("spatial predictor")):
        model = Consistency(network, own).to(run.device)
    held = HeldOut.of(validation, model, seed=run.seed_for("held-out clips"))
    inputs = {
        "pretraining": asdict(own),
        "clips": asdict(settings.clips),
        "network": asdict(settings.network),
        "from": weights_hash(network),
        # Augmentation of a video is drawn by its number.
        "real": [hashlib.sha256(numbers.tobytes()).hexdigest(), tracks_hash(train.take(numbers).tracks)],
    }

    joint, cached = (math.prod(rounds(one)) for one in (own.joint, own.cached))

    def learn() -> dict[str, Tensor]:
        if own.joint.steps:
            model.begin(joint + cached)
            _joint(run, settings, model, train, numbers, held, inputs)
        if own.cached.steps:
            model.begin(joint + cached, done=joint)
            _cached(run, settings, model, train, numbers, held, inputs)
        return {name: value.cpu() for name, value in model.state_dict().items()}

    how = {"seed": run.seed, "workers": run.world.size, "precision": run.precision, "device": run.device.type}
    model.load_state_dict(kept_beside(run, KEPT, learn, {**inputs, **how}))
    network.requires_grad_(True)
    model.eval()
    if held is None:
        return Pretrained(model, {}, ("there are no real validation videos: what stage 1 has learned is not measured",))
    return Pretrained(model, held.judged(model, held.features(network, run.device), run.device))


def chosen_real(run: Run, settings: NacoSettings, train: VideoSet) -> np.ndarray:
    """Numbers of the real videos that stage 1 learns from, int64 (n,)."""
    real = np.flatnonzero(~train.forged)
    if not len(real):
        raise BadInput("there is no real video to learn from", mend="check the data, or set pretraining's steps to 0")
    most = settings.pretraining.videos
    if most is None:
        return real
    if most > len(real):
        raise BadInput(f"pretraining.videos is {most}, and there are {len(real)}", mend="lower it, or leave it out")
    return np.sort(np.random.default_rng(run.seed_for("real videos")).permutation(real)[:most])


def _joint(
    run: Run, settings: NacoSettings, model: Consistency, train: VideoSet, numbers: np.ndarray, held: HeldOut | None, inputs: Any
) -> None:  # fmt: skip
    own, clips, network = settings.pretraining, settings.clips, model.network
    only(network, network.body())
    _, steps = rounds(own.joint)
    loader = real_batches(run, train, numbers, clips, batches=steps, size=own.joint.batch_size)

    def loss(prepared: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        videos, frames = batch
        generator = own_generator()
        both = frames.transpose(0, 1).flatten(0, 1)
        pixels = augmented(both, draw_augmentation(own.augmentation, clips, len(both), generator), clips)
        losses: Mapping[str, Tensor] = prepared(pixels, *model.draws(len(videos), generator, pixels.device), videos)
        return losses

    def look(_: nn.Module) -> Mapping[str, float]:
        return {} if held is None else _held(held.judged(model, held.features(network, run.device), run.device))

    groups = [([model], own.joint.learning_rate)]
    optimise(run, model, loss, loader, own.joint, name=JOINT, groups=groups, evaluate=look, inputs=inputs)


def _cached(
    run: Run, settings: NacoSettings, model: Consistency, train: VideoSet, numbers: np.ndarray, held: HeldOut | None, inputs: Any
) -> None:  # fmt: skip
    own, clips, network = settings.pretraining, settings.clips, model.network
    assert network.tokens is not None and network.transformer is not None
    network.eval()
    kept = kept_features(run, settings, network, train, numbers)
    network.tokens.fix(torch.cat([one.flatten(0, -2) for one in kept]).to(run.device))
    of_held = None if held is None else held.features(network, run.device)
    only(network, [network.tokens, network.transformer])
    network.transformer.set_dropout(own.cached_dropout)
    model.from_pixels = False
    _, steps = rounds(own.cached)

    def place(item: int, generator: Generator) -> Row:
        places = starts(kept[item].shape[2], clips)
        return tuple((item, below(own.views, generator), below(places, generator)) for _ in range(2))

    rows = Rows(len(kept), steps, own.cached.batch_size, place, run.generator, run.world)
    loader = DataLoader(_Kept(kept, settings), batch_sampler=rows, collate_fn=_as_is)

    def loss(prepared: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        videos, features = batch
        both = features.transpose(0, 1).flatten(0, 1)
        losses: Mapping[str, Tensor] = prepared(both, *model.draws(len(videos), own_generator(), both.device), videos)
        return losses

    def look(_: nn.Module) -> Mapping[str, float]:
        return {} if held is None or of_held is None else _held(held.judged(model, of_held, run.device))

    groups = [([model], own.cached.learning_rate)]
    optimise(run, model, loss, loader, own.cached, name=CACHED, groups=groups, evaluate=look, inputs=inputs)
    model.from_pixels = True
    network.transformer.set_dropout(settings.network.dropout)


@torch.no_grad()
def kept_features(
    run: Run, settings: NacoSettings, network: Network, train: VideoSet, numbers: np.ndarray
) -> list[Tensor]:  # fmt: skip
    """Features of all frames of each of these videos, (views, S, frames, C) on the CPU: first as they are, then in augmented views.

    The network must be in evaluation mode. Processes share the work; each ends with all features.
    """
    own, clips = settings.pretraining, settings.clips
    cells = network.cells[0] * network.cells[1]
    frames = sum(train.tracks.frames(number) for number in numbers.tolist())
    needed = frames * own.views * cells * network.channels * 4
    if needed > MOST_BYTES:
        raise BadInput(
            f"features of {frames:,} frames would take {needed / 2**30:.0f} GiB",
            why=f"more than {MOST_BYTES // 2**30} GiB are not kept in memory",
            mend="set pretraining.cached.steps=0 and train jointly for longer, or lower pretraining.views",
        )
    share_state(run, network)
    here: list[np.ndarray] = []
    with run.progress(len(numbers), "features") as bar:
        for number in numbers[run.world.rank :: run.world.size].tolist():
            count = train.tracks.frames(number)
            whole = torch.from_numpy(train.tracks.read(number, np.arange(count)))
            generator = Generator().manual_seed(run.seed_for("views", number))
            views = []
            for view in range(own.views):
                draw = draw_augmentation(own.augmentation, clips, 1, generator)
                views.append(torch.cat(list(_pieces(run, network, whole, draw if view else None)), dim=1))
            here.append(torch.stack(views).numpy())
            bar.advance(run.world.size)
    parts = run.gather(here)
    return [torch.from_numpy(parts[at % len(parts)][at // len(parts)]) for at in range(len(numbers))]


def _pieces(run: Run, network: Network, whole: Tensor, draw: Draw | None) -> Iterable[Tensor]:
    for piece in whole.split(FRAMES):
        frames = piece.to(run.device)[None]
        pixels = central(frames, network.clips) if draw is None else augmented(frames, draw, network.clips)
        with run.autocast():
            yield network.features(pixels)[0].cpu()


class _Kept(Dataset[tuple[Tensor, Tensor]]):
    """Numbers (b,), and features (b, 2, S, T, C) of rows of two places (item, view, start)."""

    def __init__(self, kept: list[Tensor], settings: NacoSettings) -> None:
        self._kept, self._clips = kept, settings.clips

    def __len__(self) -> int:
        return len(self._kept)

    def __getitems__(self, rows: list[Row]) -> tuple[Tensor, Tensor]:
        read = []
        for row in rows:
            for item, view, start in row:
                features = self._kept[item][view]
                read.append(features[:, torch.from_numpy(clip_frames(features.shape[1], start, self._clips))])
        return torch.tensor([row[0][0] for row in rows]), torch.stack(read).unflatten(0, (len(rows), 2))


def only(network: Network, modules: Iterable[nn.Module]) -> None:
    """Let these parts of a network be trained, and no other."""
    network.requires_grad_(False)
    for module in modules:
        module.requires_grad_(True)


def _held(found: Mapping[str, float]) -> dict[str, float]:
    return {f"held_{name}": value for name, value in found.items()}


def _as_is(batch: Any) -> Any:
    return batch
