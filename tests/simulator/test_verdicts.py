"""The simulator refuses the client events that the services refuse, with the same code and
parameter, and accepts all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from rtbench_simulator.services.voice_live import VOICE_LIVE
from rtbench_simulator.services.xai import XAI
from tests.examples import some
from tests.simulator.builders import answers, build_behaviour, session_update
from tests.simulator.talk_log import SERVICES

EVERYWHERE = AZURE_GA, OPENAI_GA, AZURE_PREVIEW, OPENAI_PREVIEW
OTHERS = VOICE_LIVE, XAI
TABLE = Path(__file__).with_name("verdicts.txt")
# the code and param of the error; None if the event is accepted
Verdict = tuple[str, str | None] | None


def hearing(dialect: WireDialect, key: str, value: Any) -> tuple[dict[str, Any], str]:
    """Return the update that sets `key`, and the path of the setting in the dialect. `key` is
    the name in GA.
    """
    if dialect.names is GA:
        return session_update(dialect, audio={"input": {key: value}}), f"session.audio.input.{key}"
    preview = {
        "noise_reduction": "input_audio_noise_reduction",
        "transcription": "input_audio_transcription",
    }.get(key, key)
    return session_update(dialect, **{preview: value}), f"session.{preview}"


def event_of(dialect: WireDialect, section: str, given: Any) -> tuple[dict[str, Any], str]:
    """Return an event with this part, and the path to which its param is relative."""
    match section:
        case "event":
            return given, ""
        case "item":
            return {"type": "conversation.item.create", "item": given}, ""
        case "response":
            return {"type": "response.create", "response": given}, ""
        case "session":
            return session_update(dialect, **given), ""
    return hearing(dialect, section, given)


def cases(dialect: WireDialect) -> Iterator[tuple[dict[str, Any], Verdict]]:
    """Yield the events of the table that apply to a dialect."""
    groups, section = {dialect.name}, ""
    if dialect in EVERYWHERE:
        groups |= {"all", "GA" if dialect.names is GA else "preview"}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            where, code, param, given = line.split(maxsplit=3)
            if groups & set(where.split(",")):
                event, path = event_of(dialect, section, json.loads(given))
                refused = code, None if param == "-" else path + param
                yield event, None if code == "-" else refused


@pytest.mark.parametrize("dialect", EVERYWHERE + OTHERS, ids=lambda one: one.name)
def test_the_simulator_accepts_and_refuses_events_like_the_services(dialect: WireDialect) -> None:
    for event, verdict in cases(dialect):
        check_answered(dialect, event, verdict)


TOO_LONG = "string_above_max_length"


@pytest.mark.parametrize("dialect", some(EVERYWHERE, 1), ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("kind", "key", "value", "verdict"),
    [
        ("append", "audio", "AAAA" * (5 << 20), None),  # 15 MiB of silence
        ("append", "audio", "AAAA" * ((5 << 20) + 1), (TOO_LONG, "audio")),
        ("clear", "event_id", "e" * 513, (TOO_LONG, "event_id")),
    ],
    ids=["15 MiB", "more", "a long id"],
)
def test_audio_and_ids_have_a_maximum_length(
    dialect: WireDialect, kind: str, key: str, value: str, verdict: Verdict
) -> None:
    check_answered(dialect, {"type": f"input_audio_buffer.{kind}", key: value}, verdict)


def check_answered(dialect: WireDialect, event: dict[str, Any], verdict: Verdict) -> None:
    behaviour = build_behaviour(dialect)
    before = behaviour.session.shown

    events = answers(behaviour, event)
    errors = [answer["error"] for answer in events if answer["type"] == "error"]

    assert len(events) == 1 or not errors
    SERVICES[dialect.name].check(events if errors else [])
    assert [(error["code"], error["param"]) for error in errors] == (
        [] if verdict is None else [verdict]
    ), str(event)[:150]
    assert {error["type"] for error in errors} <= {"invalid_request_error"}
    if errors:
        assert behaviour.session.shown == before
