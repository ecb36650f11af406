"""Hostile answers to INVITE: each call fails with a stated outcome or is answered, and nothing else
happens.

If a peer sends something that a call must ignore, it refuses the call afterwards, and that refusal
is the result.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.transport.sip.hostile_check import Expected, Goes, Refused
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

BUSY, GOES = Refused("connect_failed:486", "SIP 486"), Goes()
SILENT = Refused("timeout:upgrade")
NO_CONTACT = Refused("connect_failed:302", "no valid Contact")
UNNAMED = Refused("connect_failed:302", "which the target does not name")
LOGIN = (("Authorization", "Basic " + base64.b64encode(b"alice:correct horse").decode()),)
NONCE = 'Digest realm="r", nonce="{}", qop="auth"'
BIDI = "Bad\u202eesreveR \x9b31m \u2028 ::error::x ##vso[task.complete]"


def ignored(*make: Callable[[HostilePeer], bytes]) -> Behaviour:
    """Return the behaviour that sends messages, which the call must ignore, and then refuses the
    call.
    """

    def behave(peer: HostilePeer) -> None:
        for each in make:
            peer.send(each(peer))
        peer.refuse()

    return behave


def changed(old: str, new: str) -> Behaviour:
    """Return the behaviour that sends a 200 with a change that the call must not accept."""

    def behave(peer: HostilePeer) -> None:
        data = peer.ok()
        assert old.encode() in data
        peer.send(data.replace(old.encode(), new.encode("latin-1"), 1))
        peer.refuse()

    return behave


def with_headers(*lines: str) -> Behaviour:
    return changed("\r\nFrom: ", "".join(f"\r\n{line}" for line in lines) + "\r\nFrom: ")


def answers_with(*lines: str) -> Behaviour:
    """Return the behaviour that answers with further headers."""

    def behave(peer: HostilePeer) -> None:
        added = "".join(f"\r\n{line}" for line in lines).encode("latin-1")
        data = peer.ok().replace(b"\r\nFrom: ", added + b"\r\nFrom: ", 1)
        peer.tag = "bad"
        peer.send(data)
        peer.wait_for("ACK", lambda: peer.send(data))

    return behave


def refuses(code: int, *headers: tuple[str, str], phrase: str = "") -> Behaviour:
    return lambda peer: peer.refuse(code, *headers, phrase=phrase)


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


def redirects(to: Callable[[HostilePeer, int], str], code: int = 302) -> Behaviour:
    """Return the behaviour that redirects each INVITE."""

    def behave(peer: HostilePeer) -> None:
        number = 0
        while True:
            peer.refuse(code, ("Contact", to(peer, number)))
            number += 1
            peer.wait_for_invite()

    return behave


def redirects_once(contact: str, code: int = 302) -> Behaviour:
    return redirects(lambda peer, number: contact, code)


def challenges(
    *texts: str, codes: tuple[int, ...] = (401,), is_last_busy: bool = False
) -> Behaviour:
    """Return the behaviour that challenges each INVITE. {} in a text is the number of the
    challenge.
    """

    def behave(peer: HostilePeer) -> None:
        number = 0
        while True:
            code = codes[number % len(codes)]
            name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
            peer.refuse(code, *((name, text.replace("{}", str(number))) for text in texts))
            number += 1
            peer.wait_for_invite()
            if is_last_busy:
                peer.refuse()
                return

    return behave


def intervals_that_are_too_small(peer: HostilePeer) -> None:
    for number in range(100):
        peer.refuse(422, ("Min-SE", str(2_000 + number)))
        peer.wait_for_invite()


MALFORMED: dict[str, Behaviour] = {
    "an empty datagram": ignored(lambda peer: b""),
    "random bytes": ignored(lambda peer: bytes(range(256)) * 4),
    "zeros": ignored(lambda peer: bytes(1_000)),
    "line ends": ignored(*[lambda peer: b"\r\n\r\n"] * 50),
    "a response that is cut anywhere": truncated,
    "the largest datagram": ignored(lambda peer: b"SIP/2.0 200 OK\r\n" + b"X: " + b"y" * 65_400),
    "an answer with 10,000 headers": ignored(
        lambda peer: peer.ok().replace(b"\r\nFrom: ", b"\r\na:" * 10_000 + b"\r\nFrom: ")[:65_000]
    ),
    "an answer with 200 headers": with_headers(*["X: y"] * 200),
    "a header of 5,000 characters": with_headers("X: " + "y" * 5_000),
    "a header in 3,000 lines": with_headers("X: y" + "\r\n y" * 3_000),
    "a status code that is no number": changed("SIP/2.0 200", "SIP/2.0 abc"),
    "a status code that is too large": changed("SIP/2.0 200", "SIP/2.0 2000"),
    "a status code 700": changed("SIP/2.0 200", "SIP/2.0 700"),
    "another version of SIP": changed("SIP/2.0 200", "SIP/3.0 200"),
    "a CSeq that was not sent": changed("CSeq: 1 INVITE", "CSeq: 2 INVITE"),
    "a CSeq of another method": changed("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    "a CSeq that is negative": changed("CSeq: 1 INVITE", "CSeq: -1 INVITE"),
    "a CSeq with 400 digits": changed("CSeq: 1 INVITE", f"CSeq: {'9' * 400} INVITE"),
    "an answer without CSeq": changed("CSeq: 1 INVITE", "X: y"),
    "an answer with another branch": another_branch,
    "an answer with two Vias": two_vias,
    "an answer without Via": changed("Via: ", "X: "),
    "an answer to another call": changed("Call-ID: ", "Call-ID: x"),
    "an answer with two Call-IDs": with_headers("Call-ID: x"),
    "a Call-ID of 300 characters": changed("Call-ID: ", "Call-ID: " + "x" * 300),
    "an answer without To": changed("To: ", "X: "),
    "a tag of 300 characters": changed(";tag=bad", f";tag={'x' * 300}"),
    "a tag twice": changed(";tag=bad", ";tag=bad;tag=worse"),
    "a quoted string without an end": changed("To: ", 'To: "x'),
    "a name address without an end": changed("Contact: <", 'Contact: <"'),
    "a Content-Length that is too large": changed("Content-Length: ", "Content-Length: 9"),
    "a negative Content-Length": changed("Content-Length: ", "Content-Length: -"),
    "two Content-Lengths": with_headers("Content-Length: 0"),
    "a route with a zero byte": with_headers("Record-Route: <sip:x;lr>;y=\x00"),
    "a name of the called party with an escape sequence": changed("To: ", 'To: "\x1b[31mred" '),
    "a phrase with a line feed": changed("200 OK", "200 OK\nX: y"),
    "a Call-ID that is not UTF-8": changed("Call-ID: ", "Call-ID: \xff"),
    "a line without a header name": with_headers(": y"),
    "a line without a colon": with_headers("xyz"),
    "65 routes": with_headers(*["Record-Route: <sip:x;lr>"] * 65),
    "65 contacts in one header": with_headers("Contact: " + ",".join(["<sip:x>"] * 65)),
}
CASES: dict[str, tuple[Behaviour, Expected]] = {
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
        ignored(lambda peer: peer.response(183, body=b"\xff\x00")),
        BUSY,
    ),
    "a header with a zero byte is read": (answers_with("Server: \x00"), GOES),
    "a header with an escape sequence is read, and shown without it": (
        answers_with("Server: \x1b[31mred"),
        GOES,
    ),
    "a phrase with an escape sequence is read, and shown without it": (
        refuses(486, phrase="\x1b[2J"),
        Refused("connect_failed:486", "\\x1b[2J"),
    ),
    "headers that are not UTF-8 are read": (
        answers_with(
            "Server: B\xfcro\xff\xfe\x80", 'P-Asserted-Identity: "M\xfcller" <sip:100@pbx.example>'
        ),
        GOES,
    ),
    # Redirections
    "a redirection to itself is a loop": (
        redirects(lambda peer, _: f"<{peer.line.url}>"),
        Refused("connect_failed:302", "loop"),
    ),
    "a redirection back and forth is a loop": (
        redirects(lambda peer, number: f"<sip:{'ab'[number % 2]}@{LOOPBACK}:{peer.line.port}>"),
        Refused("connect_failed:302", "loop"),
    ),
    "endless redirections have a limit": (
        redirects(lambda peer, number: f"<sip:a{number}@{LOOPBACK}:{peer.line.port}>"),
        Refused("connect_failed:302", "more than 5 times"),
    ),
    "a redirection without a contact ends the call": (refuses(302), NO_CONTACT),
    "a redirection to anything ends the call": (redirects_once("*"), NO_CONTACT),
    "a redirection to a telephone number ends the call": (
        redirects_once("<tel:+15550100>"),
        NO_CONTACT,
    ),
    "a redirection to a web page ends the call": (
        redirects_once("<http://evil.example/>"),
        NO_CONTACT,
    ),
    "a redirection to nothing ends the call": (redirects_once("<>"), NO_CONTACT),
    "a redirection to port 0 ends the call": (redirects_once(f"<sip:x@{LOOPBACK}:0>"), NO_CONTACT),
    "a redirection to port 99999 ends the call": (
        redirects_once(f"<sip:x@{LOOPBACK}:99999>"),
        NO_CONTACT,
    ),
    "a redirection to a port that is no number ends the call": (
        redirects_once(f"<sip:x@{LOOPBACK}:x>"),
        NO_CONTACT,
    ),
    "a redirection to a URI of 600 characters ends the call": (
        redirects_once(f"<sip:{'x' * 600}@h>"),
        NO_CONTACT,
    ),
    "a redirection to a host with a space ends the call": (
        redirects_once("<sip:a b@c d>"),
        NO_CONTACT,
    ),
    "a redirection to another port ends the call": (
        redirects_once(f"<sip:x@{LOOPBACK}:9>"),
        UNNAMED,
    ),
    "a redirection to the unspecified address ends the call": (
        redirects_once("<sip:x@0.0.0.0:9>"),
        UNNAMED,
    ),
    "a redirection to a broadcast address ends the call": (
        redirects_once("<sip:x@255.255.255.255:9>"),
        UNNAMED,
    ),
    "a redirection to an IPv6 address ends the call": (redirects_once("<sip:x@[::1]:9>"), UNNAMED),
    "a redirection over TCP to another port ends the call": (
        redirects_once(f"<sip:x@{LOOPBACK}:9;transport=tcp>"),
        UNNAMED,
    ),
    "a code 399 ends the call": (refuses(399), Refused("connect_failed:399")),
    # Challenges
    "endless challenges with new nonces end the call": (
        challenges(NONCE),
        Refused("connect_failed:401"),
    ),
    "endless stale challenges end the call": (
        challenges(NONCE + ", stale=true"),
        Refused("connect_failed:401"),
    ),
    "endless challenges of server and proxy in turn end the call": (
        challenges(NONCE + ", stale=TRUE", codes=(401, 407)),
        Refused("connect_failed:401"),
    ),
    "endless challenges of new realms end the call": (
        challenges('Digest realm="r{}", nonce="n"'),
        Refused("connect_failed:401"),
    ),
    "a 401 without a challenge ends the call": (refuses(401), Refused("connect_failed:401")),
    "an unknown algorithm ends the call": (
        challenges('Digest realm="r", nonce="n", algorithm=MD4'),
        Refused("connect_failed:401"),
    ),
    "a challenge for a Basic login ends the call": (
        challenges('Basic realm="r"'),
        Refused("connect_failed:401"),
    ),
    "a challenge without a nonce ends the call": (
        challenges('Digest realm="r"'),
        Refused("connect_failed:401"),
    ),
    "an unknown quality of protection ends the call": (
        challenges('Digest realm="r", nonce="n", qop="auth-int"'),
        Refused("connect_failed:401"),
    ),
    "a challenge with an open quote ends the call": (
        challenges('Digest realm="r, nonce="n'),
        Refused("connect_failed:401"),
    ),
    "a nonce of 3,000 characters is answered": (
        challenges(f'Digest realm="r", nonce="{"n" * 3_000}"', is_last_busy=True),
        BUSY,
    ),
    "a nonce with quotes is answered with a valid message": (
        challenges(r'Digest realm="a\", \"b\\", nonce="\", x=\"y", opaque="\\"', is_last_busy=True),
        BUSY,
    ),
    "50 challenges at once are answered with at most 8 of them": (
        challenges(
            *(f'Digest realm="r{number}", nonce="n"' for number in range(50)), is_last_busy=True
        ),
        BUSY,
    ),
    "endless session intervals that are too small end the call": (
        intervals_that_are_too_small,
        Refused("connect_failed:422"),
    ),
    # Texts
    "a phrase with direction marks and commands is escaped": (
        refuses(486, phrase=BIDI),
        Refused("connect_failed:486", "\\u202e"),
    ),
    "a phrase of 3,000 characters is cut": (refuses(486, phrase="x" * 3_000), BUSY),
    "a warning and a reason with direction marks are escaped": (
        refuses(486, ("Warning", f'399 x "{BIDI}"'), ("Reason", BIDI)),
        Refused("connect_failed:486", "\\x9b"),
    ),
    "a time of 10^30 s after which to call again is ignored": (
        refuses(503, ("Retry-After", "1" + "0" * 30)),
        Refused("throttled:handshake"),
    ),
    "a time after which to call again that is text is ignored": (
        refuses(503, ("Retry-After", "soon")),
        Refused("throttled:handshake"),
    ),
}
