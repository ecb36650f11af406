"""The detailed text about one session: its events, tokens, rate limits and network path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench.base.clock import Arrival
from bench.catalogue.pricing import Prices
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import LogHeader, ReplayedSession, replay_log
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS
from bench.wire.connection import ReceivedMessage
from bench.wire.events import TokenUsage
from rtbench.cli.session_text import _values, session_text, turn_rows
from tests.helpers import (
    AT_NS,
    MS,
    at,
    build_observation,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    message,
    not_transcribed,
    resolve_target,
)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log.jsonl", hide=str, record_audio=False)


@pytest.fixture
def timeline(log: EventLog) -> LoggedTimeline:
    return LoggedTimeline(SessionStart(AT_NS, 1, Timeouts()), GA, log=log, about={"dialect": "ga"})


def ask(timeline: LoggedTimeline) -> None:
    timeline.apply(inputs.TurnStarted(AT_NS, build_turn()))
    timeline.apply(inputs.Sent("response.create", AT_NS, 9))


def hear(timeline: LoggedTimeline, *messages: bytes, at_ms: float = 5) -> None:
    for data in messages:
        timeline.apply(
            inputs.Received(GA.decode(data), ReceivedMessage(data, Arrival(at(at_ms)), len(data)))
        )


def lines(timeline: LoggedTimeline, log: EventLog, width: int = 100) -> list[str]:
    timeline.apply(inputs.ScriptFinished(at(9_000)))
    timeline.pop_turns(at(9_000))
    log.close()
    return list(session_text(replay_log(log.path), width, colour=False))


def printed(timeline: LoggedTimeline, log: EventLog) -> str:
    """Return the whole text about the session as one line."""
    return " ".join(" ".join(lines(timeline, log)).split())


LIVE = resolve_target({}, url="ws://127.0.0.1:1/v1/live/sessions")
PRICES = {
    "gpt-live-1": Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.6),
    "luna": Prices(1, 0.1, 5, 0, 0, 0),
}


@pytest.mark.parametrize(
    ("backend", "done_by", "cost"),
    [
        (None, "the client", "cost 60 s of gpt-live-1 at $0.6 per minute: $0.60"),
        ("luna", "luna", "$0.60 · luna: tokens: 500000 text in; $0.50"),
        ("next", "next", "$0.60 · next: tokens: 500000 text in; no price of next is known"),
    ],
)
def test_a_session_that_delegates_shows_the_filler_the_answer_the_task_and_the_cost(
    backend: str | None, done_by: str, cost: str
) -> None:
    instants = {
        "speech_end": 0,
        "first_audible": 500 * MS,
        "function_call_added": 400 * MS,
        "function_audible": 1_500 * MS,
    }
    usage = TokenUsage(text_in=500_000) if backend else None
    turn = build_observation(instants=instants, delegations=1, usage=usage)
    session = SessionObservation(
        "ok",
        instants={"opened": 0, "ended": 90_000 * MS},
        billed_ns=60_000 * MS,
        effective_settings={"model": "gpt-live-1"},
        backend_model=backend,
    )
    replayed = ReplayedSession(
        LogHeader(0, 1, Timeouts(), schema=1, tool="", about={"dialect": "gpt-live"}),
        session,
        (turn,),
        (),
        False,
    )
    text = " ".join(
        " ".join(session_text(replayed, 200, colour=False, target=LIVE, prices=PRICES)).split()
    )

    assert "♪ first audible sample of the answer" in text
    assert "delegation filler after 500 ms · answer after 1,500 ms ·" in text
    assert f"1 task delegated to {done_by} after 400 ms" in text
    assert cost in text


def answer(**usage: Any) -> list[bytes]:
    return [created("r1"), delta(GA, "audio", "r1"), done("r1", **usage)]


def test_the_rest_of_each_rate_limit_is_printed_with_its_event(
    timeline: LoggedTimeline, log: EventLog
) -> None:
    ask(timeline)
    entries = [
        {"name": "requests", "limit": 1_000, "remaining": 999},
        {"name": "tokens", "remaining": 12},
        {"name": "x"},
    ]
    hear(timeline, message("rate_limits.updated", rate_limits=entries), *answer())

    assert "rate_limits.updated, 999 of 1,000 requests left, 12 tokens left" in printed(
        timeline, log
    )


@pytest.mark.parametrize("scope", ["service", "proxy"])
def test_a_round_trip_to_a_proxy_is_labelled(
    timeline: LoggedTimeline, log: EventLog, scope: Any
) -> None:
    ask(timeline)
    hear(timeline, *answer())
    timeline.apply(inputs.NetworkMeasured(3 * MS, 2 * MS, 0, scope))

    text = printed(timeline, log)
    assert "network_rtt 2 ms" in text
    assert ("network_rtt is measured to the proxy" in text) == (scope == "proxy")
    assert ("ttfa_minus_rtt" in text) == (scope == "service")


MISSING_TYPE = "Missing required parameter: 'session.type'."


@pytest.mark.parametrize(
    ("spoken", "outcome", "words", "speaks"),
    [
        ("preview", "failed:missing_required_parameter", MISSING_TYPE, "ga"),
        ("ga", "failed:unknown_parameter", "Unknown parameter: 'session.type'.", "preview"),
        ("ga", "failed:missing_required_parameter", MISSING_TYPE, None),
    ],
)
def test_a_session_in_the_wrong_dialect_prints_a_hint_with_the_right_one(
    log: EventLog, spoken: str, outcome: str, words: str, speaks: str | None
) -> None:
    timeline = LoggedTimeline(
        SessionStart(AT_NS, 1, Timeouts()), DIALECTS[spoken], log=log, about={"dialect": spoken}
    )
    timeline.apply(inputs.SessionFailed(outcome, at(3), words))

    text = printed(timeline, log)
    assert ("hint the service uses" in text) == ("hint" in text) == (speaks is not None)
    assert f"use --dialect {speaks}" in text or speaks is None


def test_errors_are_styled_bad_and_events_that_no_turn_needs_are_dimmed(
    timeline: LoggedTimeline, log: EventLog
) -> None:
    ask(timeline)
    hear(
        timeline,
        created("r1"),
        error("x"),
        b"{",
        not_transcribed("i1"),
        message("odd"),
        message("rate_limits.updated"),
    )
    hear(timeline, delta(PREVIEW, "audio", "r1"), done("r1"))
    lines(timeline, log)

    ((_, shown),) = turn_rows(replay_log(log.path))
    assert {row.label.partition(",")[0]: row.style for row in shown if row.way == "←"} == {
        "response.created": "",
        "error": "bad",
        "unreadable message": "bad",
        "input transcript failed": "bad",
        "odd (unknown)": "soft",
        "rate_limits.updated": "soft",
        "response.audio.delta (of the other dialect)": "bad",
        "response.done": "",
    }


def test_cached_tokens_are_printed_as_a_share_of_the_tokens_read() -> None:
    read = {"context_tokens": 400, "context_cached_tokens": 100}
    first, second = (_values(build_observation(turn=turn, **read)) for turn in (1, 2))

    assert "cached_share 25 %" in second
    assert not any("cached_share" in line for line in first)


# The events, with offsets from the turn's zero.


@pytest.fixture
def spoken(log: EventLog) -> LoggedTimeline:
    """Return the timeline of a turn with speech until 900 ms. The first delta of the reply
    arrives at 1,400 ms.
    """
    timeline = LoggedTimeline(
        SessionStart(AT_NS, 1, Timeouts(), service_responds=True),
        GA,
        log=log,
        about={"dialect": "ga"},
    )
    timeline.apply(inputs.TurnStarted(AT_NS, build_turn(vad=True, service_responds=True)))
    for ms in range(100, 1_400, 100):
        moments = {"speech_end": 0} if ms == 900 else {}
        timeline.apply(
            inputs.Sent("input_audio_buffer.append", at(ms), 9, audio_bytes=4_800, instants=moments)
        )
    hear(timeline, message("input_audio_buffer.speech_started", item_id="i1"), at_ms=50)
    hear(
        timeline,
        message("input_audio_buffer.speech_stopped", item_id="i1"),
        committed("i1"),
        at_ms=1_150,
    )
    hear(timeline, created("r1"), at_ms=1_200)
    for ms in range(1_400, 1_700, 50):
        hear(timeline, delta(GA, "transcript", "r1"), delta(GA, "audio", "r1"), at_ms=ms)
    hear(timeline, done("r1"), at_ms=1_800)
    return timeline


def rows(printed: list[str]) -> dict[str, str]:
    """Return the offset of each row of the last waterfall. The key is the name of the row."""
    begin = max(number for number, line in enumerate(printed) if line.startswith("turn "))
    found = (re.match(r"\s*(\S+)  ([→←♪·] .+?)   ", line + "   ") for line in printed[begin + 1 :])
    return {match[2]: match[1] for match in found if match}


def test_the_segments_add_up_to_the_total(spoken: LoggedTimeline, log: EventLog) -> None:
    (line,) = [line for line in lines(spoken, log, 200) if line.startswith("breakdown")]
    figures = [float(figure) for figure in re.findall(r"[\d.]+", line)]

    assert line.split(None, 1)[1].startswith(
        "end of turn delay 250.0 + commit 0.0 + response creation 50.0"
    )
    assert sum(figures[:-1]) == figures[-1] == 500.0


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal(
    spoken: LoggedTimeline, log: EventLog, width: int
) -> None:
    assert max(map(len, lines(spoken, log, width))) <= width


def test_a_service_s_text_cannot_control_the_terminal(
    timeline: LoggedTimeline, log: EventLog
) -> None:
    ask(timeline)
    hear(timeline, message("odd\x1b[2J", response_id="r1"), error("x\x1b[2J", "turn-1-response"))

    text = printed(timeline, log)
    assert "\x1b" not in text
    assert "failed:x" in text


def test_a_message_is_printed_in_the_turn_during_which_it_was_sent_or_received(
    timeline: LoggedTimeline, log: EventLog
) -> None:
    for number, (begun_ms, heard_ms) in enumerate([(0, 4), (100, 130)], 1):
        timeline.apply(inputs.TurnStarted(at(begun_ms), build_turn(number, wants_audio=False)))
        timeline.apply(inputs.Sent("response.create", at(begun_ms), 9))
        response = f"r{number}"
        hear(
            timeline, created(response), delta(GA, "text", response), done(response), at_ms=heard_ms
        )
        timeline.pop_turns(at(heard_ms + 1))

    shown = lines(timeline, log)
    titles = [number for number, line in enumerate(shown) if line.startswith("turn ")]
    assert len(titles) == 2
    assert rows(shown[: titles[1]])["← response.created"] == "+4.0"
    assert rows(shown)["← response.created"] == "+30.0"
