"""Opens connections to one target: its certificates, its headers, and the token or key that is valid now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.clock import monotonic_ns
from bench.errors import ConnectError
from bench.limits import Limits
from bench.target.target import Target
from bench.transport.base import Phases
from bench.transport.loop import LoopWatch
from bench.transport.tls import tls_context
from bench.transport.websocket import WebSocket, open_websocket

if TYPE_CHECKING:
    from bench.target.tokens import Keyring


class Dialer:
    """The way to one target, in one process. The TLS context is made once.

    Raises UsageError for a client certificate that cannot be used.
    """

    def __init__(self, target: Target, keyring: Keyring) -> None:
        self.target, self._keyring = target, keyring
        way = target.way
        self._context = tls_context(way.ca, way.client_cert, way.client_key) if target.tls else None

    def open(self, limits: Limits, phases: Phases) -> WebSocket:
        """Connect and upgrade; raises ConnectError, as `open_websocket` does, or `refused:token`.

        What is answered, of an error or in headers, is handed on without secrets.
        """
        own = self._authorization(limits, phases)
        headers = [*self.target.headers, *([own] if own else [])]
        try:
            socket = open_websocket(
                self.target.connection_url(),
                headers,
                self._context,
                limits,
                phases,
                self.target.way,
                self.target.subprotocols,
            )
        except ConnectError as error:
            detail = self._keyring.hide(error.detail)
            raise ConnectError(error.outcome, detail, self._hidden(error.headers)) from None
        socket.handshake = socket.handshake._replace(headers=self._hidden(socket.handshake.headers))
        return socket

    def _hidden(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self._keyring.hide(value) for name, value in headers.items()}

    def _authorization(self, limits: Limits, phases: Phases) -> tuple[str, str] | None:
        """The header that proves who calls. Only what lasted beyond a poll of the loop was a wait for a token."""
        watch, began_ns = LoopWatch.of_hub(), monotonic_ns()
        polls = watch.polls
        try:
            return self._keyring.header(self.target, limits.upgrade)
        finally:
            if watch.polls > polls:
                phases.token_wait_ns = monotonic_ns() - began_ns
