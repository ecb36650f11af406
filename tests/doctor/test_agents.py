"""The findings of the doctor about a call with an agent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.catalogue.causes import Cause, Code, Limit, in_words
from bench.catalogue.outcomes import NO_MEDIA
from bench.doctor.diagnosis import doctor_remedy, without_repeated_remedies
from bench.doctor.service_findings import (
    AudioPace,
    check_answer,
    check_pace,
    check_spoken_greeting,
    check_unread_messages,
)
from bench.observe.observation import TurnObservation
from bench.services.agents import PCM
from bench.wire.audio import G711_ULAW, PCM16_16K
from bench.wire.findings import CheckFinding
from tests.helpers import AT_NS, MS, build_observation, build_session

INAUDIBLE = (
    "with 1.0 s of audio, but none of it is audible (silence, even noise, or another format than"
    " pcm16)"
)
NOTHING_AUDIBLE = "no audible audio was received"
NO_AUDIO = "but none of them has audio"
NO_MESSAGE = "no message was received"
NO_PAUSE = "the reply had no silence that ends it (reply_silence_ms)"

NOTHING_CAME = Cause(Code.NOTHING_AUDIBLE, {"limit": Limit(12, "first_delta")}).because(
    Cause(Code.NO_MESSAGE)
)
LIMIT = "within 12 s (timeout `first_delta`)"


def turn(outcome: str = "ok", **facts: Any) -> TurnObservation:
    instants = {"speech_end": AT_NS, "first_audible": AT_NS + 900 * MS}
    return build_observation(outcome=outcome, instants=instants, **facts)


def pace(speed: float) -> AudioPace:
    """Return the pace of audio that arrives in pieces of 20 ms: 2.4 s of audio, a pause, and
    another 0.2 s of audio.

    Within each part, the pieces arrive at `speed` times real time.
    """
    measured, piece = AudioPace(), PCM16_16K.bytes_per_s // 50
    for begin_ms, count in ((0, 120), (9_000, 10)):
        for number in range(count):
            measured.add(AT_NS + begin_ms * MS + round(number * 20 * MS / speed), piece)
    return measured


@pytest.mark.parametrize(
    ("outcome", "detail", "expected"),
    [
        ("timeout:first_delta", f"{NOTHING_AUDIBLE} {LIMIT}: {NO_MESSAGE}", "sends nothing"),
        (
            "timeout:first_delta",
            f"{NOTHING_AUDIBLE} {LIMIT}: 40 messages came, {NO_AUDIO}",
            "no audio in the form",
        ),
        (
            "timeout:first_delta",
            f"{NOTHING_AUDIBLE} {LIMIT}: 40 messages came {INAUDIBLE}",
            "never louder",
        ),
        (
            "timeout:response",
            f"{NO_PAUSE} within 40 s (timeout `response`)",
            "has no silence that ends a reply",
        ),
        ("connect_failed:404", "", "no such path"),
        ("connect_failed:403", "", "X-Twilio-Signature"),
        ("connect_failed:upgrade", "", "subprotocol"),
        ("protocol_error:json", "", "those of another provider"),
        ("closed:1011", "", "closed the connection"),
        ("connect_failed:dns", "", ""),
    ],
)
def test_each_outcome_of_a_call_has_its_remedy(outcome: str, detail: str, expected: str) -> None:
    remedy = doctor_remedy(PCM, outcome, [in_words(detail)])

    assert expected in remedy
    assert bool(expected) == bool(remedy), "any other cause is left to others"


def test_ignored_messages_are_counted_by_type_with_a_remedy() -> None:
    assert list(check_unread_messages(build_session(unknown_events={}))) == []
    (found,) = check_unread_messages(
        build_session(unknown_events={"media of another stream": 400, "ping": 2})
    )

    assert (found.result, found.message.rpartition(": ")[2]) == (
        "warning",
        "media of another stream 400, ping 2",
    )
    assert "streamSid" in found.remedy
    assert (
        "streamSid"
        not in next(check_unread_messages(build_session(unknown_events={"ping": 2}))).remedy
    )


def test_an_agent_that_speaks_first_is_timed_and_one_that_waits_is_a_warning() -> None:
    spoken = build_session(instants={"connect_start": AT_NS, "greeting_audible": AT_NS + 400 * MS})

    assert (
        check_spoken_greeting(turn(), spoken, PCM).message
        == "the agent speaks first, 400 ms after the call started"
    )
    unheard = turn("timeout:first_delta", causes=(NOTHING_CAME,))
    waits = check_spoken_greeting(unheard, build_session(instants={"connect_start": AT_NS}), PCM)
    assert waits.message == f"no audible audio within 12 s of the call: {NO_MESSAGE}"
    assert (waits.result, waits.remedy.startswith("remove `wait_for: greeting` from")) == (
        "warning",
        True,
    )
    sends_nothing = check_spoken_greeting(
        turn(NO_MEDIA), build_session(instants={"connect_start": AT_NS}), PCM
    )
    assert (sends_nothing.result, sends_nothing.remedy.startswith("the next call,")) == (
        "warning",
        True,
    )
    assert (
        check_spoken_greeting(
            turn("timeout:response"), build_session(instants={"connect_start": AT_NS}), PCM
        ).result
        == "fail"
    )


def test_an_answer_is_reported_with_its_latency_and_a_missing_one_fails() -> None:
    found = list(check_answer(turn(), build_session(), pace(1.0), PCM16_16K, PCM))

    assert [(each.name, each.result) for each in found] == [("turn", "pass"), ("audio", "pass")]
    assert found[0].message == "answered: voice_to_voice 900 ms"
    (failed,) = check_answer(
        None, build_session(outcome="closed:1000"), AudioPace(), PCM16_16K, PCM
    )
    assert (failed.result, failed.message) == ("fail", "closed:1000")


def test_a_remedy_is_shown_once() -> None:
    media = CheckFinding("media", "fail", "no RTP packet arrived", "open the ports")
    found = without_repeated_remedies(
        [replace(media, name="turn"), CheckFinding("audio", "fail", "x", "y")], [media]
    )

    assert [finding.remedy for finding in found] == ["", "y"]


def test_the_limits_of_a_call_are_those_of_the_doctor() -> None:
    unheard = turn("timeout:first_delta", causes=(NOTHING_CAME,))
    (failed,) = check_answer(unheard, build_session(), AudioPace(), PCM16_16K, PCM)

    assert (
        f"{NOTHING_AUDIBLE} within 12 s (the limit of the doctor): {NO_MESSAGE}" in failed.message
    )


def test_an_agent_that_speaks_before_the_caller_has_finished_gave_no_answer() -> None:
    early = build_observation(instants={"speech_end": AT_NS, "first_audible": AT_NS - MS})
    found = list(check_answer(early, build_session(), pace(1.0), G711_ULAW, PCM))

    assert (found[0].name, found[0].result) == ("turn", "warning")
    assert "before the caller's words ended" in found[0].message
    assert "greeting" in found[0].remedy


def test_messages_that_end_within_a_sample_are_a_warning_only_for_pcm() -> None:
    split = pace(1.0)
    split.add(AT_NS, 641)
    found = list(check_answer(turn(), build_session(), split, PCM16_16K, PCM))

    assert (found[-1].name, found[-1].result, found[-1].message[-1]) == ("samples", "warning", "1")
    assert len(list(check_answer(turn(), build_session(), split, G711_ULAW, PCM))) == len(found) - 1


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5])
def test_the_pace_is_the_audio_rate_relative_to_real_time(speed: float) -> None:
    assert pace(speed).speed(PCM16_16K) == pytest.approx(speed)
    assert AudioPace().speed(PCM16_16K) is None


PACES = [
    (1.5, "24,000 Hz"),
    (0.5, "8,000 Hz"),
    (3.02, "48,000 Hz"),
    *((speed, "") for speed in (1.0, 0.97, 1.2, 4.0, 6.1, None)),
]


@pytest.mark.parametrize(("speed", "rate"), PACES)
def test_audio_at_the_pace_of_another_sample_rate_is_a_warning(
    speed: float | None, rate: str
) -> None:
    found = check_pace(speed, PCM16_16K)

    assert (found.result == "warning", rate in found.remedy) == (bool(rate), True)
