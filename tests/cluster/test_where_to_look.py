"""What a run leaves to look at: its log, without a record or an error's text, and the dashboard's address."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stillhouse.cluster import run as run_module
from stillhouse.cluster import session
from stillhouse.cluster.commands import run as command
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.curation import LedgerCurator
from stillhouse.cluster.simulation import RemoteEnsemble
from stillhouse.cluster.train import fit
from stillhouse.platform.aggregator.client import Analyst, Endpoint
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.training.event_log import FILE, EventLog
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

SECRET = "patient 4711"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Careless:
    """A method that puts a record into the text of an error."""

    kind: type[Exception]

    def fit(self, data: dict[str, Any], run: Any) -> Any:
        def compute() -> None:
            with run.progress(len(data["names"]), "reading") as bar:
                for name in bar.over(data["names"]):
                    if name == SECRET:
                        raise self.kind(f"cannot read {name}: {data}")

        return run.stage("records", compute)


@pytest.mark.parametrize("kind", [ValueError, RunFailed])
def test_a_record_in_an_errors_text_does_not_reach_the_log(tmp_path: Path, kind: type[Exception]) -> None:
    data = {"names": ["patient 1", SECRET], "pixels": [113, 17]}
    events = EventLog.begin(tmp_path)
    with pytest.raises(kind, match=SECRET), events.around("run"):
        fit(Careless(kind), data, folder=tmp_path, seed=0, reporter=Silent(), events=events)
    told = lines(tmp_path)
    assert [line["event"] for line in told] == [
        "run.started", "stage.started", "work.started", "work.first_step", "work.ended", "stage.failed", "run.failed",
    ]  # fmt: skip
    assert told[4]["done"] == 1 and told[4]["total"] == 2
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert "patient" not in text and "113" not in text


def test_a_run_that_fails_tells_its_exit_code_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BudgetExhausted(SECRET)

    monkeypatch.setattr(run_module, "_run", fail)
    resolved = compose(["method=dpsgd", "data=digits", f"root={tmp_path}", "seed=3", "name=r"])
    with pytest.raises(BudgetExhausted):
        run_module.run(resolved)
    started, failed = lines(tmp_path / "r")
    assert started | {"time": "", "start": ""} == {
        "time": "", "level": "info", "event": "run.started", "run": "r", "start": "", "method": resolved.plain["method_name"],
        "data": "digits", "seed": 3, "workers": 0,
    }  # fmt: skip
    assert failed["event"] == "run.failed" and failed["exit_code"] == 6 and failed["error"] == "BudgetExhausted"
    assert failed["where"].startswith("stillhouse.cluster.run:") and SECRET not in json.dumps(failed)


def test_the_command_says_where_the_log_is_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(resolved: Any) -> None:
        raise RunFailed("it ends at once")

    monkeypatch.setattr(run_module, "run", fail)
    words = ["method=dpsgd", "data=digits", f"root={tmp_path}", "name=r"]
    with pytest.raises(RunFailed):
        command.execute(argparse.Namespace(overrides=words, cfg=False, json=False))
    assert capsys.readouterr().err == f"log: {tmp_path / 'r' / FILE}\n"


@pytest.mark.slow
def test_a_whole_run_tells_what_it_did(tmp_path: Path) -> None:
    words = ["method=dpsgd", "data=digits", f"root={tmp_path}", "name=r", "diagnostics=false"]
    run_module.run(compose(words))
    first = [line["event"] for line in lines(tmp_path / "r")]
    assert first[:2] == ["run.started", "data.loaded"] and first[-1] == "run.finished"
    wanted = ["stage.started", "ledger.charged", "work.started", "work.first_step", "work.ended", "stage.finished"]
    assert [event for event in first if event in wanted][: len(wanted)] == wanted
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        (charged,) = [line for line in lines(tmp_path / "r") if line["event"] == "ledger.charged"]
        assert charged["entry"] == ledger.position()[0]
    run_module.run(compose(words))
    again = [line["event"] for line in lines(tmp_path / "r")][len(first) :]
    assert "stage.found" in again and "ledger.charged" not in again and "work.first_step" not in again


def test_a_curator_tells_what_it_charged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant("digits", epsilon=10, delta=1e-5, by="test")
    work = SimpleNamespace(
        purpose="means", uncovered="",
        events=lambda records: [("class means", GaussianEvent(sigma=40.0, squared_sensitivity=2))],
        compute=lambda private, run: (len(private), run.precision),
    )  # fmt: skip
    run = LocalRun(tmp_path / "run", reporter=Silent(), precision="bfloat16", events=EventLog.begin(tmp_path / "run"))
    private = load("digits").private
    found = LedgerCurator(private, "digits", url, None).release(work, run)  # type: ignore[arg-type]
    assert found == (len(private), "bfloat16")
    (line,) = lines(tmp_path / "run")
    assert (line["event"], line["dataset"], line["purpose"], line["entry"]) == (
        "ledger.charged",
        "digits",
        "class means",
        2,
    )


@pytest.mark.parametrize("refused", [False, True])
def test_an_analyst_tells_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    import numpy as np

    answers = SimpleNamespace(
        statuses=("answered", "abstained", "answered", "budget"), from_store=np.array([True, False, False, False]),
        cost_nano_rho=12, spent_epsilon=1.5, labels=np.array([7, -1, 3, -1]),
    )  # fmt: skip

    def ask(*_: Any, **__: Any) -> Any:
        if refused:
            raise BudgetExhausted("no")
        return answers

    monkeypatch.setattr(Analyst, "ask", ask)
    ensemble = RemoteEnsemble(Endpoint("127.0.0.1:1", "token"), "e", 1.0, EventLog.begin(tmp_path))
    images = np.zeros((4, 1, 2, 2), np.uint8)
    if refused:
        with pytest.raises(BudgetExhausted):
            ensemble.ask(images, None)  # type: ignore[arg-type]
    else:
        assert ensemble.ask(images, None) is answers  # type: ignore[arg-type]
    (line,) = lines(tmp_path)
    fields = {k: v for k, v in line.items() if k not in ("time", "run", "start")}
    if refused:
        assert fields == {"level": "warning", "event": "ensemble.refused", "queries": 4}
    else:
        assert fields == {
            "level": "info", "event": "ensemble.answered", "queries": 4, "answered": 2, "abstained": 1, "reinforced": 0,
            "budget": 1, "from_store": 1, "cost_nano_rho": 12, "spent_epsilon": 1.5,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "said"), [("10.0.0.1:8265", ["Ray dashboard: http://10.0.0.1:8265"]), ("", []), (None, [])]
)
def test_the_dashboard_of_a_cluster_that_is_joined(
    monkeypatch: pytest.MonkeyPatch, url: str | None, said: list[str]
) -> None:
    heard: list[str] = []
    _without_ray(monkeypatch, lambda **_: SimpleNamespace(dashboard_url=url))
    with session.ray_session(address="auto", say=heard.append):
        pass
    assert heard == said


def test_a_private_cluster_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> Any:
        assert options["include_dashboard"] is False
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    heard: list[str] = []
    _without_ray(monkeypatch, init)
    with session.ray_session(say=heard.append):
        pass
    assert heard == []


def _without_ray(monkeypatch: pytest.MonkeyPatch, init: Callable[..., Any]) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)


def test_a_log_field_is_refused_where_it_is_logged(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="log field 'image'"):
        EventLog.begin(tmp_path).write("looked", image=[1, 2])  # type: ignore[arg-type]
