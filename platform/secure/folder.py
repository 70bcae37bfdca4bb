"""A silo's side of secure aggregation out of its folder: any process may answer a message, one at a time, and none forgets what the
last one knew.

| file | what |
| --- | --- |
| `agreement.json` | what the silo has agreed on (`Agreement`) |
| `identity.key` | its lasting signing key, 32 bytes, for its owner alone |
| `secure/question.npz` | the batch that it has voted on last, by its hash |
| `secure/rounds` | the rounds it was in |
| `secure/round` | what it knows of the round it is in; written before an answer leaves, gone with the round (see `_forget_late`) |
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import BadInput, StillhouseError
from ..privacy.discrete_noise import ShareNoise
from ..privacy.events import Event
from ..training.files import replace
from .agreement import Agreement
from .ballot import VoteContribution
from .keys import KEY_BYTES, Identity
from .member import Member
from .memory import RoundMemory
from .round_state import RoundState

AGREEMENT, IDENTITY, HOME = "agreement.json", "identity.key", "secure"
_QUESTION, _ROUNDS, _ROUND, _LOCK = "question.npz", "rounds", "round", "lock"


class SecureFolder:
    """The silo whose folder this is.

    Args:
        charge: told key and event before anything is added, for a ledger of the silo's own.
        seconds: how long a round may take.
        clock: seconds, the same for all processes that use the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        charge: Callable[[str, Event], object] = lambda key, event: None,
        noise: ShareNoise | None = None,
        seconds: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._home = folder, folder / HOME
        self._charge, self._noise, self._seconds, self._clock = charge, noise, seconds, clock
        self.agreement = Agreement.read(folder / AGREEMENT)
        self.number = self.agreement.number(folder.name)

    def keep_question(self, content: str, votes: np.ndarray) -> None:
        """Remember the silo's votes (Q,) int64 on a batch, until another one is asked. They are private, as the folder is."""
        with self._turn():

            def fill(aside: Path) -> None:
                with _private(aside).open("wb") as file:
                    np.savez(file, content=np.array(content), votes=votes)

            replace(self._home / _QUESTION, fill)

    def handle(self, raw: bytes) -> bytes:
        """Answer a message of the server.

        Raises:
            StillhouseError: as `Member.handle`, whose round goes on or is over as it says there.
        """
        with self._turn():
            kept = self._home / _ROUND
            member = self._member(kept.read_bytes() if kept.exists() else b"")
            try:
                return member.handle(raw)
            finally:
                # Before the answer leaves: whoever takes the folder up next is past this step.
                self._keep(kept, member.state)

    def _member(self, state: bytes) -> Member:
        agreement = self.agreement
        contribution = VoteContribution(
            self._votes,
            agreement.mechanism,
            classes=agreement.classes,
            terms=agreement.terms,
            charge=self._charge,
            noise=self._noise,
        )

        def member(state: bytes) -> Member:
            return Member(
                self.number, read_identity(self._folder / IDENTITY), agreement.terms, contribution,
                memory=RoundMemory(self._home / _ROUNDS), seconds=self._seconds, clock=self._clock, state=state,
            )  # fmt: skip

        try:
            return member(state)
        except StillhouseError:
            # A state of other terms, or one that was damaged: that round is lost, the next is not.
            return member(b"")

    def _votes(self, content: str) -> np.ndarray:
        path = self._home / _QUESTION
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                if str(file["content"]) == content:
                    votes: np.ndarray = file["votes"]
                    return votes
        raise BadInput(
            "a round about a batch that this silo was not asked to vote on", mend="send it the queries first"
        )

    def _keep(self, path: Path, state: bytes) -> None:
        if not state:
            path.unlink(missing_ok=True)
            return

        def fill(aside: Path) -> None:
            _private(aside).write_bytes(state)

        replace(path, fill)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time: two that took up one state could sign two lists of survivors."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        with (self._home / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                self._forget_late()

    def _forget_late(self) -> None:
        """Nothing wakes a silo whose round has stopped, so whatever it is told next ends the secrets of one that takes too long."""
        kept = self._home / _ROUND
        if not kept.exists():
            return
        try:
            state = RoundState.from_bytes(kept.read_bytes(), self.agreement.terms)
            late = state.late(self._clock(), seconds=self._seconds)
        except StillhouseError:
            late = True  # nobody can go on with what cannot be read
        if late:
            kept.unlink()


def make_identity(path: Path) -> Identity:
    """The signing key in a file, made if there is none; give its `public` half to whoever writes the agreement."""
    if not path.exists():

        def fill(aside: Path) -> None:
            _private(aside).write_bytes(Identity.new().to_bytes())

        replace(path, fill)
    return read_identity(path)


def read_identity(path: Path) -> Identity:
    """The signing key in a file.

    Raises:
        BadInput: there is none.
    """
    try:
        private = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"there is no signing key in {path.parent.name}", mend="make one: `make_identity`") from None
    if len(private) != KEY_BYTES:
        raise BadInput(f"{path.name} is no signing key", why=f"a key has {KEY_BYTES} bytes")
    return Identity(private)


def _private(path: Path) -> Path:
    """The path of a file that is there, empty, and its owner's alone."""
    path.touch(mode=0o600)
    return path
