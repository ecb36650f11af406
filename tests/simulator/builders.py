"""Builders of behaviours, and helpers for their events."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from bench.services.openai.dialect import RATED_FORMATS, ga_format
from bench.wire.audio import AudioFormatName, Samples
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.delay import LogNormal
from rtbench_simulator.ground_truth_log import LatenessCounts
from rtbench_simulator.profile import Profile, quiet_profile
from rtbench_simulator.quota import UNLIMITED, ResponseSlots, ServiceQuota
from rtbench_simulator.recorded_replies import RATE_HZ, RecordedReply, build_reply
from rtbench_simulator.server_events import GA, Ids
from rtbench_simulator.services.azure import AZURE_GA
from rtbench_simulator.simulated_session import SessionParts

AT_NS = 1_000_000_000_000
MS = 1_000_000
FOREVER_NS = 1 << 62
SECOND = 1000 * MS
LATER_NS = AT_NS + 60 * SECOND
HELLO = "Hello! How can I help you today?"
CREATE: dict[str, Any] = {"type": "response.create"}
COMMIT: dict[str, Any] = {"type": "input_audio_buffer.commit"}
CLEAR: dict[str, Any] = {"type": "input_audio_buffer.clear"}
VAD: dict[str, Any] = {"type": "server_vad"}
BY_CLIENT = VAD | {"create_response": False}
LENIENT = VAD | {"interrupt_response": False}
# 2 s
REPLY = build_reply(
    "hello", HELLO, np.where(np.arange(RATE_HZ * 2) // 60 % 2, 3_000, -3_000).astype(np.int16)
)


def constant(delay_ms: float) -> LogNormal:
    """Return a delay that is always the same, to a microsecond."""
    return LogNormal(max(delay_ms, 0.001), max(delay_ms, 0.001))


def build_profile(**changes: Any) -> Profile:
    return replace(quiet_profile(), **changes)


def session_parts(
    profile: Profile,
    replies: Sequence[RecordedReply] = (REPLY,),
    *,
    seed: int = 1,
    quota: ServiceQuota | None = None,
    servers: ResponseSlots | None = None,
) -> SessionParts:
    rng, ids = np.random.default_rng(seed), Ids("a" * 12)
    quota, servers = quota or ServiceQuota(UNLIMITED), servers or ResponseSlots()
    return SessionParts(4_000_000_000, profile, replies, rng, ids, quota, servers)


def build_behaviour(
    dialect: WireDialect = AZURE_GA,
    *,
    seed: int = 1,
    quota: ServiceQuota | None = None,
    servers: ResponseSlots | None = None,
    **changes: Any,
) -> Behaviour:
    """Return an open session with `HELLO` as its only reply; `changes` are applied to the
    profile.
    """
    parts = session_parts(build_profile(**changes), seed=seed, quota=quota, servers=servers)
    behaviour = Behaviour(dialect, "gpt-realtime", parts)
    behaviour.open(AT_NS)
    return behaviour


def silence(audio_ms: int) -> str:
    """Return pcm16 silence as base64."""
    return base64.b64encode(bytes(48 * audio_ms)).decode()


def append(audio_ms: int) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": silence(audio_ms)}


def sound(*parts_ms: int, name: AudioFormatName = "pcm16") -> bytes:
    """Return speech-like noise (−20 dBFS) and silence, alternating, beginning with noise."""
    rate_hz = RATED_FORMATS[name].rate_hz
    parts = [
        noise(ms * rate_hz // 1000, 0 if place % 2 else 3277) for place, ms in enumerate(parts_ms)
    ]
    return RATED_FORMATS[name].encode(np.concatenate(parts))


def noise(samples: int, amplitude: int) -> Samples:
    """Return a square wave with a period of 400 samples: its level is its amplitude."""
    return np.where(np.arange(samples) // 200 % 2, amplitude, -amplitude).astype(np.int16)


def session_update(dialect: WireDialect, **settings: Any) -> dict[str, Any]:
    kind = {"type": "realtime"} if dialect.names is GA else {}
    return {"type": "session.update", "session": kind | settings}


def function(name: str = "find_parcel", **properties: Any) -> dict[str, Any]:
    """Return the declaration of a function; all of its properties are required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "name": name, "parameters": parameters}


def output(call_id: str, text: str = "It is on its way.") -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    return {"type": "conversation.item.create", "item": item}


def hearing(
    dialect: WireDialect, detection: Any, name: AudioFormatName = "pcm16", model: str = ""
) -> dict[str, Any]:
    """Return the session.update that sets turn detection, input format and, if `model` is given,
    transcription.
    """
    transcription = {"model": model} if model else None
    if dialect.names is not GA:
        settings = {
            "turn_detection": detection,
            "input_audio_format": name,
            "input_audio_transcription": transcription,
        }
        return {"type": "session.update", "session": settings}
    settings = {
        "turn_detection": detection,
        "format": ga_format(RATED_FORMATS[name]),
        "transcription": transcription,
    }
    return {"type": "session.update", "session": {"type": "realtime", "audio": {"input": settings}}}


def talk(
    behaviour: Behaviour,
    audio: bytes,
    begin_ns: int = AT_NS,
    *,
    chunk_ms: int = 100,
    name: AudioFormatName = "pcm16",
) -> list[dict[str, Any]]:
    """Send audio at the pace of a microphone; return the events up to the arrival of the last
    chunk.
    """
    size, events = RATED_FORMATS[name].bytes_per_s * chunk_ms // 1000, []
    for place, begin in enumerate(range(0, len(audio), size), 1):
        at_ns = begin_ns + place * chunk_ms * MS
        events += drain(behaviour, at_ns)
        chunk = base64.b64encode(audio[begin : begin + size]).decode()
        behaviour.receive({"type": "input_audio_buffer.append", "audio": chunk}, at_ns)
    return events


def create(**response: Any) -> dict[str, Any]:
    return {"type": "response.create", "response": response}


def user_text(text: str = "Hi") -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
    }


def drain(behaviour: Behaviour, until_ns: int = FOREVER_NS) -> list[dict[str, Any]]:
    """Return the server's events up to an instant, decoded, with a field `due_ns`."""
    return [
        msgspec.json.decode(sent.body) | {"due_ns": sent.due_ns} for sent in behaviour.due(until_ns)
    ]


def answers(behaviour: Behaviour, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Send the events, all at one instant. Return the server's events after that, without
    session.created.
    """
    drain(behaviour)
    for event in events:
        behaviour.receive(event, AT_NS)
    return drain(behaviour)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def without_repeats(names: list[str]) -> list[str]:
    """Return the names without immediate repetitions."""
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def listening(
    detection: Any = VAD,
    *,
    dialect: WireDialect = AZURE_GA,
    name: AudioFormatName = "pcm16",
    model: str = "",
    seed: int = 1,
    delays: Mapping[str, float] | None = None,
    **changes: Any,
) -> Behaviour:
    """Return an open session with this turn detection; `delays` are constant, in ms."""
    fixed = {delay: constant(ms) for delay, ms in (delays or {}).items()}
    changes["delays"] = replace(quiet_profile().delays, **fixed)
    behaviour = build_behaviour(dialect, seed=seed, **changes)
    behaviour.receive(hearing(dialect, detection, name, model), AT_NS)
    drain(behaviour)
    return behaviour


def all_of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the events whose type ends with `name`."""
    return [event for event in events if event["type"].endswith(name)]


def one(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the only event whose type ends with `name`."""
    (event,) = all_of(events, name)
    return event


def done(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only response that is done."""
    response: dict[str, Any] = one(events, "response.done")["response"]
    return response


def begun(
    behaviour: Behaviour, name: str, *asked: dict[str, Any]
) -> tuple[list[dict[str, Any]], int]:
    """Send events.

    Return the server's events up to the first whose type ends with `name`, and the instant of that
    event.
    """
    events: list[dict[str, Any]] = []
    for event in asked:
        behaviour.receive(event, AT_NS)
    while not all_of(events, name):
        events += drain(behaviour, behaviour.next_due_ns() or AT_NS)
    return events, events[-1]["due_ns"]


def without_deltas(events: list[dict[str, Any]]) -> list[str]:
    return [name for name in without_repeats(types(events)) if not name.endswith(".delta")]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def late(*late_ns: int) -> LatenessCounts:
    lateness = LatenessCounts()
    for one_ns in late_ns:
        lateness.add(one_ns)
    return lateness
