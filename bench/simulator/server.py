"""Listens and serves until it is told to stop; says how much it served and how late it was.

One asyncio loop, one process. Timers are exact to about 0.1 ms: an epoll wait counts whole milliseconds, so the loop
waits in `select` on the epoll descriptor, which counts microseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import resource
import secrets
import select
import selectors
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.clock import enable_stamps, utc_ns
from bench.errors import UsageError
from bench.simulator.behaviour import Behaviour
from bench.simulator.connection import Connection, Shared
from bench.simulator.handshake import Accepted, Door
from bench.simulator.identity import Identity, served
from bench.simulator.lateness import Lateness
from bench.simulator.profile import Profile
from bench.simulator.quota import Quota
from bench.simulator.refusals import GOING_AWAY, Complaint, Refused
from bench.simulator.truth import TruthLog
from bench.simulator.voice import Reply
from bench.simulator.wire import Ids

BACKLOG = 1024
FLUSH_S = 0.5
GC_THRESHOLDS = (50_000, 100, 100)
ACCEPT_PAUSE_S = 0.1  # after an accept failed for want of file descriptors


@dataclass(frozen=True)
class Offer:
    """What to serve, and to whom. `tls` None: plain ws; `deflate`: compressed for clients that offer it."""

    profile: Profile
    replies: Sequence[Reply]
    seed: int
    door: Door
    tls: ssl.SSLContext | None = None
    deflate: bool = False
    truth: TruthLog | None = None
    identity: Identity | None = None


class Server:
    def __init__(self, offer: Offer, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._offer, self._listener, self._loop = offer, listener, loop
        self._tag = secrets.token_hex(3)  # keeps ids apart from those of other simulators with the same seed
        self._connections: set[Connection] = set()
        self._quota = Quota(offer.profile.limits)
        self.sessions = self.refused = 0
        self.lateness = Lateness()
        self._shared = Shared(
            loop=loop,
            door=offer.door,
            quota=self._quota,
            tls=offer.tls,
            deflate=offer.deflate,
            new_session=self._new_session,
            refused=self._note_refusal,
            lateness=self.lateness,
            truth=offer.truth,
            events_per_segment=offer.profile.events_per_segment,
            ping_interval_s=offer.profile.ping_interval_s,
            session_cap_s=offer.profile.session_cap_s,
        )
        loop.add_reader(listener, self._accept)

    async def stop(self) -> None:
        """Say goodbye to every client, and wait until each has gone."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.close(GOING_AWAY)
        while self._connections:
            await asyncio.sleep(0.01)

    def summary(self) -> str:
        refused = f"{self.refused} refused, " if self.refused else ""
        counts = f"{self.sessions} sessions, {refused}{self.lateness.count} events sent"
        return f"SIMULATED: {counts}, {self.lateness.summary()}"

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(ACCEPT_PAUSE_S, self._accept_again)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        enable_stamps(sock)
        self._connections.add(Connection(self._shared, sock, self._connections.discard))

    def _accept_again(self) -> None:
        if self._listener.fileno() != -1:
            self._loop.add_reader(self._listener, self._accept)

    def _new_session(self, accepted: Accepted) -> Behaviour:
        self.sessions += 1
        return Behaviour(
            accepted.dialect,
            accepted.model,
            int(utc_ns() / 1e9 + self._offer.profile.session_cap_s),
            self._offer.profile,
            self._offer.replies,
            np.random.default_rng([self._offer.seed, self.sessions]),
            Ids(f"{self._tag}{self.sessions:06d}"),
            self._quota,
        )

    def _note_refusal(self, refusal: Refused | Complaint, at_ns: int) -> None:
        self.refused += 1
        if self._offer.truth:
            status = refusal.status if isinstance(refusal, Refused) else refusal.close_code
            self._offer.truth.refused(status, refusal.code, at_ns)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is in use; choose another, or --port 0 for a free one") from error
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from error
    listener.setblocking(False)
    return listener


def serve(offer: Offer, listener: socket.socket, ready: Callable[[str | None], None]) -> str:
    """Serve until SIGINT or SIGTERM; `ready` is called once clients are answered. Returns the summary line.

    `ready` is told the URL of the identity endpoint, where there is one.
    """
    _allow_many_sockets()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(PunctualSelector())) as runner:
        return runner.run(_serve(offer, listener, ready))


async def _serve(offer: Offer, listener: socket.socket, ready: Callable[[str | None], None]) -> str:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    server = Server(offer, listener, loop)
    gc.collect()
    gc.freeze()  # the replies never become garbage: do not look at them again,
    gc.set_threshold(*GC_THRESHOLDS)  # and seldom at the sessions: with hundreds of them a look takes 10 ms
    async with served(offer.identity, listener.family) as endpoint:
        ready(endpoint)
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), FLUSH_S)
            if offer.truth:
                offer.truth.flush()
    await server.stop()
    return server.summary()


def _allow_many_sockets() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class PunctualSelector(selectors.DefaultSelector):
    """epoll whose timeout counts microseconds; on other platforms the selector already does."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        if timeout is not None and timeout > 0 and hasattr(self, "fileno"):
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)
