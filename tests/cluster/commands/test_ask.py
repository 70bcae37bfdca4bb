"""`stillhouse ask`: what it says was spent is never less than what was, and nothing is bought that it could not write down."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stillhouse import __main__ as cli
from stillhouse.platform.aggregator.client import Analyst


@pytest.mark.parametrize(
    ("spent", "cap", "shown"), [(1.00004, 2.0, "1.001"), (9.99987, 10.0, "10"), (5.123456, 5.1234567, "5.123456")]
)
def test_what_is_spent_is_rounded_up_and_not_above_the_cap(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    spent: float,
    cap: float,
    shown: str,
) -> None:
    answers = SimpleNamespace(
        labels=np.array([3]), statuses=("answered",), from_store=np.array([False]), cost_nano_rho=12, spent_epsilon=spent,
        epsilon_cap=cap, delta=1e-5, neighbouring="replace one record",
    )  # fmt: skip

    def ask(*_: Any, **__: Any) -> Any:
        return answers

    monkeypatch.setattr(Analyst, "ask", ask)
    monkeypatch.setenv("STILLHOUSE_TOKEN", "token")
    np.savez(tmp_path / "public.npz", images=np.zeros((1, 1, 2, 2), np.uint8))
    words = ["--images", str(tmp_path / "public.npz"), "--mechanism", "name=gnmax", "sigma=2", "--ensemble", "e"]
    assert cli.main(["ask", *words, "--out", str(tmp_path / "labels.npz"), "--json"]) == 0
    said = capsys.readouterr()
    assert f"epsilon {shown} at delta 1e-05, replace one record" in said.err
    # Programs get the number as it is.
    assert json.loads(said.out)["data"]["spent_epsilon"] == spent


@pytest.mark.parametrize(
    ("out", "said"),
    [("no/labels.npz", "there is no folder"), ("labels", "names no .npz file"), ("labels.npy", "names no .npz file")],
    ids=["folder", "no-ending", "other-ending"],
)
def test_nothing_is_asked_where_the_labels_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, out: str, said: str
) -> None:
    def ask(*_: Any, **__: Any) -> Any:
        raise AssertionError("labels were bought")

    monkeypatch.setattr(Analyst, "ask", ask)
    monkeypatch.setenv("STILLHOUSE_TOKEN", "token")
    np.savez(tmp_path / "public.npz", images=np.zeros((1, 1, 2, 2), np.uint8))
    words = ["--images", str(tmp_path / "public.npz"), "--mechanism", "name=gnmax", "sigma=2", "--ensemble", "e"]
    assert cli.main(["ask", *words, "--out", str(tmp_path / out), "--json"]) == 4
    assert said in capsys.readouterr().err
