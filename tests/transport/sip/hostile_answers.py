"""Hostile answers to INVITE: each call fails with a stated outcome or is answered, and nothing else
happens.

If a peer sends something that a call must ignore, it refuses the call afterwards, and that refusal
is the result.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import count, cycle

from tests.transport.sip.hostile_check import BUSY, Cases, Goes, Refused, cases, header
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

GOES = Goes()
SILENT = Refused("timeout:upgrade")
LOGIN = (("Authorization", "Basic " + base64.b64encode(b"alice:correct horse").decode()),)
BIDI = "Bad\u202eesreveR \x9b31m \u2028 ::error::x ##vso[task.complete]"


def ignored(data: bytes | str, times: int = 1) -> Behaviour:
    """Return the behaviour that sends a message, which the call must ignore, and then refuses
    the call.
    """
    sent = data if isinstance(data, bytes) else data.encode("latin-1")
    return ignored_from(lambda _: sent, times)


def ignored_from(make: Callable[[HostilePeer], bytes], times: int = 1) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.send(make(peer))
        peer.refuse()

    return behave


def changed(old: str, new: str) -> Behaviour:
    """Return the behaviour that sends a 200 with a change that the call must not accept."""

    def change(peer: HostilePeer) -> bytes:
        data = peer.ok()
        assert old.encode() in data
        return data.replace(old.encode(), new.encode("latin-1"), 1)

    return ignored_from(change)


def with_headers(*lines: str, times: int = 1) -> Behaviour:
    added = "".join(f"\r\n{line}" for line in lines) * times
    return changed("\r\nFrom: ", f"{added}\r\nFrom: ")


def answers_with(*lines: str) -> Behaviour:
    """Return the behaviour that answers with further headers."""

    def behave(peer: HostilePeer) -> None:
        added = "".join(f"\r\n{line}" for line in lines).encode("latin-1")
        data = peer.ok().replace(b"\r\nFrom: ", added + b"\r\nFrom: ", 1)
        peer.tag = "bad"
        peer.send(data)
        peer.wait_for("ACK", lambda: peer.send(data))

    return behave


def refuses(code: int, *headers: str, phrase: str = "") -> Behaviour:
    return lambda peer: peer.refuse(code, *map(header, headers), phrase=phrase)


def truncated(peer: HostilePeer) -> None:
    data = peer.ok()
    for size in range(0, len(data) - len(peer.sdp()), 7):
        peer.send(data[:size])
    peer.refuse()


def another_branch(peer: HostilePeer) -> None:
    peer.send(peer.ok().replace(b"z9hG4bK", b"z9hG4bKX", 1))
    peer.refuse()


def two_vias(peer: HostilePeer) -> None:
    peer.send(
        peer.ok().replace(
            b"\r\nFrom: ", b"\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKy\r\nFrom: ", 1
        )
    )
    peer.refuse()


def requests_while_it_rings(peer: HostilePeer) -> None:
    for method, code in (
        ("OPTIONS", 481),
        ("BYE", 481),
        ("CANCEL", 481),
        ("INVITE", 481),
        ("UPDATE", 481),
    ):
        data = peer.request(method)
        peer.send(data)
        peer.wait_for(code, lambda data=data: peer.send(data))  # type: ignore[misc]
    peer.refuse()


def many_refusals(peer: HostilePeer) -> None:
    for code in (486, 603, 404, 302, 200):
        peer.respond(code)
    peer.wait_for("ACK", peer.refuse)


def a_flood_of_refusals(peer: HostilePeer) -> None:
    for _ in range(300):
        peer.respond(486)


def a_flood_of_provisional_responses(peer: HostilePeer) -> None:
    for number in range(2_000):
        peer.respond(
            (100, 180, 181, 183, 199)[number % 5],
            tag=f"t{number}",
            body=b"\xff" if number % 2 else b"",
        )
    peer.refuse()


def forks_that_ring(peer: HostilePeer) -> None:
    for number in range(30):
        peer.respond(
            180, ("Contact", f"<sip:x{number}@{LOOPBACK}>"), tag=f"fork{number}", body=peer.sdp()
        )
    peer.refuse()


def forks_that_answer(peer: HostilePeer) -> None:
    peer.answer(tag="fork0")
    for number in range(1, 30):
        peer.send(peer.ok(tag=f"fork{number}"))
    peer.synchronize()


def the_same_answer_again_and_again(peer: HostilePeer) -> None:
    peer.answer()
    for _ in range(300):
        peer.send(peer.ok())
    peer.synchronize()


def an_answer_after_cancel(peer: HostilePeer) -> None:
    peer.respond(180)
    cancel = peer.wait_for("CANCEL", lambda: peer.respond(180))
    peer.send(peer.response(200, to=cancel))  # type: ignore[arg-type]
    data = peer.ok()
    peer.send(data)
    peer.wait_for("BYE", lambda: peer.send(data))


def redirects(*contacts: str) -> Behaviour:
    """Return the behaviour that redirects each INVITE, to each contact in turn."""

    def behave(peer: HostilePeer) -> None:
        for number in count():
            contact = contacts[number % len(contacts)].replace("{}", str(number))
            own = {"{url}": peer.line.url, "{port}": str(peer.line.port)}
            for name, value in own.items():
                contact = contact.replace(name, value)
            peer.refuse(302, ("Contact", contact))
            peer.wait_for_invite()

    return behave


def challenges(*texts: str, codes: str = "401", busy: bool = False) -> Behaviour:
    """Return the behaviour that challenges each INVITE, with each code in turn. {} in a text is
    the number of the challenge.
    """

    def behave(peer: HostilePeer) -> None:
        for number, code in enumerate(cycle(map(int, codes.split(",")))):
            name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
            peer.refuse(code, *((name, text.replace("{}", str(number))) for text in texts))
            peer.wait_for_invite()
            if busy:
                peer.refuse()
                return

    return behave


def intervals_that_are_too_small(peer: HostilePeer) -> None:
    for number in range(100):
        peer.refuse(422, ("Min-SE", str(2_000 + number)))
        peer.wait_for_invite()


VERBS: dict[str, Callable[..., Behaviour]] = {
    each.__name__: each
    for each in (ignored, changed, with_headers, answers_with, refuses, redirects, challenges)
}
MALFORMED: dict[str, Behaviour] = {
    "random bytes": ignored(bytes(range(256)) * 4),
    "a response that is cut anywhere": truncated,
    "an answer with 10,000 headers": ignored_from(
        lambda peer: peer.ok().replace(b"\r\nFrom: ", b"\r\na:" * 10_000 + b"\r\nFrom: ")[:65_000]
    ),
    "an answer with another branch": another_branch,
    "an answer with two Vias": two_vias,
}
CASES: Cases = {
    **cases("answers", VERBS),
    **{f"{name} is ignored": (behave, BUSY) for name, behave in MALFORMED.items()},
    "requests in no dialog are answered while the call rings": (requests_while_it_rings, BUSY),
    "of several final responses the first one counts": (many_refusals, BUSY),
    "a flood of refusals ends the call once": (a_flood_of_refusals, BUSY),
    "a flood of provisional responses does not keep the call from its refusal": (
        a_flood_of_provisional_responses,
        BUSY,
    ),
    "30 phones that ring do not keep the call from its refusal": (forks_that_ring, BUSY),
    "of 30 phones that answer the first one has the call": (forks_that_answer, GOES),
    "an answer that is repeated 300 times is one answer": (the_same_answer_again_and_again, GOES),
    "a peer that only tries times out": (lambda peer: peer.respond(100), SILENT),
    "an answer after CANCEL is hung up": (an_answer_after_cancel, SILENT),
    "early media that is no description changes nothing": (
        ignored_from(lambda peer: peer.response(183, body=b"\xff\x00")),
        BUSY,
    ),
    "50 challenges at once are answered with at most 8 of them": (
        challenges(*(f'Digest realm="r{number}", nonce="n"' for number in range(50)), busy=True),
        BUSY,
    ),
    "endless session intervals that are too small end the call": (
        intervals_that_are_too_small,
        Refused("connect_failed:422"),
    ),
}
