"""Training a student changes the student and nothing else; the terms are those that are switched on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.dgd.regulariser import Regulariser
from stillhouse.methods.dgd.student import Lessons, StudentLoss, StudentSettings, train_student
from stillhouse.methods.dgd.vae import Vae
from stillhouse.platform.data.procedural import procedural_images
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import nn

SHAPE = (1, 8, 8)
SETTINGS = StudentSettings(
    components=20, hidden=16, steps=20, batch_size=8, unlabelled_batch=16, regulariser_batch=4, regulariser_every=1
)


def hashed(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


def lessons(*, gate: float = 1.0, distil: float = 1.0) -> Lessons:
    images = procedural_images(60, SHAPE, kind="objects", seed=0)
    torch.manual_seed(0)
    vae = Vae(SHAPE, latent=4, width=4).eval().requires_grad_(False)
    answers = torch.full((60, 3), 1 / 3)
    labels = torch.from_numpy((images.mean((1, 2, 3)) > images.mean()).astype(np.int64))
    return Lessons(images[:30], labels[:30], None, images, answers, distil, images, vae, gate)


def local(folder: Path) -> LocalRun:
    return LocalRun(folder, seed=0, reporter=Silent())


@pytest.mark.parametrize("base_point", ["recon", "sample"])
@pytest.mark.parametrize("kind", ["scatter_mlp", "cnn"])
def test_only_the_student_learns(kind: str, base_point: str, tmp_path: Path) -> None:
    """Check 10: the autoencoder's parameters and statistics stay, bit for bit, and get no gradient."""
    given = lessons()
    assert given.vae is not None
    before = hashed(given.vae)
    settings = replace(SETTINGS, kind=kind, base_point=base_point, hidden=8, width=4)
    student = train_student(local(tmp_path), SHAPE, 3, given, settings, name="s", inputs={})
    assert hashed(given.vae) == before
    assert all(parameter.grad is None for parameter in given.vae.parameters())
    assert not any(parameter.requires_grad for parameter in student.parameters())


def loss_of(settings: StudentSettings, given: Lessons, folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    loss = StudentLoss(settings.build(SHAPE, 3), given, settings, local(folder))
    for _ in range(8):
        found = loss(torch.arange(16)[:, None].expand(16, 3))
    return found


def test_terms_that_are_off_are_not_there(tmp_path: Path) -> None:
    plain = loss_of(replace(SETTINGS, regulariser=Regulariser.named("labelled")), lessons(distil=0.0), tmp_path)
    assert set(plain) == {"loss", "labels"}
    whole = loss_of(SETTINGS, lessons(), tmp_path)
    assert set(whole) == {"loss", "labels", "distil", "regulariser"}
    torch.testing.assert_close(whole["loss"], 0.3 * whole["labels"] + whole["distil"] + whole["regulariser"])


def test_a_shut_gate_switches_the_regulariser_off(tmp_path: Path) -> None:
    assert "regulariser" not in loss_of(SETTINGS, lessons(gate=0.0), tmp_path)
    half, whole = loss_of(SETTINGS, lessons(gate=0.5), tmp_path), loss_of(SETTINGS, lessons(), tmp_path)
    torch.testing.assert_close(2 * half["regulariser"], whole["regulariser"])


def test_training_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    """A student that was trained in one go and one whose training was cut in half end alike."""
    given = lessons()
    whole = train_student(local(tmp_path / "a"), SHAPE, 3, given, SETTINGS, name="s", inputs={})

    class Cut(LocalRun):
        def checkpoint(self, state: object, name: str = "main") -> None:
            super().checkpoint(state, name)
            raise KeyboardInterrupt

    from stillhouse.methods.dgd import student as module

    original = module.train

    def often(*arguments: object, **more: object) -> object:
        return original(*arguments, **{**more, "checkpoint_seconds": 0.0, "check_every": 10})

    module.train = often  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            train_student(
                Cut(tmp_path / "b", seed=0, reporter=Silent()), SHAPE, 3, given, SETTINGS, name="s", inputs={}
            )
        resumed = train_student(local(tmp_path / "b"), SHAPE, 3, given, SETTINGS, name="s", inputs={})
    finally:
        module.train = original
    for name, value in whole.released().items():
        assert torch.equal(value, resumed.released()[name]), name
