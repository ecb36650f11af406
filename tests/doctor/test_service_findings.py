"""The texts of the findings about a service."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.causes import in_words
from bench.catalogue.pricing import Prices, TurnPricing
from bench.doctor.service_checks import configuration
from bench.doctor.service_findings import (
    FileHeaders,
    check_delegating_reply,
    check_delegation,
    check_greeting,
    check_headers,
    check_rate_limits,
    check_reply,
    check_retirement,
    compression,
    explain_refusal,
    service_clock,
    settings_in,
)
from bench.observe.observation import SessionObservation, TurnObservation
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.target.target import Credential
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.wire.dialect import SIMULATOR_VALUE
from bench.wire.events import RateLimit, TokenUsage
from bench.wire.findings import CheckFinding
from tests.doctor.targets import build_target
from tests.helpers import MS, S, build_observation

AT_S = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
GREETED = SessionObservation(instants={"opened": 0, "session_created": 12_000_000})
DECLINED = {"sec-websocket-extensions": ""}


def at_a_clock(off_s: int, date: str | None = DATE) -> CheckFinding:
    return service_clock(date, (AT_S + off_s) * 1_000_000_000 + 500_000_000)


def greeting(left_s: float) -> CheckFinding:
    return check_greeting({"model": "m", "expires_at": AT_S + left_s}, GREETED, AT_S)


FOUND: list[tuple[Callable[[], CheckFinding], str, str]] = [
    # (a finding; its result, and its text)
    (lambda: at_a_clock(0), "pass", "agrees"),
    (lambda: at_a_clock(30), "pass", "30 s ahead"),
    (lambda: at_a_clock(-300), "warning", "300 s behind"),
    (lambda: at_a_clock(300), "warning", "300 s ahead"),
    *(
        (partial(at_a_clock, 0, date), "skipped", "")
        for date in (None, "", "yesterday", DATE.replace("14", "99"))
    ),
    (
        lambda: greeting(1_800),
        "pass",
        "model m, ends in at most 30 min, session.created after 12.0 ms",
    ),
    (lambda: greeting(120), "pass", "ends in at most 2 min"),
    (lambda: greeting(119), "pass", "ends in at most 119 s"),
    (lambda: greeting(0.6), "pass", "ends in at most 1 s"),
    (lambda: greeting(1.7e12), "pass", "model m, session.created after 12.0 ms"),  # in milliseconds
    (
        lambda: check_rate_limits(
            (RateLimit("requests", 200, 199, 0.3), RateLimit("tokens", None, 5))
        ),
        "pass",
        "requests: 199 of 200 left, reset in 0.3 s; tokens: 5 left",
    ),
    (lambda: check_rate_limits(()), "skipped", ""),
    (
        lambda: check_reply(
            build_observation(outcome="incomplete:max_output_tokens"),
            build_target(),
            TurnPricing("m", None, ""),
        ),
        "fail",
        "incomplete:max_output_tokens",
    ),
    (lambda: compression(DECLINED, requested=False), "pass", ""),
    (lambda: compression(DECLINED, requested=True), "warning", ""),
    (
        lambda: compression({"sec-websocket-extensions": "permessage-deflate"}, requested=True),
        "pass",
        "",
    ),
]


@pytest.mark.parametrize(("tell", "result", "expected"), FOUND)
def test_settings_reported_by_a_service_are_findings(
    tell: Callable[[], CheckFinding], result: str, expected: str
) -> None:
    found = tell()

    assert (found.result, expected in found.message) == (result, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["audio", "input", "output", "format", "type", "voice", "turn_detection", "model"]
            ),
            inner,
        )
    ),
)


@pytest.mark.parametrize(
    ("days_before", "state"),
    [(61, "pass"), (60, "warning"), (1, "warning"), (0, "warning"), (-30, "warning")],
)
def test_the_retirement_of_a_model_is_a_note_and_a_warning_in_the_last_60_days(
    days_before: int, state: str
) -> None:
    today = date(2027, 1, 20) - timedelta(days=days_before)
    (found,) = check_retirement({"model": "gpt-realtime-2025-08-28"}, "openai", today)

    assert (found.result, bool(found.remedy)) == (state, state == "warning")
    assert "gpt-realtime-2025-08-28" in found.message
    assert "2027-01-20" in found.message


@pytest.mark.parametrize(
    ("greeting", "service"),
    [
        ({"model": "gpt-realtime-2.1"}, "openai"),
        ({"model": "gpt-realtime"}, "other"),
        ({}, "openai"),
        ({"model": "gpt-realtime", SIMULATOR_VALUE: True}, "openai"),
    ],
)
def test_a_model_without_a_known_retirement_date_has_no_finding(
    greeting: dict[str, Any], service: str
) -> None:
    assert list(check_retirement(greeting, service, date(2027, 1, 1))) == []


def test_the_retirement_of_a_backend_is_reported_too() -> None:
    (found,) = check_retirement({"model": "gpt-live-1"}, "openai", date(2026, 11, 26), "gpt-5-mini")

    assert (found.result, found.message[:42]) == (
        "warning",
        "gpt-5-mini is switched off on 2026-12-11, ",
    )
    assert found.remedy == "name another model in `delegation`"


LUNA, LIVE = Prices(0.1, 0.01, 0.5, 0, 0, 0), Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.6)
BACKED = {"delegation": {"type": "responses", "responses": {"model": "gpt-6-luna"}}}


@pytest.mark.parametrize(
    ("greeting", "paid", "result", "words"),
    [
        (
            {},
            TurnPricing("", None, ""),
            "pass",
            "are for the client: the functions of a script (`tools`) do them",
        ),
        (
            {"delegation": {"type": "client"}},
            TurnPricing("", None, ""),
            "pass",
            "are for the client",
        ),
        (
            BACKED,
            TurnPricing("gpt-6-luna", LUNA, "table"),
            "pass",
            (
                "a backend of the service, gpt-6-luna: $0.1 for a million tokens of input, $0.5 of"
                " output"
            ),
        ),
        (
            BACKED,
            TurnPricing("gpt-6-luna", None, ""),
            "warning",
            "gpt-6-luna: no price of gpt-6-luna is known",
        ),
        (
            {"delegation": {"type": "responses"}},
            TurnPricing("", None, ""),
            "warning",
            "whose model it does not name",
        ),
    ],
)
def test_a_session_that_delegates_reports_who_does_the_tasks_and_their_price(
    greeting: dict[str, Any], paid: TurnPricing, result: str, words: str
) -> None:
    found = check_delegation(greeting, paid)

    assert (found.result, bool(found.remedy)) == (result, result == "warning")
    assert words in found.message


@pytest.mark.parametrize(
    ("delegation", "problems"),
    [
        (None, 0),
        ("client", 0),
        ({"type": "client"}, 0),
        ({"type": "responses", "responses": {"model": "gpt-6-luna"}}, 0),
        ({"type": "responses", "responses": {}}, 1),
        ({"type": "responses"}, 1),
    ],
)
def test_a_backend_without_a_model_is_reported_before_any_call(
    delegation: Any, problems: int
) -> None:
    target = replace(
        build_target(), dialect=GPT_LIVE, session={"delegation": delegation} if delegation else {}
    )
    found = [finding for finding in configuration(target) if finding.result == "fail"]

    assert len(found) == problems
    assert all(
        "names no model" in finding.message and "model: NAME" in finding.remedy for finding in found
    )


OPEN = {"opened": 0, "ended": 90 * S}
FIRST, DELEGATED, ANSWERED = 500 * MS, 400 * MS, 1_500 * MS


def delegated(usage: TokenUsage | None = None, **changes: Any) -> TurnObservation:
    instants = {
        "speech_end": 0,
        "first_audible": FIRST,
        "function_call_added": DELEGATED,
        "function_audible": ANSWERED,
    }
    values: dict[str, Any] = {"instants": instants, "usage": usage, "delegations": 1}
    return build_observation(**values | changes)


def live_session(**changes: Any) -> SessionObservation:
    values = {
        "backend_model": "gpt-6-luna",
        "effective_settings": {"model": "gpt-live-1", **BACKED},
    }
    return SessionObservation(instants=OPEN, **values | changes)


DELEGATING_TURNS: dict[str, tuple[TurnObservation, SessionObservation, Prices | None, str]] = {
    "a filler, an answer, and the tokens of the backend": (
        delegated(TokenUsage(text_in=1_000_000)),
        live_session(billed_ns=60 * S),
        LUNA,
        (
            "filler after 500 ms; answer after 1,500 ms; 1 task delegated to gpt-6-luna after 400"
            " ms, 1,100 ms before the answer; 60 s of gpt-live-1 at $0.6 per minute: $0.60; tokens:"
            " 1000000 text in; $0.10"
        ),
    ),
    "a backend without a price": (
        delegated(TokenUsage(text_in=9)),
        live_session(billed_ns=60 * S),
        None,
        (
            "…; 60 s of gpt-live-1 at $0.6 per minute: $0.60; tokens: 9 text in; no price of"
            " gpt-6-luna is known"
        ),
    ),
    "a duration that the service did not confirm": (
        delegated(),
        live_session(),
        LUNA,
        "…; 90 s (not confirmed by the service) of gpt-live-1 at $0.6 per minute: $0.90",
    ),
    "standby": (delegated(), live_session(billed_ns=60 * S, paused_ns=30 * S), LUNA, "…: $0.40"),
    "no task": (
        delegated(delegations=0),
        live_session(billed_ns=60 * S),
        LUNA,
        "reply after 500 ms, nothing was delegated; 60 s of gpt-live-1 at $0.6 per minute: $0.60",
    ),
}


@pytest.mark.parametrize(
    ("turn", "session", "luna", "words"), DELEGATING_TURNS.values(), ids=DELEGATING_TURNS.keys()
)
def test_a_turn_that_may_delegate_reports_its_sounds_its_tasks_and_its_cost(
    turn: TurnObservation, session: SessionObservation, luna: Prices | None, words: str
) -> None:
    minutes = TurnPricing("gpt-live-1", replace(LIVE, usd_per_standby_minute=0.2), "table")
    found = check_delegating_reply(
        turn, session, build_target(), minutes, TurnPricing("gpt-6-luna", luna, "")
    )

    assert found.result == "pass"
    assert re.fullmatch(re.escape(words).replace("…", ".*"), found.message), found.message


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
    ("session", "expected"),
    [
        (
            FLAT,
            (
                "voice alloy, turn detection server_vad (200 ms of silence), input pcm16, output"
                " g711_ulaw"
            ),
        ),
        (NESTED, "voice marin, turn detection none, input audio/pcm, output audio/pcmu"),
        ({"sessionId": "s-1"}, ""),
    ],
)
def test_settings_are_read_in_both_dialects(session: dict[str, Any], expected: str) -> None:
    assert settings_in(session) == expected


@given(
    st.dictionaries(
        st.sampled_from(["audio", "voice", "turn_detection", "input_audio_format"]), JSON
    )
)
def test_any_settings_are_described_without_an_error(session: dict[str, Any]) -> None:
    assert isinstance(settings_in(session), str)


def test_a_refusal_has_each_id_for_support_requests_once() -> None:
    headers = {
        "apim-request-id": "id-7",
        "x-request-id": "id-7",
        "x-ms-region": "Sweden Central",
        "retry-after": "9",
    }
    observed = SessionObservation(
        "connect_failed:503", causes=(in_words("HTTP 503: no"),), headers=headers
    )
    found = explain_refusal("upgrade", observed, build_target(), {}, str)

    assert (
        found.message
        == "connect_failed:503: HTTP 503: no; x-ms-region Sweden Central, apim-request-id id-7"
    )
    assert "requests a delay of 9 s" in found.remedy


@given(st.integers(8, 32))
def test_a_truncated_secret_is_hidden_before_the_ids(length: int) -> None:
    secret = "0123456789abcdef" * 2
    detail = f"1008: no such key: {secret[:length]}"
    observed = SessionObservation(
        "closed:1008", causes=(in_words(detail),), headers={"x-ms-region": "Sweden Central"}
    )

    found = explain_refusal(
        "session", observed, build_target(), {}, Credential("api-key", secret).redact
    )

    assert found.message == "closed:1008: no such key: ***; x-ms-region Sweden Central"


# Notices about a target before the first call to that target.


ENVIRONMENT = {
    "HTTPS_PROXY": "http://proxy.test:3128",
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT_NAME": "voice",
}
FILE = (
    "targets: {east: {endpoint: 'https://res.openai.azure.com', deployment: voice, auth: entra,"
    " variants: {v: {}}}}"
)


@pytest.mark.parametrize("names", [(), ("east",), ("east.v",)])
def test_a_valid_target_configuration_has_no_warning(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(FILE)
    (target,) = resolve_targets(
        ENVIRONMENT, ServiceOptions(targets=names, target_file=file if names else None)
    )
    found = [*configuration(target)]

    assert any(
        finding.message.startswith("through the proxy http://proxy.test:3128") for finding in found
    )
    assert {finding.result for finding in found} == {"pass"}


def test_a_likely_mistake_in_the_url_is_a_warning() -> None:
    url = "wss://res.openai.azure.com/openai/v1/realtime?model=voice&api-version=2024-10-01-preview"
    (target,) = resolve_targets({"KEY": "k" * 32}, ServiceOptions(url=url, api_key_env="KEY"))

    assert [finding.result for finding in configuration(target)] == ["pass", "warning"]


def test_a_known_service_is_named_with_its_maximum_session_duration() -> None:
    (target,) = resolve_targets(
        {}, ServiceOptions(url="wss://api.stepfun.ai/v1/realtime?model=step-audio-2")
    )
    finding, *_ = configuration(target)

    assert finding.message.endswith(
        "stepfun dialect of StepFun, whose sessions last at most 30 minutes"
    )


def headers_in(*messages: bytes) -> list[CheckFinding]:
    headers = FileHeaders()
    for audio in messages:
        headers.add(audio)
    return list(check_headers(headers))


@pytest.mark.parametrize(
    ("messages", "text", "remedy"),
    [
        (
            [b"RIFF\x24\0\0\0WAVE", bytes(9)],
            "1 of 2 audio messages begins with the header of a file (WAV)",
            "44 bytes",
        ),
        (
            [b"RIFF\x24\0\0\0WAVE"] * 3,
            "3 of 3 audio messages begin with the header of a file (WAV)",
            "44 bytes",
        ),
        ([b"OggS\0\2", bytes(9)], "(Ogg)", "agreed format"),
        ([b"ID3\4\0", bytes(9)], "(MP3)", "agreed format"),
    ],
)
def test_the_header_of_a_file_in_the_audio_is_one_warning(
    messages: list[bytes], text: str, remedy: str
) -> None:
    (finding,) = headers_in(*messages)

    assert finding.result == "warning"
    assert text in finding.message
    assert remedy in finding.remedy


@given(st.lists(st.binary(max_size=9).filter(lambda audio: audio[:1] not in b"RIOf")))
def test_samples_are_no_header(messages: list[bytes]) -> None:
    assert headers_in(*messages) == []
