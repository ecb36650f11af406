"""What a service tells, in words."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor.service_findings import (
    compression,
    greeted,
    limits_told,
    refused,
    replied,
    retired,
    service_clock,
    settings_in,
)
from bench.money import Tariff
from bench.observe.observation import SessionObservation
from bench.protocol.base import SIMULATOR_MARK
from bench.protocol.rate_limits import RateLimit
from bench.target.credentials import Credential
from tests.doctor.targets import build_target
from tests.helpers import build_observation

AT_S = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["audio", "input", "output", "format", "type", "voice", "turn_detection", "model"]), inner
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("off_s", "state", "said"),
    [
        (0, "pass", "agrees"),
        (30, "pass", "30 s ahead"),
        (-300, "warning", "300 s behind"),
        (300, "warning", "300 s ahead"),
    ],
)
def test_a_wall_clock_that_is_wrong_is_a_warning(off_s: int, state: str, said: str) -> None:
    found = service_clock(DATE, (AT_S + off_s) * 1_000_000_000 + 500_000_000)

    assert (found.result, said in found.message) == (state, True)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT"])
def test_without_a_date_the_clocks_are_not_compared(date: str | None) -> None:
    assert service_clock(date, AT_S * 1_000_000_000).result == "skipped"


@pytest.mark.parametrize(
    ("days_before", "state"), [(61, "pass"), (60, "warning"), (1, "warning"), (0, "warning"), (-30, "warning")]
)
def test_the_end_of_a_model_is_a_note_and_a_warning_once_it_is_near(days_before: int, state: str) -> None:
    today = date(2027, 1, 20) - timedelta(days=days_before)
    (found,) = retired({"model": "gpt-realtime-2025-08-28"}, "openai", today)

    assert (found.result, bool(found.remedy)) == (state, state == "warning")
    assert "gpt-realtime-2025-08-28" in found.message
    assert "2027-01-20" in found.message


@pytest.mark.parametrize(
    ("greeting", "service"),
    [
        ({"model": "gpt-realtime-2.1"}, "openai"),
        ({"model": "gpt-realtime"}, "other"),
        ({}, "openai"),
        ({"model": "gpt-realtime", SIMULATOR_MARK: True}, "openai"),
    ],
)
def test_nothing_is_said_of_a_model_without_a_known_end_or_a_simulated_one(
    greeting: dict[str, Any], service: str
) -> None:
    assert list(retired(greeting, service, date(2027, 1, 1))) == []


FLAT = {
    "voice": "alloy",
    "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
    "input_audio_format": "pcm16",
    "output_audio_format": "g711_ulaw",
}
NESTED = {
    "audio": {
        "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    }
}


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (FLAT, "voice alloy, turn detection server_vad (200 ms of silence), input pcm16, output g711_ulaw"),
        (NESTED, "voice marin, turn detection none, input audio/pcm, output audio/pcmu"),
    ],
)
def test_settings_are_read_in_both_dialects(session: dict[str, Any], said: str) -> None:
    assert settings_in(session) == said


@given(st.dictionaries(st.sampled_from(["audio", "voice", "turn_detection", "input_audio_format"]), JSON))
def test_no_settings_upset_it(session: dict[str, Any]) -> None:
    assert isinstance(settings_in(session), str)


@pytest.mark.parametrize(("left_s", "said"), [(1_800, "30 min"), (120, "2 min"), (119, "119 s"), (0.6, "1 s")])
def test_the_greeting_says_which_model_answers_and_for_how_long(left_s: float, said: str) -> None:
    instants = {"upgrade_done": 0, "session_created": 12_000_000}
    found = greeted({"model": "m", "expires_at": AT_S + left_s}, SessionObservation("", "", 0, instants), AT_S)

    assert found.message == f"model m, ends in {said} at the latest, greeted in 12.0 ms"


def test_limits_say_what_is_left() -> None:
    found = limits_told((RateLimit("requests", 200, 199, 0.3), RateLimit("tokens", None, 5)))

    assert found.message == "requests: 199 of 200 left, whole again in 0.3 s; tokens: 5 left"
    assert limits_told(()).result == "skipped"


def test_a_turn_that_the_service_ends_without_a_word_says_its_outcome_alone() -> None:
    turn = build_observation(outcome="incomplete:max_output_tokens")

    assert replied(turn, build_target(), Tariff("m", None, "")).message == "incomplete:max_output_tokens"


@pytest.mark.parametrize(
    ("wanted", "agreed", "state"),
    [(False, "", "pass"), (True, "permessage-deflate", "pass"), (True, "", "warning")],
)
def test_compression_that_is_declined_is_a_warning(wanted: bool, agreed: str, state: str) -> None:
    assert compression({"sec-websocket-extensions": agreed}, wanted=wanted).result == state


def test_a_refusal_holds_the_ids_that_support_asks_for_each_once() -> None:
    headers = {"apim-request-id": "id-7", "x-request-id": "id-7", "x-ms-region": "Sweden Central", "retry-after": "9"}
    observed = SessionObservation("connect_failed:503", "HTTP 503: no", 0, {}, headers=headers)
    found = refused("upgrade", observed, build_target(), {}, str)

    assert found.message == "connect_failed:503: HTTP 503: no; x-ms-region Sweden Central, apim-request-id id-7"
    assert "asks to wait 9 s" in found.remedy


@given(st.integers(8, 32))
def test_a_secret_that_the_service_has_cut_is_hidden_before_ids_follow_it(length: int) -> None:
    secret = "0123456789abcdef" * 2
    detail = f"1008: no such key: {secret[:length]}"
    observed = SessionObservation("closed:1008", detail, 0, {}, headers={"x-ms-region": "Sweden Central"})

    found = refused("session", observed, build_target(), {}, Credential("api-key", secret).hide)

    assert found.message == "closed:1008: no such key: ***; x-ms-region Sweden Central"
