"""The code that connects to a target. The session's timeline gets the result, even an unexpected
error.
"""

# A dial has three steps. The keyring returns the credential, and may wait for a token. The
# transport of the target's link connects, and completes the handshake. Then secrets are removed
# from what the service sent, before anything stores or shows it.
#
# The caller gets a transport, or None. In both cases the timeline has received the result:
# `Connected` with the instants of all phases that were reached, and after a failure
# `SessionFailed`. So a dial that fails is a session with an outcome. It is never a session that is
# missing.

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from greenlet import GreenletExit
from msgspec.structs import replace

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, cleaned, encoded
from bench.catalogue.outcomes import OWN_FAULT, refusal_status
from bench.catalogue.timeouts import Timeouts
from bench.files.sanitize import excerpt
from bench.observe.inputs import SessionFailed
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedCallee, PreparedScript
from bench.target.address import other_version
from bench.target.target import Target
from bench.transport.interface import ConnectRequest, ConnectTimings, Transport
from bench.transport.links import opener_of
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.own_limits import own_limit
from bench.transport.parser import redirection
from bench.transport.tls import tls_context
from bench.wire.dialect import CALL_ID, Peer
from bench.wire.events import with_arrival

if TYPE_CHECKING:
    from bench.target.tokens import Keyring

MAX_CHALLENGE_CHARACTERS = 300


class RunEnded(GreenletExit):  # type: ignore[misc]  # greenlet is not typed
    """An exception that a session gets when the run ends. The session's user continues until
    Locust stops it.
    """

    def __init__(self, outcome: str = "unfinished", detail: str = "the run ended") -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


class Dialer:
    """An object that opens connections to one target, with its certificates, its headers, and its
    token or key.

    A process has one dialer per target, so that it makes the TLS context only once. The constructor
    raises UsageError if a client certificate cannot be used.
    """

    def __init__(self, target: Target, keyring: Keyring) -> None:
        self.target = target
        self._keyring = keyring
        path = target.network_path
        has_tls = target.tls or not target.link.is_tls_by_scheme
        self._context = tls_context(path.ca, path.client_cert, path.client_key) if has_tls else None

    def open(
        self,
        limits: Timeouts,
        phases: ConnectTimings,
        offer_members: Mapping[str, Any] = MappingProxyType({}),
        callee: PreparedCallee | None = None,
    ) -> Transport:
        """Open the transport of the target's kind of connection. `offer_members` are those of an
        offer in JSON.

        Remove secrets from the headers of the service's response, and from the text of an error.
        Raise ConnectError if the connection fails, as `OpenTransport` does; with the outcome
        `connect_failed:token` if there is no token.
        """
        has_call_key = self.target.network_path.has_call_key
        header = self._keyring.call_header if has_call_key else self._keyring.header
        authorization = self._authorization(header, limits, phases)
        call_id = uuid.uuid4().hex
        headers = [
            *self.target.connection_headers(call_id),
            *([authorization] if authorization else []),
        ]
        url = self.target.connection_url(call_id)
        path = self.target.network_path
        if offer_members:
            # the id of this call, which no script can know
            members = msgspec.json.encode(offer_members).replace(CALL_ID.encode(), call_id.encode())
            path = dataclasses.replace(path, offer_members=members)
        if callee is not None:
            path = dataclasses.replace(path, ring_ns=callee.ring_ns, is_busy=callee.kind == "busy")
        try:
            transport = opener_of(self.target.link)(
                ConnectRequest(
                    url,
                    headers,
                    self._context,
                    limits,
                    phases,
                    path,
                    self.target.subprotocols,
                    self._keyring.hide,
                )
            )
        except ConnectError as error:
            causes = [*cleaned(error.causes, self._keyring.redact)]
            received = with_arrival(self._hidden(error.headers), utc_ns() / NS_PER_S)
            if (
                challenge := received.get("www-authenticate")
            ) and self.target.link.credential == "header":
                quoted = excerpt(challenge, MAX_CHALLENGE_CHARACTERS)
                causes.append(Cause(Code.CHALLENGE, {"challenge": quoted}))
            status = refusal_status(error.outcome)
            causes += redirection(status, received.get("location", ""), self.target.url)
            causes += other_version(status, self.target.resource)
            raise ConnectError(error.outcome, causes, received) from None
        redacted_headers = self._hidden(transport.handshake.headers)
        agent_call_id = call_id if self.target.dialect.peer is Peer.AGENT else ""
        transport.handshake = replace(
            transport.handshake, headers=redacted_headers, call_id=agent_call_id
        )
        transport.fill = self._keyring.fill
        return transport

    def _hidden(self, headers: Mapping[str, str]) -> dict[str, str]:
        redact = self._keyring.redact
        return {redact(name): redact(value) for name, value in headers.items()}

    def _authorization(
        self,
        header: Callable[[Target, float], tuple[str, str] | None],
        limits: Timeouts,
        phases: ConnectTimings,
    ) -> tuple[str, str] | None:
        """Return a header of the keyring, which authenticates the client; None if it sends no key
        and no token.

        Record the time in `phases` as a wait for a token only if the event loop polled during it,
        because only then did this greenlet wait.
        """
        monitor = LoopMonitor.of_hub()
        start_ns = monotonic_ns()
        polls = monitor.polls
        try:
            return header(self.target, limits.upgrade)
        finally:
            if monitor.polls > polls:
                phases.auth_wait_ns += monotonic_ns() - start_ns


def connect(
    dialer: Dialer,
    script: PreparedScript,
    timeline: Timeline,
    on_handshake: Callable[[Mapping[str, str], str], None],
) -> Transport | None:
    """Open a connection for a script. Return None if there is none; the timeline then contains the
    outcome.

    `on_handshake` is called with the headers of the service's response and the id of the call. The
    headers are empty if there was no response. The id is "" if the service is not an agent. If the
    greenlet is ended, or an unexpected error occurs, record the outcome in the timeline and then
    raise the exception again. Such a session counts as a failure, and never as a missing sample.
    """
    phases = ConnectTimings()
    try:
        transport = dialer.open(script.limits, phases, script.offer_members, script.callee)
    except ConnectError as error:
        on_handshake(error.headers, "")
        _failed(timeline, phases, error)
        return None
    except GreenletExit as error:
        run_ended = error if isinstance(error, RunEnded) else RunEnded()
        _failed(timeline, phases, ConnectError(run_ended.outcome, run_ended.detail))
        raise
    except Exception as error:
        if (limit := own_limit(error)) is not None:
            _failed(timeline, phases, limit)
            return None
        # Any error may occur during connecting, and a session without an end would be a missing
        # sample. Therefore it ends as `failed:load_generator`, and the caller gets the error and
        # shows it.
        fault = ConnectError(OWN_FAULT, f"{type(error).__name__}: {error}")
        _failed(timeline, phases, fault)
        raise
    on_handshake(transport.handshake.headers, transport.handshake.call_id)
    timeline.apply(transport.handshake)
    return transport


def _failed(timeline: Timeline, phases: ConnectTimings, error: ConnectError) -> None:
    timeline.apply(phases.connected(error.headers))
    timeline.apply(SessionFailed(error.outcome, monotonic_ns(), encoded(error.causes)))
