"""What the tool does for each kind of connection: it opens a transport, and requests keys for
calls.

A row of `TRANSPORTS` is a function, because the libraries of calls over WebRTC are imported only if
a run needs them. It does at the start what would otherwise delay the first call: it imports
modules, and makes the certificate of DTLS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.base.errors import UsageError
from bench.transport.interface import CallKeyKind, OpenTransport
from bench.transport.sip.telephone import open_call
from bench.transport.webrtc.signalling import EPHEMERAL_KEYS
from bench.transport.websocket import open_websocket
from bench.wire.service import (
    EVENT_STREAM,
    SIP,
    WEBRTC,
    WEBRTC_AGENT,
    WEBRTC_SESSION,
    WEBSOCKET,
    Link,
)


def _over_webrtc() -> OpenTransport:
    from bench.transport.webrtc.call import open_webrtc
    from bench.transport.webrtc.dtls import own_identity

    own_identity()
    return open_webrtc


def _session_over_webrtc() -> OpenTransport:
    from bench.transport.webrtc.dtls import own_identity
    from bench.transport.webrtc.session_call import open_session_call

    own_identity()
    return open_session_call


def _agent_over_webrtc() -> OpenTransport:
    from bench.transport.webrtc.call import open_agent_call
    from bench.transport.webrtc.dtls import own_identity

    own_identity()
    return open_agent_call


def _event_stream() -> OpenTransport:
    try:
        from bench.transport.event_stream.stream import open_event_stream
    except ImportError as error:
        raise UsageError(
            f"Amazon's event streams need packages that are not installed ({error.name}): pip"
            " install 'rtbench[aws]'"
        ) from None
    return open_event_stream


TRANSPORTS: Mapping[Link, Callable[[], OpenTransport]] = {
    WEBSOCKET: lambda: open_websocket,
    SIP: lambda: open_call,
    WEBRTC: _over_webrtc,
    WEBRTC_SESSION: _session_over_webrtc,
    WEBRTC_AGENT: _agent_over_webrtc,
    EVENT_STREAM: _event_stream,
}
"""For each kind of connection a function that returns what opens its transport."""
CALL_KEYS: Mapping[Link, CallKeyKind] = {WEBRTC: EPHEMERAL_KEYS}
"""The keys that services issue for calls, by the kind of connection that may need one
(`has_call_key` of its path)."""
