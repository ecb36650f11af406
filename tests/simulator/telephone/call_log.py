"""Plays the calls of `calls`, whose form `calls/README.md` describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.base.units import NS_PER_MS
from bench.protocols.sip.answer_plan import AnswerPlan, LoginDemand, PlannedRequest
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.messages import SipResponse, parse_message, write_message
from tests.attack.cases import unescaped
from tests.observe.talk_log import Case, called, in_ns, listed, value, words_of, written
from tests.simulator.telephone.virtual_network import CALLED, CALLER, VirtualNetwork, plan
from tests.transport.sip.dialog_log import header, written_of
from tests.transport.sip.scripted_peer import ANSWER, tokens

FOLDER = Path(__file__).parent / "calls"
LOGIN = DigestLogin("alice", "correct horse")


def plan_of(given: dict[str, Any]) -> AnswerPlan:
    """Return the plan of these settings, and remove them. All times are in ms."""
    if "demand" in given:
        given["demand"] = LoginDemand(LOGIN, **given["demand"])
    requests = [PlannedRequest(**in_ns(each)) for each in given.pop("requests", ())]
    absent = [name for name, each in given.items() if name.endswith("_ms") and each is None]
    named: dict[str, Any] = {f"{name.removesuffix('_ms')}_ns": given.pop(name) for name in absent}
    headers = tuple(map(header, given.pop("headers", ())))
    return plan(**named, **in_ns(given), headers=headers, requests=tuple(requests))


def exchange_of(planned: AnswerPlan, **changes: Any) -> TelephoneExchange:
    party = LocalParty(CALLED, "UDP", f"sip:simulator@{CALLED}", "simulator")
    return TelephoneExchange(lambda _: planned, party, tokens("exchange"), **changes)


def request(
    method: str,
    *headers: tuple[str, str],
    call_id: str = "c1",
    to_tag: str = "",
    cseq: int = 1,
    body: bytes = b"",
) -> bytes:
    lines = [
        ("Via", f"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{cseq}{call_id}"),
        ("From", "<sip:a@b>;tag=from"),
        ("To", f"<sip:s@h>{to_tag and f';tag={to_tag}'}"),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
        *([("Content-Type", "application/sdp")] if body else []),
    ]
    return write_message(f"{method} sip:s@h SIP/2.0", [*lines, *headers], body)


class Network:
    """A caller, and the simulator that it calls."""

    def __init__(self, case: Case, given: dict[str, Any]) -> None:
        delay_ns = round(given.pop("delay_ms", 1) * NS_PER_MS)
        login = given.pop("login", None)
        settings: Any = {"login": DigestLogin(*login.split(":"))} if login is not None else {}
        planned = plan_of(given)
        self.network = network = VirtualNetwork(
            lambda _: planned, fates=lambda: (delay_ns,), **settings
        )
        self.taken = 0
        for line in case.lines:
            if line.kind == ">":
                network.at_s(line.at_ms / 1_000, self.action(line.text))
        for line in case.lines:
            network.run(round(line.at_ms * NS_PER_MS))
            if line.kind == "=":
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"

    def action(self, text: str) -> Any:
        name, _, direction = text.partition(" ")
        call = self.network.calls[0]
        if name == "refuse":
            return lambda now_ns: self.network.exchange.hang_up(call.call_id, now_ns)
        if name == "invite":
            return lambda now_ns: call._answered.send_invite(now_ns, direction)  # type: ignore[arg-type]
        return call.hang_up

    def result(self, text: str) -> str:
        """Return what a line should be."""
        subject, asked, named = called(text)
        log = self.network.log
        if subject == "messages":
            new, self.taken = log[self.taken :], len(log)
            return " ".join([subject, *(f"{each[0]}{short(each)}" for each in new)])
        if subject == "count":
            return f"count {sum(each[0] + short(each) == asked[1] for each in log)} {asked[1]}"
        parties = self.network.parties
        found = self.network.calls[0] if subject == "call" else parties[0]
        if subject == "calls":
            return f"calls {len(self.network.exchange.calls)}"
        return facts_of(subject, found, named)


def short(line: str) -> str:
    return line[2:].removeprefix("SIP/2.0 ").split()[0]


def facts_of(subject: str, found: Any, named: dict[str, Any]) -> str:
    """Return a line of facts. Instants and durations are in ms."""
    facts = {}
    for name in named:
        if name.endswith("_ms"):
            ns = written_of(found, f"{name.removesuffix('_ms')}_ns")
            facts[name] = None if ns is None else ns / NS_PER_MS
        else:
            facts[name] = written_of(found, name)
    return listed(subject, facts, list(named))


class Line:
    """The simulator, and the messages that a log sends to it."""

    def __init__(self, case: Case, given: dict[str, Any]) -> None:
        limits = {"max_calls": given.pop("max_calls")} if "max_calls" in given else {}
        self.exchange = exchange_of(plan_of(given), **limits)
        self.tag, self.sent = "", list[tuple[float, str]]()
        for line in case.lines:
            at_ns = round(line.at_ms * NS_PER_MS)
            while self.exchange.next_ns <= at_ns:
                self.expire(self.exchange.next_ns)
            if line.kind == "=":
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"
            else:
                self.exchange.received(self.message(line.text), at_ns, CALLER)
                self.expire(at_ns)

    def expire(self, at_ns: int) -> None:
        self.exchange.expire(at_ns)
        for message in self.exchange.pop_messages():
            found = parse_message(message.data)
            if isinstance(found, SipResponse):
                self.tag = found.callee.tag
                self.last = found
            name = str(found.code) if isinstance(found, SipResponse) else found.method
            self.sent.append((at_ns / NS_PER_MS, name))

    def message(self, text: str) -> bytes:
        if text.startswith("raw "):
            return unescaped(text.removeprefix("raw "))
        first, *headers = text.split(" | ")
        method, _, named = called(first)
        if named.get("to_tag") == "own":
            named["to_tag"] = self.tag
        if named.pop("answers", False):
            named["body"] = ANSWER
        return request(method, *map(header, headers), **named)

    def result(self, text: str) -> str:
        """Return what a line should be."""
        subject, asked, named = called(text)
        match subject:
            case "sent":
                sent, self.sent = self.sent, []
                return " ".join([subject, *([name for _, name in sent] or ["-"])])
            case "sent_at":
                sent, self.sent = self.sent, []
                return " ".join([subject, *(written(at_ms) for at_ms, _ in sent)])
            case "last":
                found = {name: self.last.first(name.replace("_", "-")) for name in named}
                return listed(subject, found, list(named))
            case "in":
                return text if str(asked[0]) in self.last.body.decode() else "in nothing"
            case "party":
                return facts_of(subject, next(iter(self.exchange.calls.values())), named)
            case "dropped":
                return f"dropped {written(self.exchange.dropped)}"
        return f"calls {len(self.exchange.calls)}"


def play(case: Case) -> None:
    given = {name: value(word) for name, word in words_of(case.settings)}
    (Line if given.pop("caller", True) is False else Network)(case, given)
