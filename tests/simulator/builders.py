"""Behaviours for tests, and what comes out of them."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from bench.simulator.behaviour import Behaviour
from bench.simulator.profile import Profile, default_profile
from bench.simulator.voice import RATE_HZ, build_reply
from bench.simulator.wire import AZURE_GA, Dialect, Ids

AT_NS = 1_000_000_000_000
MS = 1_000_000
FOREVER_NS = 1 << 62
HELLO = "Hello! How can I help you today?"

REPLY = build_reply("hello", HELLO, np.arange(RATE_HZ * 2, dtype=np.int16))  # 2 s


def build_profile(**changes: Any) -> Profile:
    return replace(default_profile(), **changes)


def build_behaviour(dialect: Dialect = AZURE_GA, *, seed: int = 1, **changes: Any) -> Behaviour:
    """An open session with `HELLO` as its only reply; `changes` go into the profile."""
    rng = np.random.default_rng(seed)
    behaviour = Behaviour(dialect, "gpt-realtime", 4_000_000_000, build_profile(**changes), [REPLY], rng, Ids("a" * 12))
    behaviour.open(AT_NS)
    return behaviour


def silence(audio_ms: int) -> str:
    """Base64 of pcm16."""
    return base64.b64encode(bytes(48 * audio_ms)).decode()


def append(audio_ms: int) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": silence(audio_ms)}


def user_text(text: str = "Hi") -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}


def drain(behaviour: Behaviour, until_ns: int = FOREVER_NS) -> list[dict[str, Any]]:
    """The server's events up to an instant, decoded, with `due_ns` beside their fields."""
    return [msgspec.json.decode(sent.body) | {"due_ns": sent.due_ns} for sent in behaviour.due(until_ns)]


def answers(behaviour: Behaviour, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What follows from the events, all of which arrive in one instant; session.created is taken before."""
    drain(behaviour)
    for event in events:
        behaviour.receive(event, AT_NS)
    return drain(behaviour)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def squeezed(names: list[str]) -> list[str]:
    """Without immediate repetitions."""
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
