"""What an aggregator is told at its start: whom it serves, under which rules, where its ledger lies, how it is reached.

>>> is_loopback("127.0.0.1:50051"), is_loopback("[::1]:0"), is_loopback("0.0.0.0:50051")
(True, True, False)
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, ConfigError
from ..ledger.records import name


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the server's certificate and key; with `client_ca`, clients must show a certificate signed by it."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ServerConfig:
    """One aggregator: one data set, one ensemble.

    Args:
        address: host:port to listen on (port 0: any free one).
        dataset: the data set's name in the ledger.
        ensemble: the name of this set of teachers; answers are stored under it.
        silos: the roster. Votes are counted against all of it; a missing vote is an abstention.
        classes: number of labels; votes are 0 .. classes - 1.
        quorum: votes needed once the deadline has passed.
        deadline_seconds: how long silos have for a batch.
        ledger_url: the ledger's database; high_water: its mark, if not beside the SQLite file.
        tokens: file of token hashes.
        tls: required on every address that others can reach.
        metrics: host:port on which Prometheus finds metrics (port 0: any free one); None: nowhere.
    """

    address: str
    dataset: str
    ensemble: str
    silos: tuple[str, ...]
    classes: int
    quorum: int
    deadline_seconds: float
    ledger_url: str
    tokens: Path
    high_water: Path | None = None
    tls: TlsFiles | None = None
    metrics: str | None = None

    def __post_init__(self) -> None:
        problems = [
            *self._roster_problems(),
            *self._rule_problems(),
            *self._reach_problems(),
            *self._metrics_problems(),
        ]
        if problems:
            raise ConfigError(problems)

    def _roster_problems(self) -> list[str]:
        problems = []
        try:
            name(dataset=self.dataset, ensemble=self.ensemble, **{f"silo {i + 1}": s for i, s in enumerate(self.silos)})
        except BadInput as error:
            problems.append(str(error))
        if not self.silos:
            problems.append("the roster is empty; votes are counted against a fixed list of silos")
        if len(set(self.silos)) != len(self.silos):
            problems.append("the roster names a silo twice; each silo has one vote")
        return problems

    def _rule_problems(self) -> list[str]:
        problems = []
        if not 2 <= self.classes <= 2**16:
            problems.append(f"classes is {self.classes}; at least 2 and at most 65536 are needed")
        if not 1 <= self.quorum <= max(1, len(self.silos)):
            problems.append(f"quorum is {self.quorum}; it must be 1 to the number of silos, {len(self.silos)}")
        if not 0 < self.deadline_seconds < float("inf"):
            problems.append(f"deadline_seconds is {self.deadline_seconds}; it must be a finite number above 0")
        return problems

    def _reach_problems(self) -> list[str]:
        try:
            split_address(self.address)
        except BadInput as error:
            return [str(error)]
        if self.tls is None and not is_loopback(self.address):
            why = "tokens and votes would cross the network in the clear"
            mend = "give --tls-cert and --tls-key, or listen on 127.0.0.1"
            return [f"the aggregator will not listen on {self.address} without TLS: {why}; {mend}"]
        files = () if self.tls is None else (self.tls.cert, self.tls.key, self.tls.client_ca)
        if self.tls is not None and self.tls.key is None:
            return ["TLS needs the certificate's key (--tls-key)"]
        return [f"no file {path}" for path in files if path is not None and not Path(path).is_file()]

    def _metrics_problems(self) -> list[str]:
        if self.metrics is None:
            return []
        try:
            if is_loopback(self.metrics) or (self.tls is not None and self.tls.client_ca is not None):
                return []
        except BadInput as error:
            return [str(error)]
        why = "whoever asks for metrics shows no token, so must show a certificate"
        return [f"metrics will not be served on {self.metrics}: {why}; give --client-ca, or serve them on 127.0.0.1"]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[ipv6]:port`."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadInput(f"address {address!r} cannot be read", mend="write host:port, for example 127.0.0.1:50051")
    if ":" in bare and bare == host:
        raise BadInput(f"address {address!r} cannot be read", mend="write an IPv6 address in brackets: [::1]:50051")
    return bare, int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address. A name other than localhost is taken for the outside."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
