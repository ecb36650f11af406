"""Hostile descriptions and addresses in the answer of a peer: a call fails with the reason, or
it works.
"""

from __future__ import annotations

from tests.transport.sip.hostile_check import Cases, Goes, Refused, cases, header
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

GOES = Goes()


def answers(
    *headers: str,
    audio: str = "",
    address: str = LOOPBACK,
    more: str = "",
    body: str | None = None,
    contact: str | None = None,
) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        sdp = peer.sdp(audio, address, more) if body is None else body.encode("latin-1")
        peer.answer(*map(header, headers), body=sdp, contact=contact)

    return behave


CASES: Cases = {
    **cases("descriptions", {"answers": answers}),
    "audio with 65 formats ends the call": (
        answers(audio="audio 4000 RTP/AVP " + " ".join(map(str, range(65)))),
        Refused("connect_failed:media", "too many formats"),
    ),
    "a strict route to the peer itself is followed": (
        lambda peer: peer.answer(("Record-Route", f"<sip:{LOOPBACK}:{peer.line.port}>")),
        GOES,
    ),
}
