import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from raylets import patiently
from stillhouse.cluster.session import ray_session
from stillhouse.platform.errors import BadInput, Unreachable

HOME_TOKEN = Path.home() / ".ray" / "auth_token"


@ray.remote
class Witness:
    """An actor that tells what it sees."""

    def tell(self):
        import platform

        import only_on_the_path
        import stillhouse

        names = (
            "RAY_AUTH_MODE",
            "RAY_AUTH_TOKEN_PATH",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
            "RAY_USAGE_STATS_ENABLED",
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
        )
        return (
            platform.__file__,
            stillhouse.__file__,
            only_on_the_path.HERE,
            {name: os.environ.get(name) for name in names},
        )


@pytest.mark.timeout(900)
def test_a_private_cluster_starts_works_and_leaves_nothing(tmp_path, capfd, monkeypatch):
    import stillhouse

    (tmp_path / "only_on_the_path.py").write_text("HERE = 'yes'\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a token of another cluster")
    before, token_before, handler = dict(os.environ), HOME_TOKEN.exists(), signal.getsignal(signal.SIGINT)
    tokens = []
    for _ in range(2):  # Twice: Ray keeps the token of the first session in the process unless told to forget it.
        with ray_session(num_cpus=1, python_path=[tmp_path]):
            witness = Witness.options(num_cpus=0).remote()
            pythons_own, package, here, seen = ray.get(witness.tell.remote(), timeout=200)
            assert pythons_own == platform.__file__, "in a Ray worker `platform` must be Python's own module"
            assert package == stillhouse.__file__ and here == "yes"
            assert seen["RAY_AUTH_MODE"] == "token" and seen["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"
            assert seen["RAY_USAGE_STATS_ENABLED"] == "0"
            assert seen["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] == "0", (
                "a private cluster's one machine is not taken away"
            )
            token = Path(seen["RAY_AUTH_TOKEN_PATH"])
            assert token.stat().st_mode & 0o077 == 0
            tokens.append(token.read_text())
            with ray_session(num_cpus=64):
                assert ray.cluster_resources()["CPU"] == 1
            assert ray.is_initialized(), "an inner session must not end the outer one"
        assert not ray.is_initialized() and not token.parent.exists()
    assert tokens[0] != tokens[1]
    assert dict(os.environ) == before and HOME_TOKEN.exists() == token_before
    assert signal.getsignal(signal.SIGINT) == handler
    assert capfd.readouterr() == ("", "")


def test_the_size_of_a_cluster_that_exists_cannot_be_chosen():
    with pytest.raises(BadInput, match="num_cpus"), ray_session(num_cpus=2, address="127.0.0.1:1"):
        pass


def test_a_cluster_that_is_not_there_is_unreachable_and_the_environment_comes_back():
    before = dict(os.environ)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"), ray_session(address="127.0.0.1:1"):
        pass
    assert dict(os.environ) == before and not ray.is_initialized()


def test_a_machine_that_is_too_busy_for_ray_to_start_is_no_bug_of_ours(monkeypatch):
    starts = []

    def fail(text):
        def start(**options):
            starts.append(text)
            raise Exception(text)

        return start

    before = dict(os.environ)
    for text, tries in (("The current node timed out during startup.\nThis could happen ...", 3), ("wrong", 1)):
        monkeypatch.setattr(ray, "init", fail(text))
        with pytest.raises(Unreachable, match=text.split(".")[0]), ray_session(num_cpus=1):
            pass
        assert starts.count(text) == tries
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_joined_cluster_goes_on_after_the_session(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    (tmp_path / "only_on_the_path.py").write_text("HERE = 'yes'\n")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster()
    try:
        patiently(lambda: cluster.add_node(num_cpus=1, include_dashboard=False))
        for _ in range(2):
            with ray_session(address=cluster.address, python_path=[tmp_path]):
                witness = Witness.options(num_cpus=0, runtime_env={"env_vars": {"RAY_AUTH_TOKEN_PATH": ""}}).remote()
                _, _, here, seen = ray.get(witness.tell.remote(), timeout=200)
                assert here == "yes"
                assert seen["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] is None, (
                    "a joined cluster's machines may be taken away"
                )
            assert not ray.is_initialized()
    finally:
        cluster.shutdown()


def test_sigterm_ends_a_session_in_order():
    script = (
        "import os, time; from stillhouse.cluster.session import ray_session\n"
        "with ray_session(num_cpus=1): print(os.environ['RAY_AUTH_TOKEN_PATH'], flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        token = Path(process.stdout.readline().strip())
        assert token.exists()
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in said and "SIGTERM received" not in said
    assert not token.parent.exists()
