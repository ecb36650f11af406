"""A call over WebRTC on its socket, without a peer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bench.base.units import NEVER_NS
from bench.transport.interface import NetworkPath
from bench.transport.webrtc.call import WebRtcCall


def test_packets_that_have_arrived_are_read_before_the_wait_for_a_missing_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are in the socket until the next read. Otherwise they would count as late."""
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


@pytest.mark.parametrize("needs_channel", [True, False])
def test_only_a_call_whose_channel_has_events_reads_its_packets_before_the_next_audio_of_the_caller(
    needs_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet of audio has the kernel's timestamp, so a late read loses no information."""
    call, waits = (
        WebRtcCall("127.0.0.1", "127.0.0.1", NetworkPath(), needs_channel=needs_channel),
        list[bool](),
    )
    peer: Any = SimpleNamespace(next_ns=NEVER_NS, ending=None)
    call._peer = peer

    def listen(
        _: int, on_readable: object, due_ns: Callable[[], int], *others: Any, **__: Any
    ) -> None:
        assert others[1] is (None if needs_channel else call.track.rtp), (
            "the socket that is not watched"
        )
        waits.append(due_ns() < NEVER_NS)

    monkeypatch.setattr(call._listener, "listen", listen)
    call.receive_until(NEVER_NS, lambda message: False)

    call._listener.close()
    call.track.close()
    assert waits == [not needs_channel]
