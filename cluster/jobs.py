"""Runs on a Ray cluster that is reached over HTTP: sent, followed, waited for, stopped.

    with connected("http://127.0.0.1:8265") as client:
        send(client, job)
        result = wait(client, job.name)

A job keeps its id: sending it a second time finds the first one, and waiting for it can be broken off and taken up again. The exit
code of the job's own process (`driver_exit_code`) comes out here as the error that the run itself ended with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..platform import errors
from ..platform.errors import BadInput, NotAuthorised, RunFailed, StillhouseError, Unreachable

ADDRESS_VARIABLE, DEFAULT_ADDRESS = "RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265"
SET_TOKEN = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it, to the token of this cluster"
KINDS = (RunFailed, Unreachable, errors.TimedOut, BadInput, errors.InternalBug, errors.BudgetExhausted)
KIND_OF_EXIT_CODE: dict[int | None, type[StillhouseError]] = {kind.exit_code: kind for kind in KINDS}


class Client(Protocol):
    """The part of `ray.job_submission.JobSubmissionClient` that is used here."""

    def submit_job(  # noqa: D102
        self, *, entrypoint: str, submission_id: str | None, runtime_env: dict[str, Any] | None,
        metadata: dict[str, str] | None, entrypoint_num_cpus: float | None, entrypoint_num_gpus: float | None,
    ) -> str: ...  # fmt: skip
    def get_job_info(self, job_id: str) -> Any: ...  # noqa: D102
    def get_job_logs(self, job_id: str) -> str: ...  # noqa: D102
    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]: ...  # noqa: D102
    def stop_job(self, job_id: str) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Job:
    """What is sent."""

    name: str
    entrypoint: str
    wheel: Path
    working_dir: Path | None = None
    excludes: tuple[str, ...] = ()
    num_cpus: float | None = None
    num_gpus: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def add_address(parser: argparse.ArgumentParser) -> None:
    """Declare `--address`."""
    default = os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    parser.add_argument(
        "--address", default=default, help=f"the dashboard (default: {ADDRESS_VARIABLE} or this machine)"
    )


def send(client: Client, job: Job) -> bool:
    """Submit; return whether the job is new. One that is there already is left as it is."""
    if _is_there(client, job.name):
        return False
    environment: dict[str, Any] = {"py_modules": [str(job.wheel)]}
    if job.working_dir is not None:
        environment |= {"working_dir": str(job.working_dir), "excludes": list(job.excludes)}
    try:
        client.submit_job(
            entrypoint=job.entrypoint, submission_id=job.name, runtime_env=environment, metadata=dict(job.metadata),
            entrypoint_num_cpus=job.num_cpus, entrypoint_num_gpus=job.num_gpus,
        )  # fmt: skip
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise
        return False  # Somebody else sent it in this moment.
    return True


def follow(client: Client, name: str, write: Callable[[str], object]) -> None:
    """Pass the job's log on, from its beginning, until the job ends."""

    client.get_job_info(name)  # Says it better if there is no such job.

    async def pass_on() -> None:
        async for text in client.tail_job_logs(name):
            write(text)

    asyncio.run(pass_on())


def wait(client: Client, name: str, *, pause: Callable[[float], object] = time.sleep) -> Any:
    """Wait for the end of a job and return what its run printed.

    Raises:
        StillhouseError: of the kind that the run itself ended with, and so with its exit code.
    """
    while not (info := client.get_job_info(name)).status.is_terminal():
        pause(1.0)
    said: dict[str, Any] = {}
    with suppress(RuntimeError):  # It may never have come to a log.
        said = _last_words(client.get_job_logs(name))
    if info.status == "SUCCEEDED":
        return said.get("data")
    code = said.get("exit_code") if info.driver_exit_code is None else info.driver_exit_code
    told = said.get("error") or {}
    reason = ": ".join(filter(None, (told.get("what"), told.get("why")))) or str(info.message or "").strip()[:1000]
    ended = "was stopped" if info.status == "STOPPED" else f"failed with exit code {code}"
    kind = RunFailed if info.status == "STOPPED" else KIND_OF_EXIT_CODE.get(code, RunFailed)
    again = f"`stillhouse logs {name}` shows all of it; to run it again give another --id"
    raise kind(f"job {name} {ended}", why=reason, mend=f"{told['mend']}; {again}" if told.get("mend") else again)


def state(client: Client, name: str) -> dict[str, Any]:
    """Return how a job stands."""
    info = client.get_job_info(name)
    kept = ("driver_exit_code", "message", "entrypoint", "start_time", "end_time", "metadata")
    return {"id": name, "status": str(info.status), **{key: getattr(info, key, None) for key in kept}}


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Talk to the cluster inside the block; what goes wrong there comes out as one of this program's errors."""
    if not address.startswith(("http://", "https://")):
        raise BadInput(f"the address {address!r} is not that of a Ray dashboard", mend="give http://HOST:8265")
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield _open(address)
    except AuthenticationError as error:
        why = str(error).strip().splitlines()[0]
        raise NotAuthorised(f"{address} does not let you in", why=why, mend=SET_TOKEN) from None
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        why, mend = type(error).__name__, "check the address; a job that was sent goes on, the same command finds it"
        raise Unreachable(f"no Ray dashboard answers at {address}", why=why, mend=mend) from None
    except RuntimeError as error:
        if "status code 404" in str(error):
            raise BadInput(f"{address} knows no such job", mend="`ray job list` shows those there are") from None
        raise RunFailed(f"{address} refused the call", why=str(error).strip().splitlines()[-1][:500]) from None


def _open(address: str) -> Client:
    import requests
    from ray.job_submission import JobSubmissionClient

    headers = _token_header()
    requests.get(f"{address}/api/version", headers=headers, timeout=10)  # Ray's client has no time-out.
    for module in ("dashboard_sdk", "job.sdk"):  # They tell of every upload.
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address  # It would win over the argument.
    try:
        return JobSubmissionClient(address, headers=headers)
    finally:
        os.environ.pop(ADDRESS_VARIABLE)
        os.environ.update({} if before is None else {ADDRESS_VARIABLE: before})


def _token_header() -> dict[str, str]:
    """Ray's client sends the token only with RAY_AUTH_MODE=token; a token that was given is meant to be used."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return {}
    token, path = os.environ.get("RAY_AUTH_TOKEN", ""), os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if not token and path:
        try:
            token = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise NotAuthorised(f"no token in RAY_AUTH_TOKEN_PATH={path}", why=str(error), mend=SET_TOKEN) from None
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}


def _is_there(client: Client, name: str) -> bool:
    try:
        client.get_job_info(name)
    except RuntimeError as error:
        if "status code 404" not in str(error):
            raise
        return False
    return True


def _last_words(log: str) -> dict[str, Any]:
    """Return the object that `stillhouse run --json` printed at its end."""
    for line in reversed(log.splitlines()):
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and "exit_code" in said:
                return said
    return {}
