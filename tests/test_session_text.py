"""What a session from close by tells of tokens, limits and the way to the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli.session_text import _figures, session_text
from bench.clock import Arrival
from bench.limits import Limits
from bench.observe import inputs
from bench.protocol.dialects import DIALECTS
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.simulated import SIMULATOR_MARK
from bench.run.event_log import EventLog, LoggedTimeline
from bench.run.replay import replay
from bench.transport.received import Received
from tests.helpers import AT_NS, MS, at, build_observation, build_turn, created, delta, done, message, usage


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log.jsonl", hide=str, keep_audio=False)


@pytest.fixture
def timeline(log: EventLog) -> LoggedTimeline:
    return LoggedTimeline(AT_NS, 1, Limits(), GA, log=log, about={"dialect": "ga"})


def ask(timeline: LoggedTimeline) -> None:
    timeline.tell(inputs.Begun(AT_NS, build_turn()))
    timeline.tell(inputs.Sent("response.create", AT_NS, 9))


def hear(timeline: LoggedTimeline, *messages: bytes) -> None:
    for data in messages:
        timeline.received(GA.decode(data), Received(data, Arrival(at(5)), len(data)))


def printed(timeline: LoggedTimeline, log: EventLog) -> str:
    """All of it on one line."""
    timeline.tell(inputs.Finished(at(9)))
    timeline.take(at(9))
    log.close()
    lines = session_text(replay(log.path), 100, colour=False)
    return " ".join(" ".join(lines).split())


def answer(**told: Any) -> list[bytes]:
    return [created("r1"), delta(GA, "audio", "r1"), done("r1", **told)]


def test_tokens_are_told_by_kind_cached_ones_too(timeline: LoggedTimeline, log: EventLog) -> None:
    ask(timeline)
    hear(timeline, *answer(usage=usage(audio_out=20)))

    text = printed(timeline, log)
    assert "text in 11 · audio in 12 · cached text in 3 · cached audio in 2 · text out 13 · audio out 20" in text


def test_a_turn_that_was_throttled_tells_the_wait_that_was_asked_for(timeline: LoggedTimeline, log: EventLog) -> None:
    ask(timeline)
    words = {"code": "rate_limit_exceeded", "message": "Limit reached. Please try again in 6.232s."}
    hear(timeline, created("r1"), done("r1", "failed", error=words))

    text = printed(timeline, log)
    assert "throttled:response: rate_limit_exceeded: Limit reached" in text
    assert "asks to wait 6,232 ms" in text


def test_a_session_that_was_throttled_tells_it_too(timeline: LoggedTimeline, log: EventLog) -> None:
    timeline.tell(inputs.Connected({}, {"retry-after-ms": "250"}))
    timeline.tell(inputs.Failed("throttled:handshake", at(3), "429: slow down"))

    assert "throttled:handshake: 429: slow down · asks to wait 250 ms" in printed(timeline, log)


def test_what_remains_of_each_limit_stands_beside_its_event(timeline: LoggedTimeline, log: EventLog) -> None:
    ask(timeline)
    entries = [
        {"name": "requests", "limit": 1_000, "remaining": 999},
        {"name": "tokens", "remaining": 12},
        {"name": "x"},
    ]
    hear(timeline, message("rate_limits.updated", rate_limits=entries), *answer())

    assert "rate_limits.updated, 999 of 1,000 requests left, 12 tokens left" in printed(timeline, log)


@pytest.mark.parametrize("wait_ms", [0, 40])
def test_a_wait_for_a_token_is_told_where_there_was_one(timeline: LoggedTimeline, log: EventLog, wait_ms: int) -> None:
    timeline.tell(inputs.Connected({"dns_done": at(41), "upgrade_done": at(42)}, {}, wait_ms * MS))

    text = printed(timeline, log)
    assert ("token_wait 40 ms" in text) == ("token_wait" in text) == bool(wait_ms)


@pytest.mark.parametrize("scope", ["service", "proxy"])
def test_a_round_trip_to_a_proxy_is_told_as_such(timeline: LoggedTimeline, log: EventLog, scope: Any) -> None:
    ask(timeline)
    hear(timeline, *answer())
    timeline.tell(inputs.NetworkMeasured(3 * MS, 2 * MS, 0, scope))

    text = printed(timeline, log)
    assert "network_rtt 2 ms" in text
    assert ("network_rtt is to the proxy" in text) == (scope == "proxy")
    assert ("ttfa_less_rtt" in text) == (scope == "service")


def test_a_simulator_behind_a_gateway_is_known_by_its_session(timeline: LoggedTimeline, log: EventLog) -> None:
    hear(timeline, message("session.created", session={"id": "s", SIMULATOR_MARK: True}))

    assert "SIMULATED" in printed(timeline, log)


MISSING_TYPE = "Missing required parameter: 'session.type'."


@pytest.mark.parametrize(
    ("spoken", "outcome", "words", "speaks"),
    [
        ("preview", "failed:missing_required_parameter", MISSING_TYPE, "ga"),
        ("ga", "failed:unknown_parameter", "Unknown parameter: 'session.type'.", "preview"),
        ("ga", "failed:missing_required_parameter", MISSING_TYPE, None),
    ],
)
def test_a_session_in_the_wrong_dialect_hints_at_the_right_one(
    log: EventLog, spoken: str, outcome: str, words: str, speaks: str | None
) -> None:
    timeline = LoggedTimeline(AT_NS, 1, Limits(), DIALECTS[spoken], log=log, about={"dialect": spoken})
    timeline.tell(inputs.Failed(outcome, at(3), words))

    text = printed(timeline, log)
    assert ("hint the service speaks" in text) == ("hint" in text) == (speaks is not None)
    assert f"use --dialect {speaks}" in text or speaks is None


def test_a_turn_in_the_wrong_dialect_hints_at_the_right_one(timeline: LoggedTimeline, log: EventLog) -> None:
    ask(timeline)
    hear(timeline, created("r1"), delta(PREVIEW, "audio", "r1"), done("r1"))

    assert "use --dialect preview" in printed(timeline, log)


def test_what_the_service_had_cached_is_told_as_a_share_of_what_it_read() -> None:
    read = {"context_tokens": 400, "context_cached_tokens": 100}
    first, second = (_figures(build_observation(turn=turn, **read)) for turn in (1, 2))

    assert "cached_share 25 %" in second
    assert not any("cached_share" in line for line in first)
