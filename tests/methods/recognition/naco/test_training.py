"""Both stages: what is frozen stays, what was cut short goes on as if it had not been, the best weights are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.recognition.naco import optimising
from stillhouse.methods.recognition.naco.finetuning import Detector, calibrate, finetune
from stillhouse.methods.recognition.naco.frames import FrameDetector, learn_frames
from stillhouse.methods.recognition.naco.method import Naco
from stillhouse.methods.recognition.naco.model import Network, fresh_network
from stillhouse.methods.recognition.naco.optimising import Best, optimiser, rounds
from stillhouse.methods.recognition.naco.pretraining import KEPT, kept_features, pretrain
from stillhouse.methods.recognition.naco.settings import Augmentation, Finetuning, Form, Pretraining, Training
from stillhouse.methods.recognition.naco.started import started_network
from stillhouse.platform.data.videos import VideoData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.run import LocalRun
from support.few_videos import few_videos, video_set

from .little import CLIPS, FORM, QUIET, little, silent_run, training


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(before[name], value)}


def test_in_mode_head_nothing_else_changes_not_even_a_running_mean(tmp_path: Path) -> None:
    data, method = few_videos(), little(finetuning=Finetuning(mode="head", training=training(3), augmentation=QUIET))
    run = silent_run(tmp_path)
    network, identity = started_network(run, method)
    before = state(network)
    finetune(run, method, network, data.train, data.validation, None, identity)
    assert changed(before, network) == {name for name in before if name.startswith("head.")}
    full = replace(method, finetuning=Finetuning(training=training(3), augmentation=QUIET))
    finetune(silent_run(tmp_path / "full"), full, network, data.train, data.validation, None, identity)
    assert any("running_mean" in name for name in changed(before, network))
    assert "tokens.mean" in changed(before, network)


def test_single_frames_teach_backbone_and_bypass_before_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, forward, shapes = few_videos(), FrameDetector.forward, set[tuple[int, ...]]()

    def watched(self: FrameDetector, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        shapes.add(tuple(pixels.shape))
        return forward(self, pixels, labels)

    monkeypatch.setattr(FrameDetector, "forward", watched)
    frames = Finetuning(frames=training(30, batch_size=8), training=training(1, learning_rate=1e-9), augmentation=QUIET)
    method, run = little(finetuning=frames), silent_run(tmp_path)
    network, identity = started_network(run, method)
    before = state(network)
    learn_frames(run, method, network, data.train, np.flatnonzero(data.train.forged), None, identity)
    assert shapes == {(8, 1, 3, 32, 32)}
    trained = changed(before, network)
    assert any(name.startswith("backbone.") for name in trained)
    scales = {f"tokens.{name}" for name in ("mean", "deviation", "seen")}
    assert {name for name in trained if not name.startswith("backbone.")} == {
        "head.bypass.weight",
        "head.bypass.bias",
    } | scales
    assert all(weight.requires_grad for weight in network.parameters())
    losses = [value for _, value in read_metrics(run.folder / "metrics.jsonl")["finetuning-frames/loss"]]
    assert len(losses) == 1
    # The whole stage finds it in the run's folder, and goes on with clips.
    again, identity = started_network(run, method)
    finetune(run, method, again, data.train, data.validation, None, identity)
    assert "finetuning-frames" in run.reused
    assert torch.allclose(again.head.bypass.weight, network.head.bypass.weight, atol=1e-6)


def test_the_loss_of_single_frames_is_cross_entropy_of_the_bypass() -> None:
    network = fresh_network(FORM, CLIPS, 0)
    assert network.head.bypass is not None
    model = FrameDetector(network).eval()
    pixels = torch.randn(4, 1, 3, 32, 32)
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0])
    logits = network.head.bypass(network.backbone(pixels[:, 0]).mean((2, 3)))[:, 0]
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    assert model(pixels, labels)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"mode": "head"}, {"fakes": "shuffled"}, {"training": training(0)}],
    ids=["head", "shuffled", "no clips"],
)
def test_single_frames_without_what_they_begin_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="without what it begins"):
        Finetuning(frames=training(3), **options)


def test_single_frames_need_the_bypass() -> None:
    with pytest.raises(BadInput, match="bypass"):
        little(
            network=replace(FORM, head_bypass=False), finetuning=Finetuning(frames=training(3), training=training(3))
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_stages_train_in_either_precision(tmp_path: Path, precision: Any) -> None:
    data, run = few_videos(), silent_run(tmp_path, precision=precision)
    method = little(
        network=replace(FORM, zero_residual=False), finetuning=Finetuning(training=training(3), augmentation=QUIET)
    )
    network, identity = started_network(run, method)
    computed = {"backbone": set[torch.dtype](), "transformer": set[torch.dtype]()}
    for module, name in ((torch.nn.Conv2d, "backbone"), (torch.nn.Linear, "transformer")):
        (first, *_) = (one for one in getattr(network, name).modules() if isinstance(one, module))
        first.register_forward_hook(lambda _, __, out, name=name: computed[name].add(out.dtype))
    before = state(network)
    first_stage = pretrain(run, method, network, data.train, data.validation)
    after = changed(before, network)
    assert any(name.startswith("backbone.") for name in after) and any(
        name.startswith("transformer.") for name in after
    )
    before = state(network)
    finetune(run, method, network, data.train, data.validation, first_stage.model, identity)
    assert {name.split(".")[0] for name in changed(before, network)} >= {"backbone", "transformer", "head"}
    # Matrices are multiplied in the run's precision; weights and losses stay in single.
    assert all(getattr(torch, precision) in found for found in computed.values())
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    logged = read_metrics(tmp_path / "metrics.jsonl")
    losses = [value for name, points in logged.items() if name.endswith("/loss") for _, value in points]
    assert {name.split("/")[0] for name in logged} >= {"pretraining", "pretraining-cached", "finetuning"}
    assert losses and np.isfinite(losses).all()


def test_a_frozen_body_is_in_evaluation_mode_and_draws_no_dropout() -> None:
    network = fresh_network(replace(FORM, dropout=0.5, zero_residual=False), CLIPS, 0)
    model = Detector(network, "head", None, 0.0).train()
    assert network.head.training and not any(part.training for part in network.body())
    pixels = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            network.represent(network.features(pixels))[1], network.represent(network.features(pixels))[1]
        )
    losses = model(pixels, torch.tensor([1.0, 0.0]))
    losses["loss"].backward()
    assert all((weight.grad is not None) == name.startswith("head.") for name, weight in network.named_parameters())


def test_the_loss_is_binary_cross_entropy_with_forged_positive() -> None:
    network = fresh_network(FORM, CLIPS, 0).eval()
    model, pixels, labels = (
        Detector(network, "full", None, 0.0).eval(),
        torch.randn(4, 8, 3, 32, 32),
        torch.tensor([1.0, 1, 0, 0]),
    )
    found = model(pixels, labels)
    with torch.no_grad():
        logits = network(pixels)
    chance = torch.sigmoid(logits)
    wanted = -(torch.log(chance[:2]).sum() + torch.log(1 - chance[2:]).sum()) / 4
    assert found["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert found["right"].item() == pytest.approx(((logits > 0) == (labels > 0)).float().mean().item())


class Cut(Exception):
    """A run that is stopped in the middle."""


@pytest.mark.parametrize("stage", [pytest.param("pretraining", marks=pytest.mark.slow), "finetuning"])
def test_a_run_cut_short_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    data = few_videos()
    # Dropout and random augmentation: all streams of random numbers must go on where they stood.
    method = little(
        network=replace(FORM, dropout=0.3),
        pretraining=Pretraining(joint=training(4, every=2), cached=training(4, batch_size=6, every=2)),
        finetuning=Finetuning(training=training(6, every=2)),
    )  # fmt: skip
    # Not beside each other: the second would find what the first has kept of stage 1.
    execute(method, data, silent_run(tmp_path / "whole" / "run"))

    whole = optimising.train

    def cut_after_a_checkpoint(run: LocalRun, *args: Any, **options: Any) -> Any:
        if options["name"] != stage:
            return whole(run, *args, **options)
        kept, checkpoint = [], run.checkpoint

        def counted(value: Any, name: str = "main") -> None:
            checkpoint(value, name)
            kept.append(name)
            raise Cut

        run.checkpoint = counted  # type: ignore[method-assign]
        return whole(run, *args, **{**options, "checkpoint_seconds": 0.0})

    monkeypatch.setattr(optimising, "train", cut_after_a_checkpoint)
    with pytest.raises(Cut):
        execute(method, data, silent_run(tmp_path / "cut" / "run"))
    monkeypatch.setattr(optimising, "train", whole)
    said: list[str] = []
    run = silent_run(tmp_path / "cut" / "run")
    run.say = said.append  # type: ignore[method-assign, assignment]
    execute(method, data, run)
    assert any(f"{stage}: going on from step" in line for line in said)
    one, other = (load_file(tmp_path / name / "run" / "detector.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_weights_are_kept_and_survive_a_restart() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    best = Best(model)
    for weight, score in ((1.0, 0.5), (2.0, 0.8), (3.0, 0.8), (4.0, 0.1)):
        model.weight.data.fill_(weight)
        best.offer(score)
    again = Best(model)
    again.load_state_dict(best.state_dict())
    again.take()
    assert model.weight.item() == 2.0 and again.score == 0.8
    nothing = Best(model)
    nothing.load_state_dict(nothing.state_dict())
    nothing.take()
    assert model.weight.item() == 2.0


def test_norms_and_biases_do_not_decay_and_frozen_weights_are_left_out() -> None:
    network = fresh_network(FORM, CLIPS, 0)
    network.backbone.requires_grad_(False)
    found = optimiser([([network.head], 1e-2), (network.body(), 1e-3)], Training(weight_decay=0.1))
    names = {id(weight): name for name, weight in network.named_parameters()}
    listed = [names[id(weight)] for group in found.param_groups for weight in group["params"]]
    assert len(listed) == len(set(listed)) and set(listed) == {
        n for n in names.values() if not n.startswith("backbone")
    }
    for group in found.param_groups:
        for weight in group["params"]:
            assert group["weight_decay"] == (0.1 if weight.ndim > 1 else 0.0)
            assert group["lr"] == (1e-2 if names[id(weight)].startswith("head") else 1e-3)


def test_steps_are_shared_out_over_looks() -> None:
    for steps, every in ((1, 100), (99, 10), (100, 30), (7, 2)):
        epochs, each = rounds(Training(steps=steps, every=every))
        assert steps <= epochs * each < steps + epochs


def test_kept_features_are_those_of_the_frames_and_views_differ(tmp_path: Path) -> None:
    videos, method = video_set([1, 2, 3], ()), little(pretraining=Pretraining(views=2))
    run = silent_run(tmp_path)
    network = fresh_network(FORM, CLIPS, 0).eval()
    kept = kept_features(run, method, network, videos, np.array([0, 2]))
    assert [tuple(one.shape) for one in kept] == [(2, 1, 20, 128)] * 2
    from stillhouse.methods.recognition.naco.clips import central

    frames = torch.from_numpy(videos.tracks.read(2, np.arange(20)))
    with torch.no_grad():
        own = network.features(central(frames, CLIPS)[None])[0]
    assert torch.allclose(kept[1][0], own, atol=1e-5)
    assert not torch.allclose(kept[1][1], own, atol=1e-2)


def test_features_that_do_not_fit_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.methods.recognition.naco.pretraining.MOST_BYTES", 1000)
    with pytest.raises(BadInput, match=r"cached\.steps=0"):
        kept_features(silent_run(tmp_path), little(), fresh_network(FORM, CLIPS, 0), video_set([1], ()), np.array([0]))


def test_stage_1_is_learned_once_for_all_that_begin_with_it(tmp_path: Path) -> None:
    data, method = few_videos(), little()

    def learned(where: str, method: Naco, data: VideoData, seed: int = 0) -> tuple[bool, dict[str, torch.Tensor], Any]:
        run = silent_run(tmp_path / where, seed)
        network, _ = started_network(run, method)
        found = pretrain(run, method, network, data.train, data.validation).found
        assert all(weight.requires_grad for weight in network.parameters())
        return KEPT in run.reused, state(network), found

    reused, first, found = learned("here/a", method, data)
    assert not reused
    # Other forgeries and another stage 2 change nothing that it depends on.
    other = few_videos(seen=("SHUFFLED",), held_out=("STILL",))
    tuned = replace(method, finetuning=Finetuning(mode="head", training=training(5)))
    reused, second, again = learned("here/b", tuned, other)
    assert reused and again == found and all(torch.equal(first[name], second[name]) for name in first)
    more = replace(method, pretraining=replace(method.pretraining, cached=training(3)))
    fewer = replace(data, train=data.train.take(np.arange(2, len(data.train))))
    for name, asked in {
        "more": (more, data), "fewer": (method, fewer), "seed": (method, data, 1), "../there": (method, data),
    }.items():  # fmt: skip
        assert not learned(f"here/{name}", *asked)[0], name


@pytest.mark.slow
def test_stage_1_does_not_look_at_forgeries(tmp_path: Path) -> None:
    """With the forged training videos replaced by noise, it ends with the same weights.

    The runs do not lie beside each other: one would take over what the other has kept.
    """
    plain, method = few_videos(), little()
    noise = few_videos(seen=("SHUFFLED",), held_out=("STILL",))
    found = []
    for name, data in (("a", plain), ("b", noise)):
        run = silent_run(tmp_path / name / "run")
        network, _ = started_network(run, method)
        pretrain(run, method, network, data.train, data.validation)
        found.append(state(network))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    with pytest.raises(BadInput, match="no real video"):
        run = silent_run(tmp_path / "c")
        forged = plain.train.take(np.flatnonzero(plain.train.forged))
        pretrain(run, method, fresh_network(FORM, CLIPS, 0), forged, plain.validation)


def test_calibration_sets_statistics_and_no_weight(tmp_path: Path) -> None:
    network: Network = fresh_network(FORM, CLIPS, 0)
    before = state(network)
    calibrate(silent_run(tmp_path), little(), network, few_videos().train)
    now = changed(before, network)
    assert any("running_mean" in name for name in now) and "tokens.mean" in now
    assert not now & {name for name, _ in network.named_parameters()}
    assert not network.training


@pytest.mark.slow
def test_four_pairs_are_learned_by_heart(tmp_path: Path) -> None:
    """M7: the loss of the full model falls below 0.05."""
    data = few_videos(train=4, seen=("SHUFFLED",))
    quiet = Augmentation(flip=0.0, gain=0.0, shift=0.0, grey=0.0)
    method = little(
        network=Form(width=32, layers=2, heads=4, hidden=64, dropout=0.0),
        pretraining=Pretraining(joint=training(0), cached=training(0)),
        finetuning=Finetuning(training=training(250, batch_size=8, learning_rate=3e-3, every=250), keep="last", augmentation=quiet),
    )  # fmt: skip
    run = silent_run(tmp_path)
    execute(method, data, run)
    from stillhouse.methods.recognition.naco.card import read_detector
    from stillhouse.methods.recognition.naco.scoring import score_clips

    scores = score_clips(run, read_detector(tmp_path)[0], data.train, 110)
    truth = data.train.forged[scores.video]
    loss = np.log1p(np.exp(np.where(truth, -scores.logit, scores.logit))).mean()
    assert loss < 0.05
