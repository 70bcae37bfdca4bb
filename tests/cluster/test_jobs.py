"""Jobs on a Ray cluster, against a client that only plays one. `test_jobs_real.py` is the other half."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus
from stillhouse import __main__ as cli
from stillhouse.cluster import jobs
from stillhouse.platform.errors import ConfigError

# Not `from stillhouse.cluster.commands import submit`: ruff would not know that the module is meant.
submit = importlib.import_module("stillhouse.cluster.commands.submit")
OK = json.dumps({"status": "ok", "exit_code": 0, "data": {"folder": "/shared/runs/one"}})
OVERRIDES = ["method=pate", "data=digits", "root=/shared/runs"]
RUN = ["submit", "--address", "http://head:8265", *OVERRIDES]


class Cluster:
    """Plays a cluster: every job that is sent goes through `course` and leaves `log`."""

    def __init__(self, log=OK, code=0, course=("PENDING", "RUNNING", "SUCCEEDED")):
        self.log, self.code, self.course = log, code, course
        self.sent, self.asked, self.stopped, self.opened = {}, 0, [], []
        self.refuses = None

    def open(self, address):
        if isinstance(self.refuses, Exception):
            raise self.refuses
        self.opened.append(address)
        return self

    def submit_job(self, *, submission_id, **options):
        if submission_id in self.sent:
            raise RuntimeError(f"Request failed with status code 500: ... {submission_id} already exists. Please ...")
        wheel = Path(options["runtime_env"]["py_modules"][0])
        assert wheel.is_file(), "the wheel has to be there when it is sent"
        self.sent[submission_id] = {**options, "wheel": wheel.name}
        return submission_id

    def get_job_info(self, job_id):
        if job_id not in self.sent:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")
        status = JobStatus(self.course[min(self.asked, len(self.course) - 1)])
        self.asked += 1
        done = status in (JobStatus.SUCCEEDED, JobStatus.FAILED)
        return SimpleNamespace(status=status, driver_exit_code=self.code if done else None, message="as Ray says it")

    def get_job_logs(self, job_id):
        self.get_job_info(job_id)
        return f"(pid=1) a warning\n{self.log}\n"

    async def tail_job_logs(self, job_id):
        if job_id not in self.sent:
            raise aiohttp.ClientError("404, as the web socket says it")
        for line in self.get_job_logs(job_id).splitlines(keepends=True):
            yield line

    def stop_job(self, job_id):
        self.get_job_info(job_id)
        self.stopped.append(job_id)
        return True


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(jobs.wait, "__kwdefaults__", {"pause": lambda _: None})
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster(monkeypatch):
    played = Cluster()
    monkeypatch.setattr(jobs, "_open", played.open)
    return played


def call(capsys, *words):
    code = cli.main([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_job_carries_the_program_and_the_checked_overrides(cluster, capsys):
    code, said, err = call(capsys, *RUN, "--metadata", "team=a=b", "--cpus", "2", "--gpus", "0.5")
    assert code == 0 and cluster.opened == ["http://head:8265"]
    ((name, sent),) = cluster.sent.items()
    assert name.startswith("stillhouse-") and name in err and "/shared/runs/one" in err
    assert said["data"]["id"] == name and said["data"]["new"] and said["data"]["status"] == "SUCCEEDED"
    assert said["data"]["result"] == {"folder": "/shared/runs/one"}
    words = shlex.split(sent["entrypoint"])
    assert words[:5] == ["python", "-m", "stillhouse", "run", "--json"]
    assert words[5:] == ["cluster.address=auto", *OVERRIDES]
    assert set(sent["runtime_env"]) == {"py_modules"}, "no folder is sent unless one is named"
    assert sent["metadata"]["team"] == "a=b" and "stillhouse" in sent["metadata"]
    assert (sent["entrypoint_num_cpus"], sent["entrypoint_num_gpus"]) == (2.0, 0.5)


def test_a_folder_goes_without_the_runs_and_the_ledger_that_lie_in_it(cluster, capsys, tmp_path):
    words = ["submit", f"root={tmp_path}/runs", "--working-dir", str(tmp_path)]
    assert call(capsys, *words)[0] == 0
    (sent,) = cluster.sent.values()
    assert sent["runtime_env"]["working_dir"] == str(tmp_path) and sent["runtime_env"]["excludes"] == ["/runs"]
    assert call(capsys, "submit", "root=/r", "--working-dir", str(tmp_path / "none"))[0] == 4


def test_the_same_job_is_found_again_and_another_seed_is_another_job(cluster, capsys):
    first = call(capsys, *RUN)[1]["data"]
    again = call(capsys, *RUN)[1]["data"]
    assert first["new"] and not again["new"] and first["id"] == again["id"] and again["result"] == first["result"]
    other = call(capsys, *RUN, "seed=1")[1]["data"]
    assert other["new"] and other["id"] != first["id"]
    assert call(capsys, *RUN, "--id", "mine")[1]["data"]["id"] == "mine"
    assert len(cluster.sent) == 3


def test_two_that_send_at_once_share_one_job(cluster, monkeypatch, capsys):
    assert call(capsys, *RUN)[0] == 0
    monkeypatch.setattr(jobs, "_is_there", lambda *_: False)
    code, said, _ = call(capsys, *RUN)
    assert code == 0 and not said["data"]["new"] and len(cluster.sent) == 1


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6])
def test_submit_ends_as_the_run_ended(cluster, capsys, code):
    body = {"what": "it happened", "why": "of a reason", "mend": "do that", "kind": "Whatever"}
    cluster.log = json.dumps({"status": "error", "exit_code": code, "error": body})
    cluster.code, cluster.course = code, ("RUNNING", "FAILED")
    found, said, err = call(capsys, *RUN)
    assert found == said["exit_code"] == code
    assert f"failed with exit code {code}: it happened: of a reason" in err and "do that" in err and "--id" in err


@pytest.mark.parametrize(
    ("code", "course", "log", "expected", "hint"),
    [
        (137, ("FAILED",), "Killed", 1, "exit code 137: as Ray says it"),
        (None, ("PENDING", "FAILED"), "", 1, "as Ray says it"),  # The environment could not be made.
        (None, ("FAILED",), '{"exit_code": 6}', 6, "exit code 6"),
        (0, ("STOPPED",), "", 1, "was stopped"),
        (0, ("SUCCEEDED",), "{not json\n{}", 0, "SUCCEEDED"),
    ],
)
def test_ends_that_are_not_the_runs_own(cluster, capsys, code, course, log, expected, hint):
    cluster.code, cluster.course, cluster.log = code, course, log
    found, said, err = call(capsys, *RUN)
    assert found == expected and hint in err + json.dumps(said)


def test_no_wait_comes_back_at_once_and_follow_shows_the_log(cluster, capsys):
    cluster.course = ("RUNNING",)
    code, said, err = call(capsys, *RUN, "--no-wait")
    assert code == 0 and said["data"]["status"] == "RUNNING" and said["data"]["result"] is None
    assert "a warning" not in err
    cluster.course = ("SUCCEEDED",)
    code, said, err = call(capsys, *RUN, "--follow")
    assert code == 0 and "a warning" in err and said["data"]["result"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["method=pat"], "pate"),
        (["silos.techers=3"], "silos.teachers"),
        (["root=runs"], "absolute"),
        (["privacy.ledger=sqlite:///ledger.db"], "privacy.ledger"),
        (["privacy.high_water=mark"], "privacy.high_water"),
        (["cluster.num_cpus=2"], "num_cpus"),
        (["--metadata", "team"], "--metadata"),
        (["--wheel", "none.whl"], "none.whl"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(cluster, capsys, words, hint):
    code, _, err = call(capsys, *RUN, *words)
    assert code == 4 and hint in err and not cluster.sent


def test_a_wrong_configuration_does_not_even_open_a_connection(cluster):
    with pytest.raises(ConfigError):
        submit.check(["sed=1"])
    assert cli.main([*RUN, "sed=1"]) == 4 and not cluster.opened


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("words", [RUN, ["status", "x"], ["logs", "x"], ["stop", "x"]])
def test_a_cluster_that_wants_a_token_says_what_to_set(cluster, capsys, status, words):
    cluster.refuses = AuthenticationError(f"Authentication: {status}\n\nlong text of Ray")
    code, said, err = call(capsys, *words)
    assert code == 2 and said["error"]["kind"] == "NotAuthorised"
    assert "RAY_AUTH_TOKEN" in err and "RAY_AUTH_TOKEN_PATH" in err and "long text" not in err


def test_nothing_there(capsys, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for words in (["status", "x"], ["submit", *OVERRIDES]):
        code, said, err = call(capsys, *words, "--address", "http://127.0.0.1:1")
        assert code == 2 and said["error"]["kind"] == "Unreachable" and "http://127.0.0.1:1" in err
    code, _, err = call(capsys, "status", "x", "--address", "head:8265")
    assert code == 4 and "http://HOST:8265" in err


def test_a_connection_that_breaks_is_unreachable(cluster, capsys):
    cluster.refuses = requests.exceptions.ReadTimeout("slow")
    assert call(capsys, "status", "x")[0] == 2
    cluster.refuses = RuntimeError("Request failed with status code 500: a traceback\nValueError: no")
    code, _, err = call(capsys, "status", "x")
    assert code == 1 and "ValueError: no" in err


def test_status_logs_and_stop(cluster, capsys):
    name = call(capsys, *RUN, "--no-wait")[1]["data"]["id"]
    cluster.course = ("SUCCEEDED",)
    code, said, err = call(capsys, "status", name)
    assert code == 0 and said["data"]["status"] == "SUCCEEDED" and said["data"]["driver_exit_code"] == 0
    assert f"{name}: SUCCEEDED, exit code 0" in err
    for more in ([], ["--follow"]):
        assert cli.main(["logs", name, *more]) == 0
        assert capsys.readouterr().out == f"(pid=1) a warning\n{OK}\n"
        assert OK in call(capsys, "logs", name, *more)[1]["data"]["log"]
    assert call(capsys, "stop", name)[1]["data"] == {"id": name, "stopped": True} and cluster.stopped == [name]
    for words in (["status"], ["logs"], ["logs", "--follow"], ["stop"]):
        code, _, err = call(capsys, *words, "unknown")
        assert code == 4 and "no such job" in err


def test_the_address_comes_from_the_environment_unless_it_is_given(cluster, capsys, monkeypatch):
    call(capsys, "status", "x")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://from-environment:8265")
    call(capsys, "status", "x")
    call(capsys, "status", "x", "--address", "http://given:8265")
    assert cluster.opened == ["http://127.0.0.1:8265", "http://from-environment:8265", "http://given:8265"]


def test_a_token_that_is_given_is_used_without_a_mode(monkeypatch, tmp_path):
    assert jobs._token_header() == {}
    (tmp_path / "token").write_text("of the file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert jobs._token_header() == {"Authorization": "Bearer of the file"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "first")
    assert jobs._token_header() == {"Authorization": "Bearer first"}
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert jobs._token_header() == {}


def test_one_wheel_is_built_and_none_where_one_is_given(cluster, capsys, monkeypatch, tmp_path):
    built, build = [], submit.build_wheel
    monkeypatch.setattr(submit, "build_wheel", lambda folder: built.append(folder) or build(folder))
    call(capsys, *RUN)
    assert len(built) == 1 and not built[0].exists()
    wheel = build(tmp_path)
    call(capsys, *RUN, "--wheel", str(wheel), "--id", "given")
    assert len(built) == 1 and len({sent["wheel"] for sent in cluster.sent.values()}) == 1


def test_a_wheel_has_the_same_bytes_for_the_same_files_and_the_name_holds_its_hash(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    one, two = (submit.build_wheel(folder) for folder in folders[:2])
    assert one.read_bytes() == two.read_bytes()
    name = submit.stamped(one, folders[2]).name
    assert name == submit.stamped(two, folders[2]).name != one.name
    with zipfile.ZipFile(two, "a") as archive:
        archive.writestr("stillhouse/more.py", "")
    assert submit.stamped(two, folders[2]).name != name
    assert submit.stamped(folders[2] / name, folders[0]).name == name, "a stamp replaces a stamp"


def test_pip_installs_the_wheel_and_it_is_the_whole_program(tmp_path):
    wheel = submit.stamped(submit.build_wheel(tmp_path), tmp_path)
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*command, f"--target={target}", str(wheel)], check=True)  # Offline: it asks for nothing else.
    root = Path(cli.__file__).parent
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for package in listed:
        here = {
            path.name for path in root.joinpath(*package.split(".")[1:]).glob("*.*") if path.suffix in (".py", ".yaml")
        }
        there = {path.name for path in target.joinpath(*package.split(".")).glob("*.*")}
        assert here <= there, package
    assert not (target / "stillhouse" / "tests").exists()
    script = "import stillhouse; from stillhouse.cluster.config.compose import compose; compose([]); print(stillhouse.__file__)"
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(target / "stillhouse" / "__init__.py")
