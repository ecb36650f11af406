"""A call over WebRTC on its socket, without a peer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.base.units import NEVER_NS
from bench.transport.interface import NetworkPath
from bench.transport.webrtc.call import WebRtcCall


def test_packets_that_have_arrived_are_read_before_the_wait_for_a_missing_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are in the socket until the next poll. Otherwise they would count as late."""
    call, done = WebRtcCall("127.0.0.1", "127.0.0.1", NetworkPath()), list[str]()
    peer: Any = SimpleNamespace(next_ns=NEVER_NS)
    call._peer = peer
    monkeypatch.setattr(call, "_read", lambda: done.append("read"))
    monkeypatch.setattr(call.track, "expire", lambda now_ns: done.append("expire"))

    call._expire()
    call.track.next_ns = 0
    call._expire()

    call._listener.close()
    call.track.close()
    assert done == ["read", "expire"]
