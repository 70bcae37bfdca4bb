"""How a synthetic set is judged: copies are seen, distances are right, nothing private is looked at where something is promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from stillhouse.methods.condensation.membership import Membership
from stillhouse.methods.diffusion import DpMeanImages, DpMerf, DpSad
from stillhouse.methods.diffusion.judging import Judging, judge_synthetic, nearest_neighbour_ratio
from stillhouse.methods.diffusion.modes import Mode
from stillhouse.methods.diffusion.proxy import fid_proxy, frechet
from stillhouse.methods.diffusion.synthetic import read_synthetic, write_synthetic
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.statement import public, uncovered
from stillhouse.platform.training.outcome import execute

from .local_ensemble import few_digits, silent_run
from .tiny import JUDGING, labelled_data, method


def test_the_frechet_distance_is_the_textbooks() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(300, 5, generator=generator).double() @ torch.randn(5, 5, generator=generator).double()
    second = torch.randn(200, 5, generator=generator).double() + 1
    a, b = np.cov(first.numpy().T), np.cov(second.numpy().T)
    wanted = np.square(first.numpy().mean(0) - second.numpy().mean(0)).sum()
    wanted += np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet(first, second) == pytest.approx(wanted, rel=1e-6) == frechet(second, first)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)


def test_the_proxy_prefers_real_images_and_is_computed_once(tmp_path: Path) -> None:
    test, settings = load("digits").score, JUDGING
    run = silent_run(tmp_path)

    def distance(images: np.ndarray, name: str) -> float:
        return fid_proxy(run, images, test, settings.proxy, settings.forward, inputs=name)

    real = distance(few_digits(200).images, "real")
    noise = distance(np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8)).astype(np.uint8), "noise")
    assert 0 <= real < 0.2 * noise
    assert distance(np.zeros((1, 1, 8, 8), np.uint8), "real") == real and "fid-proxy" in run.reused
    # The reference's features are kept: another set is measured against the very same ones.
    assert distance(few_digits(200).images, "again") == real


def test_copies_of_records_are_seen() -> None:
    source = load("digits")
    member = Membership.draw(source.private, source.score, None, count=300, seed=0)
    copies = torch.from_numpy(member.members.images).float() / 255
    strangers = torch.from_numpy(member.strangers.images).float() / 255
    fair = torch.from_numpy(source.pool.images[:200]).float() / 255
    device = torch.device("cpu")
    assert nearest_neighbour_ratio(copies, member, device) < 1e-6
    assert nearest_neighbour_ratio(strangers, member, device) > 1e6
    assert 0.9 < nearest_neighbour_ratio(fair, member, device) < 1.1


def test_records_are_looked_at_only_where_they_are_given(tmp_path: Path) -> None:
    test = load("digits").score.take(range(60))
    images, labels = few_digits(40).images, few_digits(40).labels
    promised = judge_synthetic(
        silent_run(tmp_path / "a"), images, labels, test, public(), JUDGING, train=None, inputs="a"
    )
    assert set(promised.metrics) == {"student_accuracy", "fid_proxy", "epsilon"}
    looked = judge_synthetic(
        silent_run(tmp_path / "b"), images, labels, test, uncovered("a test"), JUDGING, train=few_digits(30), inputs="b"
    )
    assert looked.metrics["nearest_neighbour_ratio"].value < 0.01
    assert looked.metrics["membership_auc_distance"].value > 0.6
    for name in ("synthetic", "student_grid", "real_grid"):
        assert (tmp_path / "b" / looked.artefacts[name]).is_file()
    found, answers, names, told = read_synthetic(tmp_path / "b" / looked.artefacts["synthetic"])
    assert np.array_equal(found, images) and np.array_equal(answers, labels)
    assert names == [str(k) for k in range(10)] and told == uncovered("a test")


def test_labels_are_in_turn_or_by_their_shares() -> None:
    settings = Judging(images=1000)
    assert settings.labels(10, None, 0).bincount().tolist() == [100] * 10
    drawn = settings.labels(3, (0.5, 0.3, 0.2), 0)
    assert torch.equal(drawn, settings.labels(3, (0.5, 0.3, 0.2), 0))
    assert np.allclose(drawn.bincount() / 1000, [0.5, 0.3, 0.2], atol=5 * 0.016)
    with pytest.raises(BadInput, match="audit"):
        replace(settings, audit=-1)


def test_a_set_that_has_no_spread_is_refused_before_it_is_made() -> None:
    with pytest.raises(BadInput, match="1 image"):
        Judging(images=1)
    assert Judging(images=2).images == 2


@pytest.mark.parametrize("kind", [DpSad, DpMerf, DpMeanImages])
def test_weights_that_are_not_there_are_missed_before_anything_is_charged(
    kind: type[DpSad | DpMerf | DpMeanImages], tmp_path: Path
) -> None:
    data, curator = labelled_data(private=True)
    judging = replace(JUDGING, inception=str(tmp_path / "MISSING"))
    made = replace(method(Mode.DPSGD_STUDENT), judging=judging) if kind is DpSad else kind(judging=judging)
    with pytest.raises(BadInput, match="no file of Inception weights"):
        execute(made, data, silent_run(tmp_path))  # type: ignore[arg-type]
    assert not curator.charges and not curator.planned


def test_another_file_is_no_synthetic_set(tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="not a synthetic data set"):
        read_synthetic(tmp_path / "other.npz")
    write_synthetic(tmp_path / "set.npz", np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64), ["a", "b"], public())
    assert read_synthetic(tmp_path / "set.npz")[2] == ["a", "b"]
