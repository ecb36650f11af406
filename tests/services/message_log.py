"""Plays the messages of `messages`, whose form `messages/README.md` describes."""

from __future__ import annotations

import base64
from enum import Enum
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from bench.base.units import NS_PER_MS
from bench.files.yaml_file import PythonValue
from bench.plan.script_keys import SESSION
from bench.services.confirmed_settings import unapplied_settings
from bench.services.openai.dialect import GA
from bench.services.registry import DIALECTS, user_service
from bench.wire.dialect import (
    AwaitedEvent,
    BinaryMessage,
    CallCodec,
    ClientMessage,
    decoder_of,
)
from bench.wire.events import EventKind, FunctionCall, ServerEvent, audio_payload, wait_of
from bench.wire.settings import (
    FunctionOutput,
    FunctionTool,
    Message,
    ResponseSettings,
    SessionSettings,
)
from tests.attack.cases import unescaped
from tests.observe.talk_log import Case, called, listed, value, words_of, written

FOLDER = Path(__file__).parent / "messages"
CALL_ID = "c-1"


def fact(found: Any, name: str) -> Any:
    """Return a value of an event. The name of a value inside another one has a dot."""
    if name == "audio":
        audio = audio_payload(found.payload)
        return audio and base64.b64encode(audio).decode()
    found = reduce(getattr, name.split("."), found)
    return found.name.lower() if isinstance(found, Enum) else found


def received(text: str) -> bytes:
    form, _, rest = text.partition(" ")
    if form in {"binary", "text"}:
        return BinaryMessage(unescaped(rest)) if form == "binary" else unescaped(rest)
    return text.encode()


class Exchange:
    """A case that is played: the messages that set up a session, and those that were received."""

    def __init__(self, dialect: str, case: Case) -> None:
        words = [(name, value(word)) for name, word in words_of(case.settings)]
        given = dict(words)
        described = FOLDER / f"{dialect}.yaml"
        known = DIALECTS.get(given.pop("dialect", dialect.replace("_", "-")), GA)
        self.dialect = user_service(described).dialect if described.exists() else known
        self.settings: SessionSettings = SESSION.read(PythonValue("session", given.get("", {})))
        tools = tuple(FunctionTool(**tool) for tool in given.get("tools", ()))
        self.settings = msgspec.structs.replace(self.settings, tools=tools)
        history = [Message(role=role, text=text) for role, text in given.get("history", ())]
        self.settings, _ = self.dialect.with_history(self.settings, history)
        self.codec = (self.dialect.codec or CallCodec)(CALL_ID)
        sent = [line.text for line in case.lines if line.kind == ">"]
        if sent:
            steps = self.dialect.setup_messages(self.settings, "e1")
            assert [*map(self.shown, steps, sent)] == sent
            assert len(steps) == len(sent)
        self.messages = [received(line.text) for line in case.lines if line.kind == "<"]
        decode = decoder_of(self.dialect)
        for message in self.messages:
            self.codec.decode(decode(message))
        self.events = [*chain(*map(decoder_of(self.dialect), self.messages))]
        for line in case.lines:
            if line.kind == "=":
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"
        assert self.events == [], "an event was decoded that the log does not name"

    def shown(self, step: ClientMessage | AwaitedEvent, expected: str) -> str:
        """Return how a log writes a message, or what a set-up awaits: as `expected` if it has the
        same values.
        """
        if isinstance(step, AwaitedEvent):
            return f"await {step.kind.name.lower()} {step.name}"
        data = self.codec.encode(step.kind, step.data)
        if isinstance(data, BinaryMessage):
            return written(base64.b64encode(data).decode())
        assert self.dialect.message_kinds.get(step.name, step.kind) is step.kind
        return expected if msgspec.json.decode(data) == value(expected) else data.decode()

    def message(self, act: str, *given: Any, **named: Any) -> ClientMessage:
        """Return a message that the client sends after the set-up."""
        if act == "answer":
            return self.codec.answers.pop(0)
        if act in ("acknowledge", "goodbye"):
            marks = [ServerEvent(EventKind.MARKED, given[0], text=given[1])] if given else []
            message: ClientMessage | None = getattr(self.codec, act)(*marks)
            assert message is not None
            return message
        arguments = {
            "append": lambda audio: [base64.b64decode(audio)],
            "function_call": lambda call: [FunctionCall(**call)],
            "message": lambda said: [msgspec.convert(said, Message)],
            "function_output": lambda output: [FunctionOutput(**output)],
            "request": lambda settings: [msgspec.convert(settings, ResponseSettings)],
        }.get(act, lambda *others: others)(*given)
        sent: ClientMessage = getattr(self.dialect, act)(*arguments, "e2")
        return sent

    def result(self, expected: str) -> str:
        """Return what a line should be."""
        subject, (first, *others), named = called(expected)
        match subject:
            case "sent":
                *_, (_, message) = words_of(expected)
                head = expected.removesuffix(message)
                return head + self.shown(self.message(first, *others[:-1]), message)
            case "allowed":
                why = self.dialect.unsupported_event(first, self.settings)
                _, (_, allowed), *_ = words_of(expected)
                said = others[0] if others[0] and others[0] in why else why or None
                return f"allowed {allowed} {written(said)}"
            case "event":
                event = self.events.pop(0)
                facts = {name: fact(event, name) for name in named}
                return listed(f"event {event.kind.name.lower()}", facts, list(named))
            case "refused":
                refused = self.dialect.unsupported_setting(self.settings)
                reason = refused and refused.reason
                return f"refused {written(first if first and first in (reason or '') else reason)}"
            case "stored":
                without = self.dialect.without_audio(self.messages[-1])
                again = [event.kind for event in self.dialect.decode(without)]
                assert again == [event.kind for event in self.dialect.decode(self.messages[-1])]
                return f"stored {without.decode()}"
            case "wait":
                wait_ns = wait_of(first)
                shown_ms = written(None if wait_ns is None else wait_ns / NS_PER_MS)
                return f"wait {written(first)} {shown_ms}"
        unapplied = [*map(list, unapplied_settings(first, others[0]))]
        return " ".join(["confirmed", *map(written, [first, others[0], *unapplied])])
