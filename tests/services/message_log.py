"""Plays the messages of `messages`, whose form `messages/README.md` describes."""

from __future__ import annotations

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
from bench.services.registry import DIALECTS
from bench.wire.dialect import AwaitedEvent, BinaryMessage, CallCodec, ClientMessage, decoder_of
from bench.wire.events import wait_of
from bench.wire.settings import FunctionTool, Message, SessionSettings
from tests.attack.agents import unescaped
from tests.observe.talk_log import Case, called, listed, value, words_of, written

FOLDER = Path(__file__).parent / "messages"
CALL_ID = "c-1"


def fact(found: Any, name: str) -> Any:
    """Return a value of an event. The name of a value inside another one has a dot."""
    found = reduce(getattr, name.split("."), found)
    return found.name.lower() if isinstance(found, Enum) else found


def received(text: str) -> bytes:
    form, _, rest = text.partition(" ")
    if form in {"binary", "text"}:
        return BinaryMessage(unescaped(rest)) if form == "binary" else unescaped(rest)
    return text.encode()


def shown(step: ClientMessage | AwaitedEvent, expected: str, codec: CallCodec) -> str:
    """Return how a log writes a step of the set-up: as `expected` if it has the same values."""
    if isinstance(step, AwaitedEvent):
        return f"await {step.kind.name.lower()} {step.name}"
    data = codec.encode(step.kind, step.data)
    is_equal = msgspec.json.decode(data) == value(expected)
    return expected if is_equal else data.decode()


class Exchange:
    """A case that is played: the messages that set up a session, and those that were received."""

    def __init__(self, dialect: str, case: Case) -> None:
        words = [(name, value(word)) for name, word in words_of(case.settings)]
        given = dict(words)
        self.dialect = DIALECTS.get(given.pop("dialect", dialect.replace("_", "-")), GA)
        self.settings: SessionSettings = SESSION.read(PythonValue("session", given.get("", {})))
        tools = tuple(FunctionTool(**tool) for tool in given.get("tools", ()))
        self.settings = msgspec.structs.replace(self.settings, tools=tools)
        history = [Message(role=role, text=text) for role, text in given.get("history", ())]
        self.settings, _ = self.dialect.with_history(self.settings, history)
        sent = [line.text for line in case.lines if line.kind == ">"]
        if sent:
            steps = self.dialect.setup_messages(self.settings, "e1")
            codec = (self.dialect.codec or CallCodec)(CALL_ID)
            assert [shown(*pair, codec) for pair in zip(steps, sent, strict=False)] == sent
            assert len(steps) == len(sent)
        self.messages = [received(line.text) for line in case.lines if line.kind == "<"]
        self.events = [*chain(*map(decoder_of(self.dialect), self.messages))]
        for line in case.lines:
            if line.kind == "=":
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"
        assert self.events == [], "an event was decoded that the log does not name"

    def result(self, expected: str) -> str:
        """Return what a line should be."""
        subject, (first, *others), named = called(expected)
        match subject:
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
