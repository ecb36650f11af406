"""Plays the dialogs of `dialogs`, whose form `dialogs/README.md` describes."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.messages import SipRequest
from bench.wire.addresses import HostPort
from tests.observe.talk_log import Case, Line, called, listed, value, words_of, written
from tests.transport.sip.hostile_check import header
from tests.transport.sip.scripted_peer import ANSWER, SOURCE, ScriptedPeer

FOLDER = Path(__file__).parent / "dialogs"
BODIES = {
    "answer": ANSWER,
    "hold": ANSWER.replace(b"m=audio 50000", b"m=audio 50010") + b"a=sendonly\n",
    "refusal": ANSWER.replace(b"50000", b"0"),
    "another_codec": ANSWER.replace(b"AVP 0 101", b"AVP 18"),
}


def peer_of(settings: str) -> ScriptedPeer:
    """Return the peer of a call with these settings."""
    given: dict[str, Any] = {name: value(word) for name, word in words_of(settings)}
    if "login" in given:
        given["login"] = DigestLogin(*given["login"].split(":"))
    if "call_hosts" in given:
        given["call_hosts"] = tuple(map(HostPort, given["call_hosts"]))
    if "ring_timeout_s" in given:
        given["ring_timeout_ns"] = given.pop("ring_timeout_s") * NS_PER_S
    if given.pop("is_signed_in", False):
        given["address"] = SOURCE.host
    return ScriptedPeer(**given)


class Player:
    """A dialog that is played."""

    def __init__(self, case: Case) -> None:
        self.peer = peer_of(case.settings)
        for line in case.lines:
            if line.kind == "=":
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"
            elif line.kind == ">":
                self.act(line)
            else:
                text, *headers = line.text.split(" | ")
                self.hear(text, [header(each) for each in headers])

    def act(self, line: Line) -> None:
        """Do what the user of the call does."""
        name, arguments, _ = called(line.text)
        leg = self.peer.call._answered
        match name:
            case "hang_up":
                self.peer.hang_up()
            case "wait":
                self.peer.wait_s(arguments[0])
            case "skip":
                self.peer.now_ns += round(arguments[0] * NS_PER_S)
                self.peer.call.expire(self.peer.now_ns)
            case "update" if leg is not None:
                assert leg.send_update(self.peer.now_ns, *arguments) is (arguments != [])

    def hear(self, text: str, headers: list[tuple[str, str]]) -> None:
        """Let the peer respond with a code, or send a request."""
        word, _, others = text.partition(" ")
        if word == "times":
            count, _, text = others.partition(" ")
            for number in range(int(count)):
                numbered = [(name, each.replace("{n}", str(number))) for name, each in headers]
                self.hear(text.replace("{n}", str(number)), numbered)
            return
        name, _, named = called(text)
        if isinstance(body := named.get("body"), str):
            named["body"] = BODIES.get(body, body.encode())
        if name == "answered":
            self.peer.answered(*headers)
        elif name == "answer":
            self.peer.answer(*headers, **named)
        elif name.isdigit():
            to = named.pop("to", "")
            self.peer.respond(int(name), *headers, to=self.peer.last(to) if to else None, **named)
        else:
            self.peer.request(name, *headers, **named)

    def result(self, text: str) -> str:
        """Return what a line should be."""
        if text.startswith("in "):
            data = self.peer.outgoing[-1].data.decode()
            return text if text.removeprefix("in ") in data else data
        subject, asked, named = called(text)
        call, names = self.peer.call, list(named)
        match subject:
            case "sent":
                return " ".join(["sent", *(self.peer.take() or ["-"])])
            case "times":
                return " ".join(["times", *map(written, asked[:2]), *self.times(*asked[:2])])
            case "last":
                message: Any = self.peer.last(asked[0]) if asked else self.peer.last_response
                found = {name: message.first(name.replace("_", "-")) for name in names}
                return listed(" ".join(["last", *asked]), found, names)
            case "ended":
                end = call.ending
                if end is None:
                    return f"ended {call.state.name.lower()}"
                return listed("ended", {name: written_of(end, name) for name in names}, names)
        state = call.state.name.lower() if call.state is not CallState.ENDED else "ended"
        return listed(f"call {state}", {name: written_of(call, name) for name in names}, names)

    def times(self, method: str, until_s: float) -> list[str]:
        """Return when the call sends a request, in seconds, if the peer is silent."""
        found = list[str]()
        while self.peer.call.next_ns <= until_s * NS_PER_S < NEVER_NS:
            before = len(self.peer.parsed)
            self.peer.wait(self.peer.call.next_ns)
            at_s = self.peer.now_ns / NS_PER_S
            sent = [each for each in self.peer.parsed[before:] if isinstance(each, SipRequest)]
            found += [written(at_s) for each in sent if each.method == method]
        return found


def written_of(found: Any, name: str) -> Any:
    """Return a value of an object, or of a mapping inside it; its name has dots."""
    return reduce(
        lambda inner, key: inner.get(key) if isinstance(inner, dict) else getattr(inner, key, None),
        name.split("."),
        found,
    )
