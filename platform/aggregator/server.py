"""The aggregator as a process: gRPC server with health and reflection, started from a config, ended by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ..errors import BadInput
from ..log_lines import event_fields
from ..privacy.noise import Noise, SystemNoise
from . import aggregator_pb2 as pb
from . import aggregator_pb2_grpc as pb_grpc
from .config import ServerConfig, is_loopback
from .service import AnalystService, OfficerService, SiloService
from .service_desk import Desk
from .tls import server_credentials
from .tokens import Tokens
from .wire import MESSAGE_OPTIONS

if TYPE_CHECKING:
    from .metrics import MetricsServer

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
OPTIONS = [
    *MESSAGE_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second aggregator on the same port must fail, not share its calls
]
SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())


class Aggregator:
    """A server on the running event loop: `start`, and once `stop`.

    `noise` is there for tests; nothing in a configuration selects it.
    """

    def __init__(self, config: ServerConfig, *, noise: Noise | None = None) -> None:
        self._config = config
        self._desk = Desk(config, noise or SystemNoise(), on_doubt=self._set_unwell)
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = health.aio.HealthServicer()
        self._metrics: MetricsServer | None = None
        tokens = Tokens(config.tokens)
        pb_grpc.add_SiloServicer_to_server(SiloService(config, tokens, self._desk), self._server)
        pb_grpc.add_AnalystServicer_to_server(AnalystService(config, tokens, self._desk), self._server)
        pb_grpc.add_OfficerServicer_to_server(OfficerService(config, tokens, self._desk), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)

    async def start(self) -> int:
        """Open the ledger, take up open batches, listen. Returns the port.

        Raises:
            BadInput: address, TLS files or ledger cannot be used.
            LedgerDoubt: the ledger cannot be trusted.
        """
        try:
            await self._desk.start()
            port = self._listen()
            self._metrics = self._serve_metrics()
        except BaseException:
            await self._desk.finish()
            raise
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self) -> None:
        """Take no new calls, let the running ones end, finish what was begun. Open batches stay open on disk."""
        await self._health.enter_graceful_shutdown()
        self._desk.close()
        await self._server.stop(GRACE_SECONDS)
        if self._metrics is not None:  # Before the ledger is let go of, which they read.
            await asyncio.to_thread(self._metrics.stop)
        await self._desk.finish()

    @property
    def metrics_port(self) -> int | None:
        """Where metrics are served, if they are."""
        return None if self._metrics is None else self._metrics.port

    async def _set_unwell(self) -> None:
        # What was doubtful once stays so until somebody has looked: a restart reads the whole ledger again.
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    def _serve_metrics(self) -> MetricsServer | None:
        config = self._config
        if config.metrics is None:
            return None
        from .metrics import AggregatorCollector, MetricsServer  # Not every aggregator has a use for the library.

        collector = AggregatorCollector(
            self._desk.tally, self._desk.budget_now, dataset=config.dataset, ensemble=config.ensemble
        )
        server = MetricsServer(config.metrics, collector, None if is_loopback(config.metrics) else config.tls)
        told = event_fields("metrics.served", port=server.port)
        log.info("metrics on port %d", server.port, extra=told)
        return server

    def _listen(self) -> int:
        address, tls = self._config.address, self._config.tls
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, server_credentials(tls))
        except RuntimeError:
            port = 0
        if not port:
            raise BadInput(
                f"cannot listen on {address}", why="the port is taken, or the address is not this machine's",
                mend="choose another, or stop the program that has it",
            )  # fmt: skip
        return port


def serve(
    config: ServerConfig, ready: Callable[[int], None] = lambda port: None, *, noise: Noise | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread. `ready(port)` is called when calls are taken."""
    asyncio.run(_serve(config, ready, noise))


async def _serve(config: ServerConfig, ready: Callable[[int], None], noise: Noise | None) -> None:
    aggregator, stopped = Aggregator(config, noise=noise), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    port = await aggregator.start()
    try:
        ready(port)
        await stopped.wait()
        log.info("shutting down", extra=event_fields("server.stopping"))
    finally:
        await aggregator.stop()
