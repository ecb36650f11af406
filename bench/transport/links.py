"""What the tool does for each kind of connection: it opens a transport, and requests keys for
calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from bench.base.errors import UsageError
from bench.transport.interface import (
    CallKey,
    CallKeyKind,
    ConnectRequest,
    OpenTransport,
    Transport,
)
from bench.wire.service import WEBRTC, Link

if TYPE_CHECKING:
    from bench.transport.rtp_track import TrackTransport


def _ephemeral_key(request: ConnectRequest) -> CallKey:
    from bench.transport.webrtc.signalling import request_key

    return request_key(request)


CALL_KEYS: Mapping[Link, CallKeyKind] = {
    WEBRTC: CallKeyKind(
        "ephemeral key",
        "check that the key or token may create client secrets, and that the model exists; with"
        " another value of `offer` (--offer) no ephemeral key is needed",
        _ephemeral_key,
    )
}
"""The keys that services issue for calls, by the kind of connection that may need one
(`has_call_key` of its path)."""


def opener_of(link: Link) -> OpenTransport:
    """Return the function that opens connections of a kind. Raise UsageError if its packages are
    not installed.

    Transports are imported here, because some of their libraries are large. What would otherwise
    delay the first call is also done: the certificate of DTLS is made.
    """
    module, _, name = link.opener.partition(":")
    try:
        opener = getattr(import_module(module), name)
    except ImportError as error:
        if not link.extra:
            raise
        raise UsageError(
            f"{link.title} need packages that are not installed ({error.name}): pip install"
            f" 'rtbench[{link.extra}]'"
        ) from None
    if link.transport == WEBRTC.transport:
        from bench.protocols.webrtc.dtls import own_identity

        own_identity()
    return cast("OpenTransport", opener)


def call_of(transport: Transport) -> TrackTransport | None:
    """Return a transport whose audio is a track, None for another one. The module of its class
    needs the packages of calls, so it is not imported here.
    """
    return cast("TrackTransport", transport) if hasattr(transport, "track") else None
