"""The loop: one step a class is the published sequence of steps, and neither order, place nor interruption shows in the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from stillhouse.methods.condensation import condensing
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.condensing import Loop, Steps, condense
from stillhouse.methods.condensation.discrepancy import MeanDifference
from stillhouse.methods.condensation.encoders import Encoder, fresh_network, frozen
from stillhouse.methods.condensation.formation import decode
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.matching import RealMatching, Reuse, Term
from stillhouse.methods.condensation.real import RealImages
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import RunFailed
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.seeds import seed_for
from stillhouse.platform.training.world import World
from torch import Tensor
from torch.nn import functional as F

CLASSES, IPC = 3, 2
SHAPE = (1, 8, 8)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def run_of(folder: Path, seed: int = 3, reporter: Silent | None = None) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=reporter or Silent())


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Pixels from .4 to .6: a short way never leads out of [0, 1]."""
    return (0.4 + 0.2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(
        dtype
    )


def start_of(dtype: torch.dtype = torch.float32, classes: int = CLASSES) -> Tensor:
    return drawn(classes, IPC, *SHAPE, dtype=dtype)


@dataclass
class Quadratic:
    """Pulls each class's images towards a place of its own, another one each time."""

    stiffness: float = 0.3
    name: str = "quadratic"
    seen: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        self.seen.append((number, tuple(classes)))
        places = [drawn(*SHAPE, seed=100 * number + c).to(images[0]) for c in classes]
        return [self.stiffness * (own - place).square().sum() for own, place in zip(images, places, strict=True)]


class Networks:
    """A random network for every two iterations, in the precision that is asked for."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def at(self, number: int) -> Encoder:
        network = frozen(fresh_network("convnet", SHAPE, CLASSES, seed=number // 2), torch.device("cpu"))
        return network.to(self._dtype)  # type: ignore[return-value]


@dataclass
class Answers:
    """Cross entropy of a random network: DANCE's second term, without the training."""

    dtype: torch.dtype
    name: str = "answers"

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        network = Networks(self.dtype).at(number)
        return [
            F.cross_entropy(network(own), torch.full((len(own),), c)) for own, c in zip(images, classes, strict=True)
        ]


@pytest.fixture(scope="module")
def real() -> RealImages:
    digits = load("digits").private
    few = digits.labels < CLASSES
    return RealImages(ImageData(digits.images[few], digits.labels[few], CLASSES, "few"), batch=6, seed_for=seeds(0))


def seeds(seed: int) -> Callable[..., int]:
    return lambda *names: seed_for(seed, *names)


def matching(real: RealImages, dtype: torch.dtype, **more: Any) -> RealMatching:
    settings: dict[str, Any] = {
        "augmentation": Augmentation("none"),
        "forward": Forward(),
        "seed_for": seeds(1),
        **more,
    }
    return RealMatching(real, Standard((0.5,), (0.25,)), Networks(dtype), MeanDifference(), **settings)


def loop_of(*terms: Term, rate: float = 0.01, momentum: float = 0.5, sweep: int = CLASSES, **more: Any) -> Loop:
    settings: dict[str, Any] = {"factor": 1, "most": 200, "iterations": 6, "together": 0, **more}
    return Loop(terms, Steps(rate, momentum, sweep), **settings)


def published(loop: Loop, start: Tensor) -> tuple[Tensor, Tensor]:
    """The published loop, literally: one SGD over the whole set, a step at each class's turn.

    The class at place p has seen C - p steps since its last gradient when the loop ends, so p more without a gradient complete its
    sweep. Returns the images with these steps and without. No clamp: pixels must stay inside on their own.
    """
    whole = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([whole], loop.steps.rate, momentum=loop.steps.momentum)
    for number in range(loop.iterations):
        for term in loop.terms:
            for c in range(len(whole)):
                optimizer.zero_grad()
                (loss,) = term([decode(whole[c], loop.factor)], [c], number)
                loss.backward()
                optimizer.step()
                assert ((whole > 0) & (whole < 1)).all()
    without, rows = whole.detach().clone(), []
    for c in range(len(whole)):
        rows.append(whole.detach()[c].clone())
        whole.grad = torch.zeros_like(whole)
        optimizer.step()
    return torch.stack(rows), without


def terms_of(kind: str, real: RealImages, dtype: torch.dtype) -> tuple[list[Term], float]:
    """Terms, and a step size under which pixels move visibly and stay inside.

    Four times as long steps are still the same in double precision, but in single precision a ReLU may then fall on the other side.
    """
    match kind:
        case "quadratic":
            return [Quadratic()], 0.3
        case "encoder":
            return [matching(real, dtype)], 5e-4
        case _:
            return [matching(real, dtype), Answers(dtype)], 5e-4


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("kind", "factor"), [("quadratic", 1), ("quadratic", 2), ("encoder", 2), ("dance", 1)])
def test_one_step_a_class_is_the_published_sequence(
    kind: str, factor: int, dtype: torch.dtype, real: RealImages, tmp_path: Path
) -> None:
    terms, rate = terms_of(kind, real, dtype)
    loop = loop_of(*terms, rate=rate, momentum=0.7, factor=factor)
    start = start_of(dtype)
    whole, without = published(loop, start)
    found = condense(run_of(tmp_path), loop, start, key={})
    assert found.dtype == dtype
    assert (found - start).abs().max() > 0.01
    torch.testing.assert_close(found, whole, rtol=0, atol=TOLERANCE[dtype])
    # The first class's sweep is complete in the published loop as well; the tails of the others are no rounding.
    torch.testing.assert_close(found[0], without[0], rtol=0, atol=TOLERANCE[dtype])
    assert (found[1:] - without[1:]).abs().max() > 1e-4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_sweep_of_one_is_sgd_once_an_iteration(momentum: float, tmp_path: Path) -> None:
    loop = loop_of(Quadratic(), rate=0.1, momentum=momentum, sweep=1)
    whole = start_of(torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([whole], 0.1, momentum=momentum)
    for number in range(loop.iterations):
        optimizer.zero_grad()
        sum(Quadratic()(list(whole), range(CLASSES), number)).backward()  # type: ignore[union-attr]
        optimizer.step()
    found = condense(run_of(tmp_path), loop, start_of(torch.float64), key={})
    torch.testing.assert_close(found, whole.detach(), rtol=0, atol=1e-13)


def test_the_start_is_not_changed_and_zero_iterations_return_it(tmp_path: Path) -> None:
    start = start_of()
    before = start.clone()
    condense(run_of(tmp_path / "a"), loop_of(Quadratic()), start, key={})
    assert torch.equal(start, before)
    assert torch.equal(condense(run_of(tmp_path / "b"), loop_of(Quadratic(), iterations=0), start, key={}), start)


def augmented(real: RealImages, seed: int, **more: Any) -> RealMatching:
    return matching(real, torch.float32, augmentation=Augmentation(), seed_for=seeds(seed), **more)


def test_the_seed_makes_the_images(real: RealImages, tmp_path: Path) -> None:
    def images(folder: str, seed: int) -> Tensor:
        run = run_of(tmp_path / folder, seed)
        loop = loop_of(augmented(real, run.seed), rate=0.05, iterations=3, factor=2, most=5)
        return condense(run, loop, start_of(), key={})

    first = images("a", 3)
    assert torch.equal(images("b", 3), first)
    assert not torch.equal(images("c", 4), first)


@pytest.mark.parametrize("piece", [8, 0])
def test_how_many_classes_are_computed_together_makes_no_difference(
    piece: int, real: RealImages, tmp_path: Path
) -> None:
    found = []
    for together in (1, 2, 0):
        loop = loop_of(augmented(real, 0, forward=Forward(piece)), rate=0.05, iterations=3, together=together, factor=2)
        found.append(condense(run_of(tmp_path / str(together)), loop, start_of(), key={}))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-5)
        # Pieces hold images of one class: then not even the rounding differs.
        assert piece == 0 or torch.equal(other, found[0])


@dataclass
class OneOnly(Quadratic):
    """Only class 1 has anything to gain."""

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        return [loss * (c == 1) for loss, c in zip(super().__call__(images, classes, number), classes, strict=True)]


def test_a_class_moves_its_own_rows_only(real: RealImages, tmp_path: Path) -> None:
    start = start_of()
    moved = (condense(run_of(tmp_path / "a"), loop_of(OneOnly()), start, key={}) != start).flatten(1)
    assert moved.any(1).tolist() == [False, True, False]
    # And with real features: what class 1 starts from is nothing to the others.
    other = start.clone()
    other[1] = 1 - other[1]
    first, second = (
        condense(run_of(tmp_path / name), loop_of(augmented(real, 0), rate=0.05, iterations=3), s, key={})
        for name, s in (("b", start), ("c", other))
    )
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, False, True]


@dataclass
class Watching(Quadratic):
    """Remembers the range and the number of the images that it sees."""

    ranges: list[tuple[float, float]] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        together = torch.cat(list(images)).detach()
        self.ranges.append((float(together.min()), float(together.max())))
        self.given.append(together)
        return super().__call__(images, classes, number)


def test_pixels_are_kept_inside_at_every_iteration_and_network_inputs_are_not(tmp_path: Path) -> None:
    inside, outside = Watching(stiffness=3), Watching(stiffness=3)
    condense(run_of(tmp_path / "a"), loop_of(inside, rate=1.0), start_of(), key={})
    condense(run_of(tmp_path / "b"), loop_of(outside, rate=1.0, pixels=False), start_of(), key={})
    assert min(low for low, _ in inside.ranges) == 0
    assert max(high for _, high in inside.ranges) == 1
    assert min(low for low, _ in outside.ranges) < -1
    assert max(high for _, high in outside.ranges) > 2


def test_no_more_decoded_images_than_allowed_and_others_each_time(tmp_path: Path) -> None:
    def seen(folder: str, seed: int) -> list[Tensor]:
        term = Watching(stiffness=0.0)
        condense(run_of(tmp_path / folder, seed), loop_of(term, factor=2, most=5, together=1), start_of(), key={})
        return term.given

    first = seen("a", 3)
    assert all(len(images) == 5 for images in first)
    assert not torch.equal(first[0], first[CLASSES])  # class 0 in the next iteration
    assert all(torch.equal(a, b) for a, b in zip(first, seen("b", 3), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, seen("c", 4), strict=True))


def test_terms_take_turns_and_are_logged(tmp_path: Path) -> None:
    first, second = Quadratic(), Quadratic(name="other")
    condense(run_of(tmp_path), loop_of(first, second, iterations=12, together=2), start_of(), key={})
    assert first.seen == second.seen == [(n, c) for n in range(12) for c in ((0, 1), (2,))]
    series = read_metrics(tmp_path / "metrics.jsonl")
    assert {name: [step for step, _ in points] for name, points in series.items()} == {
        "condensing/quadratic": [10, 12], "condensing/other": [10, 12],
    }  # fmt: skip


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step_size(tmp_path: Path) -> None:
    loop = loop_of(Quadratic(), rate=1e12, pixels=False, iterations=20)
    with pytest.raises(RunFailed, match=r"quadratic is (nan|inf) at iteration 10") as caught:
        condense(run_of(tmp_path), loop, start_of(), key={})
    assert "learning_rate" in str(caught.value.mend)
    assert run_of(tmp_path).restore(condensing.CHECKPOINT) is None


@dataclass
class Breaks:
    """A term that fails once in a given iteration, as a killed process would."""

    term: Term
    at: int
    name: str = "breaks"
    numbers: list[int] = field(default_factory=list)

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        if number == self.at:
            self.at = -1
            raise KeyboardInterrupt
        self.numbers.append(number)
        return self.term(images, classes, number)


@pytest.mark.parametrize("at", [5, 17])
@pytest.mark.parametrize("reuse", [Reuse(), Reuse(times=2, bank=4)], ids=["no reuse", "reuse"])
def test_an_interrupted_run_ends_with_the_same_bits(
    at: int, reuse: Reuse, real: RealImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condensing, "CHECKPOINT_SECONDS", 0.0)

    def loop(at: int) -> tuple[Loop, Breaks]:
        breaks = Breaks(augmented(real, 0, reuse=reuse), at)
        return loop_of(breaks, rate=0.02, iterations=19, most=1), breaks

    whole = condense(run_of(tmp_path / "whole"), loop(-1)[0], start_of(), key={"of": 1})
    with pytest.raises(KeyboardInterrupt):
        condense(run_of(tmp_path / "broken"), loop(at)[0], start_of(), key={"of": 1})
    listener = Listener()
    again, breaks = loop(-1)
    assert torch.equal(
        condense(run_of(tmp_path / "broken", reporter=listener), again, start_of(), key={"of": 1}), whole
    )
    kept = at // 10 * 10
    assert breaks.numbers == list(range(kept, 19))
    assert [text for text in listener.said if "going on" in text] == (
        [f"condensing: going on from iteration {kept}"] if kept else []
    )


def test_a_finished_run_is_found_and_that_of_another_key_is_not(tmp_path: Path) -> None:
    settings = {"rate": 0.5, "list": [1, 2]}
    first = condense(run_of(tmp_path), loop_of(Quadratic()), start_of(), key=settings)
    term = Quadratic()
    assert torch.equal(condense(run_of(tmp_path), loop_of(term), start_of(), key=settings), first)
    assert term.seen == []
    condense(run_of(tmp_path), loop_of(term), start_of(), key=settings | {"rate": 0.6})
    assert [number for number, _ in term.seen] == list(range(6))


def test_whoever_watches_sees_all_images_at_the_right_iterations(tmp_path: Path) -> None:
    seen: list[tuple[int, Tensor]] = []
    watch = lambda done, images: seen.append((done, images.clone()))
    loop = loop_of(Quadratic(), iterations=9, together=2)
    condense(run_of(tmp_path / "a"), loop, start_of(), key={}, watch=watch, watch_every=3)
    assert [done for done, _ in seen] == [3, 6]  # the last is judged anyway
    short = condense(run_of(tmp_path / "b"), loop_of(Quadratic(), iterations=6), start_of(), key={})
    assert torch.equal(seen[1][1], short)
    seen.clear()
    condense(run_of(tmp_path / "c"), loop, start_of(), key={}, watch=watch)
    assert seen == []


class Half(LocalRun):
    """One of two processes, played by a thread."""

    def __init__(self, folder: Path, rank: int, table: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(folder, seed=3, reporter=Silent(), world=World(rank, 2))
        self._table, self._barrier = table, barrier

    def gather(self, value: Any) -> list[Any]:
        self._table[self.world.rank] = deepcopy(value)  # what was sent does not change with what the sender does next
        self._barrier.wait()
        found = list(self._table)
        self._barrier.wait()
        return found

    def agree(self, value: bool) -> bool:
        return bool(self.gather(value)[0])

    def mean(self, values: Any) -> dict[str, float]:
        every = self.gather(dict(values))
        return {name: sum(one[name] for one in every) / len(every) for name in values}


@pytest.mark.parametrize("classes", [CLASSES, 1])  # with one class the second process has nothing to do
def test_two_processes_share_the_classes_and_get_the_same_images(
    classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condensing, "CHECKPOINT_SECONDS", 0.0)
    loop = lambda term: loop_of(term, iterations=12, sweep=classes)
    alone = condense(run_of(tmp_path / "alone"), loop(Quadratic()), start_of(classes=classes), key={})
    table: list[Any] = [None, None]
    barrier = threading.Barrier(2, timeout=60)
    terms = [Quadratic(), Quadratic()]
    found: dict[int, Tensor] = {}
    watched: list[tuple[int, Tensor]] = []

    def work(rank: int) -> None:
        run = Half(tmp_path / str(rank), rank, table, barrier)
        watch = lambda done, images: watched.append((done, images.clone()))
        found[rank] = condense(run, loop(terms[rank]), start_of(classes=classes), key={}, watch=watch, watch_every=7)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (0, 1)))  # what went wrong in a thread is raised here
    assert torch.equal(found[0], alone)
    assert torch.equal(found[1], alone)
    assert {c for _, own in terms[0].seen for c in own} == set(range(0, classes, 2))
    assert {c for _, own in terms[1].seen for c in own} == set(range(1, classes, 2))
    assert [done for done, _ in watched] == [7, 7]
    assert torch.equal(watched[0][1], watched[1][1])
    # The logged loss is the mean over all classes, whoever computed them.
    logs = [read_metrics(tmp_path / name / "metrics.jsonl")["condensing/quadratic"] for name in ("alone", "0")]
    assert dict(logs[0]) == pytest.approx(dict(logs[1]), rel=1e-6)
    # And a checkpoint holds all rows: one process alone can go on from it.
    assert torch.equal(condense(run_of(tmp_path / "0"), loop(Quadratic()), start_of(classes=classes), key={}), alone)
