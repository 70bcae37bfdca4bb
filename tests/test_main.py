"""The command line's promises: exit codes, one JSON object on stdout, no traceback, quick help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stillhouse import __main__ as cli
from stillhouse.cluster.commands import run as run_command
from stillhouse.platform import errors


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["rnu"], 4, "invalid choice"),
        (["run", "silos.techers=3"], 4, "did you mean 'silos.teachers'?"),
        (["run", "data=nothing"], 4, "digits"),
        (["ledger", "show", "--ledger", "nowhere.db"], 4, "the first grant makes one"),
        (["report", "no-such-folder"], 4, "no-such-folder"),
        (
            ["ledger", "grant", "x", "--epsilon", "-3", "--delta", "1e-5", "--by", "me", "--ledger", "l.db"],
            4,
            "epsilon",
        ),
        (["ask", "--images", "a", "--mechanism", "x", "--ensemble", "e", "--out", "o.npz"], 4, "no file a"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    code: int,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = call(capsys, *words)
    assert found == code and out == ""
    assert err.startswith("error: ") and hint in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_json_is_one_object_for_errors_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "run", "sed=1", "--json")
    body = json.loads(out)
    assert code == body["exit_code"] == 4 and body["status"] == "error"
    assert body["error"]["kind"] == "ConfigError"
    code, out, err = call(capsys, "run", "--cfg", "--json", "seed=3")
    assert code == 0 and json.loads(out)["data"]["seed"] == 3 and err == ""


@pytest.mark.parametrize("kind", [errors.RunFailed, errors.Unreachable, errors.TimedOut, errors.BudgetExhausted])
def test_each_error_ends_with_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: type[errors.StillhouseError]
) -> None:
    def fail(_: object) -> dict[str, object]:
        raise kind("it happened")

    monkeypatch.setattr(run_command, "execute", fail)
    assert call(capsys, "run")[0] == kind.exit_code


def test_a_bug_is_called_a_bug_and_its_traceback_is_kept_aside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("STILLHOUSE_DEBUG", raising=False)
    monkeypatch.setattr(run_command, "execute", lambda _: SimpleNamespace().missing)
    code, out, err = call(capsys, "run")
    assert code == 5 and out == "" and "AttributeError" in err and "Traceback" not in err
    (log,) = tmp_path.glob("stillhouse-*.log")
    assert "Traceback" in log.read_text()


def test_help_needs_neither_torch_nor_ray() -> None:
    script = (
        "import sys\nfrom stillhouse.__main__ import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("content", ["torn", "array", "other"])
def test_images_that_cannot_be_read_are_a_mistake_not_a_bug(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "public.npz"
    if content == "torn":
        file.write_bytes(b"PK torn")
    else:
        with file.open("wb") as out:
            np.save(out, np.zeros(3)) if content == "array" else np.savez(out, pictures=np.zeros(3))
    words = ["ask", "--images", str(file), "--mechanism", "name=gnmax", "sigma=2", "--ensemble", "e", "--out", "o.npz"]
    code, _, err = call(capsys, *words)
    assert code == 4 and "can be read" in err
