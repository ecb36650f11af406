"""Hostile answers to INVITE, with descriptions and addresses: each call fails with a stated outcome
or is answered, and nothing else happens.

If a peer sends something that a call must ignore, it refuses the call afterwards, and that refusal
is the result.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import count, cycle

from tests.attack.cases import by_name, hostile_cases, plain
from tests.transport.sip.hostile_check import TABLE, header
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

LOGIN = (("Authorization", "Basic " + base64.b64encode(b"alice:correct horse").decode()),)


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
        peer.settle(data)

    return behave


def refuses(code: int, *headers: str, phrase: str = "") -> Behaviour:
    return lambda peer: peer.refuse(code, *map(header, headers), phrase=phrase)


def answers(
    *headers: str, audio: str = "", address: str = LOOPBACK, more: str = "", **options: str
) -> Behaviour:
    """Return the behaviour that answers with this description. {port} is the port of the peer."""

    def behave(peer: HostilePeer) -> None:
        given = {
            name: text.replace("{port}", str(peer.line.port)) for name, text in options.items()
        }
        sdp = given["body"].encode("latin-1") if "body" in given else peer.sdp(audio, address, more)
        added = (header(line.replace("{port}", str(peer.line.port))) for line in headers)
        peer.answer(*added, body=sdp, contact=given.get("contact"))

    return behave


def each_byte(times: int) -> Behaviour:
    return ignored(bytes(range(256)) * times)


def responds(code: int, body: str) -> Behaviour:
    return ignored_from(lambda peer: peer.response(code, body=body.encode("latin-1")))


def only_tries(peer: HostilePeer) -> None:
    peer.respond(100)


def truncated(peer: HostilePeer) -> None:
    data = peer.ok()
    for size in range(0, len(data) - len(peer.sdp()), 7):
        peer.send(data[:size])
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


def challenges(*texts: str, codes: str = "401", busy: bool = False, realms: int = 1) -> Behaviour:
    """Return the behaviour that challenges each INVITE, with each code in turn. {} in a text is
    the number of the challenge, and {realm} each number below `realms`.
    """

    def behave(peer: HostilePeer) -> None:
        for number, code in enumerate(cycle(map(int, codes.split(",")))):
            name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
            added = [
                (name, text.replace("{}", str(number)).replace("{realm}", str(realm)))
                for text in texts
                for realm in range(realms)
            ]
            peer.refuse(code, *added)
            peer.wait_for_invite()
            if busy:
                peer.refuse()
                return

    return behave


def intervals_that_are_too_small(peer: HostilePeer) -> None:
    for number in range(100):
        peer.refuse(422, ("Min-SE", str(2_000 + number)))
        peer.wait_for_invite()


DESCRIPTIONS = hostile_cases(TABLE, "descriptions", by_name(answers))
VERBS = by_name(
    ignored,
    changed,
    with_headers,
    answers_with,
    refuses,
    redirects,
    challenges,
    each_byte,
    responds,
) | plain(
    truncated,
    requests_while_it_rings,
    many_refusals,
    a_flood_of_refusals,
    a_flood_of_provisional_responses,
    forks_that_ring,
    forks_that_answer,
    the_same_answer_again_and_again,
    only_tries,
    an_answer_after_cancel,
    intervals_that_are_too_small,
)
CASES = hostile_cases(TABLE, "answers", VERBS) | DESCRIPTIONS
