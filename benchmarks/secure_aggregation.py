"""Votes in plain, in plain over TLS, and by secure aggregation with noise in shares: bytes and milliseconds a batch of queries.

    OMP_NUM_THREADS=1 python benchmarks/secure_aggregation.py --silos 10 50 250 --queries 100 --classes 10

In plain each silo sends its labels, as it does to an aggregator that is trusted; that one counts and adds noise. For the TLS arm
they go over gRPC on loopback with a certificate that is made for it, each silo on a connection of its own, dialled for the batch;
beside it stands the same without TLS. Bytes are counted on the wire, by a relay, the handshake and gRPC's own with them; time is
taken without the relay, and is that of both ends. Securely a silo takes part in the five steps, and a tenth of the silos is lost
before it sends its masked vector, which costs the server most; no network is in that figure, whose messages may go over either.

It is processor time: silos work one after the other here, and side by side elsewhere. Making the noise's table, once, is left out.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from stillhouse.cluster.certificate import make_certificate
from stillhouse.platform.aggregator.config import TlsFiles
from stillhouse.platform.aggregator.counting import count
from stillhouse.platform.aggregator.tls import client_credentials, server_credentials
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_mechanisms import SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.noise import SystemNoise
from stillhouse.platform.secure.ballot import Request, VoteContribution, canonical
from stillhouse.platform.secure.carrying import InProcess, conduct
from stillhouse.platform.secure.histogram import decode
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.member import Member
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.protocol import Opening, Terms
from stillhouse.platform.secure.server import Server

SIGMA = 40.0
LOOPBACK = "127.0.0.1"
METHOD = "/benchmark/Vote"
# Otherwise gRPC would let silos of one process share a connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Timed(InProcess):
    """Keeps the members' processor time apart from the server's."""

    seconds_of_members: float = field(default=0.0)

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        """As before, under the clock."""
        start = time.process_time()
        answers = list(super().exchange(sent, seconds=seconds))
        self.seconds_of_members += time.process_time() - start
        return answers


@dataclass(frozen=True)
class Cost:
    """Of one batch: bytes of one silo, up and down, and milliseconds of one silo and of the server."""

    up: float
    down: float
    silo_ms: float
    server_ms: float


def plain(votes: np.ndarray, classes: int) -> Cost:
    """Labels of four bytes and a content hash; counted, and noise added in one place."""
    silos, queries = votes.shape
    noise, mechanism = SystemNoise(), GNMax(SIGMA)
    mechanism.answer(np.zeros((1, classes), np.int64), noise)
    sent = [row.astype("<i4").tobytes() for row in votes]
    start = time.process_time()
    came = np.stack([np.frombuffer(raw, "<i4") for raw in sent]).astype(np.int64)
    mechanism.answer(count(came, queries=queries, teachers=silos, classes=classes), noise)
    return Cost(4 * queries, 32, 0.0, 1000 * (time.process_time() - start))


@dataclass(frozen=True)
class Carried:
    """A batch over gRPC: bytes of one silo on the wire, and processor and wall-clock milliseconds of all silos and the server
    together."""

    up: int
    down: int
    both_ms: float
    wall_ms: float


def carried(votes: np.ndarray, classes: int, files: TlsFiles | None) -> Carried:
    """Labels over gRPC, with TLS where there is a certificate; counted, and noise added in one place."""
    silos, queries = votes.shape
    noise, mechanism = SystemNoise(), GNMax(SIGMA)
    mechanism.answer(np.zeros((1, classes), np.int64), noise)
    came: list[bytes] = []

    def take(raw: bytes, context: grpc.ServicerContext) -> bytes:
        came.append(raw)
        return bytes(32)

    with listening(take, files) as port:
        up, down = counted(port, files, votes[0])
        came.clear()
        start, started = time.process_time(), time.perf_counter()
        for row in votes:
            send(port, files, row)
        stacked = np.stack([np.frombuffer(raw, "<i4") for raw in came]).astype(np.int64)
        mechanism.answer(count(stacked, queries=queries, teachers=silos, classes=classes), noise)
        return Carried(up, down, 1000 * (time.process_time() - start), 1000 * (time.perf_counter() - started))


def send(port: int, files: TlsFiles | None, row: np.ndarray) -> None:
    """One silo: dial, send labels, hang up."""
    target = f"{LOOPBACK}:{port}"
    channel = (
        grpc.insecure_channel(target, OWN_CONNECTION)
        if files is None
        else grpc.secure_channel(target, client_credentials(files.cert, None, None), OWN_CONNECTION)
    )
    with channel:
        channel.unary_unary(METHOD)(row.astype("<i4").tobytes(), timeout=60)


@contextmanager
def listening(take: grpc.RpcMethodHandler, files: TlsFiles | None) -> Iterator[int]:
    """A server on a free port of loopback."""
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(take)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark", handlers),))
    address = f"{LOOPBACK}:0"
    port = (
        server.add_insecure_port(address)
        if files is None
        else server.add_secure_port(address, server_credentials(files))
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def counted(port: int, files: TlsFiles | None, row: np.ndarray) -> tuple[int, int]:
    """Bytes up and down of one silo, by a relay that passes one connection on."""
    totals = [0, 0]
    with socket.create_server((LOOPBACK, 0)) as door:

        def pass_on(source: socket.socket, sink: socket.socket, which: int) -> None:
            while chunk := source.recv(1 << 16):
                totals[which] += len(chunk)
                sink.sendall(chunk)
            # It may have hung up already.
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

        def relay() -> None:
            silo, _ = door.accept()
            with silo, socket.create_connection((LOOPBACK, port)) as server:
                back = threading.Thread(target=pass_on, args=(server, silo, 1))
                back.start()
                pass_on(silo, server, 0)
                back.join()

        thread = threading.Thread(target=relay)
        thread.start()
        send(door.getsockname()[1], files, row)
        thread.join()
    return totals[0], totals[1]


def secure(votes: np.ndarray, classes: int) -> Cost:
    """A whole round; its sum is compared with the histogram of those who were there, up to the noise."""
    silos, queries = votes.shape
    lost = silos // 10
    share = NoiseShare(SIGMA, silos, dropped=lost, colluding=1)
    mechanism = SharedGNMax(share)
    identities, server = [Identity.new() for _ in range(silos)], Identity.new()
    keys = [identity.public for identity in identities]
    terms = Terms.of(keys, server=server.public, dropped=lost, colluding=1)
    noise = ShareNoise()
    share.draw(1, noise)

    def member(number: int) -> Member:
        own = votes[number - 1]
        contribution = VoteContribution(lambda content: own, mechanism, classes=classes, terms=terms, noise=noise)
        return Member(number, identities[number - 1], terms, contribution)

    carrier = Timed({n: member(n) for n in terms.numbers}, dict.fromkeys(range(1, lost + 1), Kind.MASKED))
    request = Request("c" * 64, queries, tuple(range(queries)), classes, "answer", canonical(mechanism.to_json()))
    opening = Opening.new(terms, length=request.length, request=request.to_text())
    start = time.process_time()
    total = conduct(Server(server, terms, opening), carrier, seconds=600.0)
    mechanism.labels(decode(total.vector, queries=queries, classes=classes))
    whole = time.process_time() - start
    exact = count(votes[lost:], queries=queries, teachers=silos, classes=classes)
    apart = decode(total.vector, queries=queries, classes=classes) - exact
    if len(total.members) != silos - lost or np.abs(apart).max() > 8 * share.deviation(silos):
        raise SystemExit("the sum is wrong")
    mine = carrier.seconds_of_members
    return Cost(carrier.to_server / silos, carrier.to_members / silos, 1000 * mine / silos, 1000 * (whole - mine))


def main() -> None:
    """Print two lines for each number of silos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--silos", type=int, nargs="+", default=[10, 50, 250])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = make_certificate(LOOPBACK, public=Path(folder), private=Path(folder))
        for silos in options.silos:
            votes = generator.integers(0, options.classes, (silos, options.queries))
            a, b = plain(votes, options.classes), secure(votes, options.classes)
            print(
                f"{silos} silos, {options.queries} queries, {options.classes} classes. A silo: {a.up + a.down:,.0f} bytes plain, "
                f"{b.up:,.0f} up and {b.down:,.0f} down secure (ratio {(b.up + b.down) / (a.up + a.down):,.0f}), "
                f"{b.silo_ms:,.1f} ms. Server: {a.server_ms:,.2f} ms plain, {b.server_ms:,.1f} ms secure "
                f"(ratio {b.server_ms / a.server_ms:,.0f}).",
                flush=True,
            )
            c, d = carried(votes, options.classes, None), carried(votes, options.classes, files)
            print(
                f"    over gRPC, both ends: {c.up:,} up and {c.down:,} down, {c.both_ms:,.0f} ms ({c.wall_ms:,.0f} ms on the clock) "
                f"in the clear; {d.up:,} up and {d.down:,} down, {d.both_ms:,.0f} ms ({d.wall_ms:,.0f} ms on the clock) with TLS "
                f"(ratio {(d.up + d.down) / (c.up + c.down):.1f} in bytes, {d.both_ms / c.both_ms:.1f} in processor time).",
                flush=True,
            )


if __name__ == "__main__":
    main()
