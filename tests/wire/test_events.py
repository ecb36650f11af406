"""The meaning of a service's messages, and the rate limits in them. No sequence of bytes raises
an error.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.xai import XAI
from bench.wire import events
from bench.wire.dialect import Dialect
from bench.wire.events import (
    MAX_WAIT_S,
    EventKind,
    RateLimit,
    ServerEvent,
    StrippedAudio,
    TokenUsage,
    audio_payload,
    limits_in,
    rate_limits,
    wait_in,
    wait_of,
)
from tests.compiled import needs_compiler
from tests.examples import thorough
from tests.helpers import (
    FAMILIES,
    MS,
    OTHER,
    REALTIME,
    S,
    delta,
    done,
    event_of,
    message,
    part_done,
    transcribed,
    usage,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
FIELDS = (
    "response_id",
    "item_id",
    "delta",
    "item",
    "response",
    "session",
    "error",
    "event_id",
    "text",
    "transcript",
)


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize(
    ("family", "kind", "closing"),
    [
        ("text", EventKind.TEXT_DELTA, EventKind.TEXT_DONE),
        ("audio", EventKind.AUDIO_DELTA, EventKind.AUDIO_DONE),
        ("transcript", EventKind.TRANSCRIPT_DELTA, EventKind.TRANSCRIPT_DONE),
    ],
)
def test_a_delta_of_the_other_dialect_is_unknown_and_marked_as_foreign(
    dialect: Dialect, family: str, kind: EventKind, closing: EventKind
) -> None:
    event = event_of(delta(dialect, family, "resp_1"), dialect)
    foreign = event_of(delta(OTHER[dialect], family, "resp_1"), dialect)

    if (dialect, family) == (XAI, "text"):  # xAI uses both names of the text family
        assert foreign.kind is kind
        return
    assert (event.kind, event.other_dialect, event.response_id, event.item_id) == (
        kind,
        False,
        "resp_1",
        "item_of_resp_1",
    )
    assert (foreign.kind, foreign.other_dialect) == (EventKind.UNKNOWN, True)
    assert foreign.name == f"{FAMILIES[OTHER[dialect]][family]}.delta"
    assert event_of(part_done(dialect, family, "resp_1"), dialect).kind is closing


def usage_of(
    came: dict[str, Any], went: dict[str, Any] | None = None, **totals: int
) -> dict[str, Any]:
    return {
        "input_token_details": came,
        "output_token_details": went or {},
        "output_tokens": 0,
    } | totals


def tokens(
    came: dict[str, Any], went: dict[str, Any] | None = None, **totals: int
) -> TokenUsage | None:
    """Return the token counts that are decoded from a `response.done` with this usage."""
    return event_of(done("r1", usage=usage_of(came, went, **totals)), GA).usage


def test_tokens_without_a_kind_may_all_be_audio() -> None:
    usage = TokenUsage(30, 5, 20, 18, 2, text_out=7, audio_out=1, kindless_in=20, kindless_out=4)

    assert usage.as_audio == TokenUsage(
        10, 25, 20, 10, 10, text_out=3, audio_out=5, kindless_in=20, kindless_out=4
    )
    assert TokenUsage(30, text_out=7).as_audio == TokenUsage(30, text_out=7)


def test_image_tokens_are_part_of_the_input() -> None:
    assert TokenUsage(10, 20, 70, 6, 0, image_in=85, cached_image_in=64).input == 115


COUNTS = st.none() | st.integers(-5, 2**70)
DETAILS = st.dictionaries(
    st.sampled_from(["text_tokens", "audio_tokens", "image_tokens", "cached_tokens"]), COUNTS
)


@thorough
@given(came=DETAILS, cached=st.none() | DETAILS, went=DETAILS, total=st.integers(0, 2**70))
def test_cached_tokens_never_exceed_the_input_and_sums_fit_their_column(
    came: dict[str, Any], cached: dict[str, Any] | None, went: dict[str, Any], total: int
) -> None:
    usage = tokens(came | {"cached_tokens_details": cached}, went, input_tokens=total)

    assert usage is not None
    assert 0 <= usage.cached_text_in <= usage.text_in < 2**40
    assert 0 <= usage.cached_audio_in <= usage.audio_in < 2**40
    assert 0 <= usage.cached_image_in <= usage.image_in < 2**40
    assert usage + usage == TokenUsage(*(2 * count for count in msgspec.structs.astuple(usage)))


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@thorough
@given(payload=st.binary(min_size=1, max_size=60), escaped=st.sets(st.sampled_from("+/=A")))
@example(payload=b"\xff\xff\xff", escaped={"/"})
@example(payload=b"\xfb\xef\xbe\xff", escaped={"+"})
def test_audio_is_decoded_correctly_for_any_json_escapes_in_its_base64(
    dialect: Dialect, payload: bytes, escaped: set[str]
) -> None:
    """Any character of a string may be escaped (RFC 8259 §7). Some encoders always escape `/` or
    `+`.
    """
    text = base64.b64encode(payload).decode()
    spelt = "".join(f"\\u{ord(letter):04x}" if letter in escaped else letter for letter in text)
    wire = delta(dialect, "audio", "resp_1", "@").replace(b'"@"', f'"{spelt}"'.encode())
    event = event_of(wire, dialect)

    assert json.loads(wire)["delta"] == text
    assert not isinstance(event.payload, StrippedAudio)
    assert (event.payload_bytes, audio_payload(event.payload)) == (len(payload), payload)


@needs_compiler
@given(
    st.one_of(
        st.binary(max_size=9).map(base64.b64encode),
        st.text('Az09+/==\\" é', max_size=8).map(str.encode),
    )
)
def test_base64_is_decoded_or_refused_as_by_python(text: bytes) -> None:
    raw = msgspec.Raw(b'"' + text + b'"')
    compiled = audio_payload(raw)

    with patch.object(events, "_COMPILED", None):
        assert audio_payload(raw) == compiled


@thorough
@given(
    name=st.sampled_from(sorted({**GA.kinds, **PREVIEW.kinds})) | st.text(max_size=12),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES),
    status_details=JSON_VALUES,
    usage_value=JSON_VALUES,
    dialect=st.sampled_from(list(REALTIME.values())),
)
def test_no_json_document_makes_decoding_raise(
    name: str, fields: dict[str, Any], status_details: Any, usage_value: Any, dialect: Dialect
) -> None:
    response = {"id": fields.get("item_id"), "status_details": status_details, "usage": usage_value}
    for document in (fields, fields | {"response": response}):
        wire = json.dumps({"type": name} | document).encode()
        event = event_of(wire, dialect)

        assert event.payload_bytes >= -1
        assert all(
            isinstance(text, str)
            for text in (event.name, event.response_id, event.item_id, event.status)
        )


@thorough
@given(document=JSON_VALUES, place=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_changed_byte_never_makes_decoding_raise(document: Any, place: int, byte: int) -> None:
    wire = bytearray(done("resp_1", "failed", usage=usage(audio_out=3), error={"code": document}))
    wire[place % len(wire)] = byte

    assert isinstance(event_of(bytes(wire), GA), ServerEvent)


LONG = "i" * 200_000


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_long_ids_names_and_texts_are_truncated_when_they_are_decoded(dialect: Dialect) -> None:
    failure = {"type": LONG, "code": LONG, "message": LONG, "event_id": LONG}
    reason = {"type": LONG, "reason": LONG, "error": failure}
    limits = [{"name": LONG, "limit": 1}]
    messages = [
        *(delta(dialect, kind, LONG) for kind in FAMILIES[dialect]),
        delta(OTHER[dialect], "audio", LONG),
        part_done(dialect, "audio", LONG),
        message(LONG, response_id=LONG, item_id=LONG),
        message("conversation.item.added", item={"id": LONG}),
        message(
            "session.created",
            session={"id": LONG, LONG: [LONG] * 200, "voice": {"deep": [[[[[[[[LONG]]]]]]]]}},
        ),
        message("rate_limits.updated", rate_limits=limits),
        message("error", error=failure),
        transcribed(LONG, LONG),
        done(LONG, LONG, **reason),
    ]
    for data in messages:
        event = event_of(data, dialect)
        event = msgspec.structs.replace(event, payload=msgspec.Raw())
        assert event.kind is not EventKind.MALFORMED
        assert (
            max(len(event.response_id), len(event.item_id), len(event.name), len(event.session_id))
            <= 128
        )
        assert len(msgspec.json.encode(event)) <= (101_000 if event.text else 200 * 128)


def test_nested_settings_are_dropped_if_a_session_has_too_many() -> None:
    def kept(**session: Any) -> dict[str, Any]:
        event = event_of(
            message("session.created", session={"id": "sess_1", "voice": "alloy"} | session), GA
        )
        assert event.session is not None
        return event.session

    few, many = [{"name": "x" * 900}] * 20, [{"name": "x" * 900}] * 90
    assert kept(tools=few) == {"id": "sess_1", "voice": "alloy", "tools": few}
    assert kept(tools=many) == {"id": "sess_1", "voice": "alloy", "tools": None}
    assert len(kept(**{str(number): "x" for number in range(9_999)})) == 100


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
WHOLE = st.none() | st.integers(-(2**53), 2**53)

# The pause that a message requests.

LIMIT_REACHED = (
    "Rate limit reached for gpt-realtime in organization org-1 on tokens per min (TPM): Limit"
    " 40000, Used 39669, Requested 800. Please try again in {}. Visit the page of your limits to"
    " learn more."
)


@pytest.mark.parametrize(
    ("length", "wait_ns"),
    [
        ("20s", 20 * S),
        ("1m26.4s", 86_400 * MS),
        ("2d1h", 49 * 3600 * S),
        ("1 minute 3 seconds", 63 * S),
        ("0s", 0),
    ],
)
def test_the_wait_is_read_from_an_error_message(length: str, wait_ns: int) -> None:
    assert wait_in(LIMIT_REACHED.format(length)) == wait_ns


@thorough
@given(
    hours=st.integers(0, 99),
    minutes=st.integers(0, 59),
    ms=st.integers(0, 59_999),
    spelling=st.sampled_from(["ms", "s"]),
)
def test_a_wait_in_hours_minutes_and_seconds_is_read(
    hours: int, minutes: int, ms: int, spelling: str
) -> None:
    last = f"{ms}ms" if spelling == "ms" else f"{ms / 1000:.3f}s"
    text = (
        "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m")) if number)
        + last
    )

    assert wait_in(f"Please try again in {text}.") == ((hours * 60 + minutes) * 60_000 + ms) * MS


@thorough
@given(text=st.text(max_size=40) | st.from_regex(r"(try again|retry) (in|after) [0-9a-z .]{0,30}"))
def test_any_text_gives_no_wait_or_a_limited_one(text: str) -> None:
    wait_ns = wait_in(text)

    assert wait_ns is None or 0 <= wait_ns <= MAX_WAIT_S * S


# The pause that headers request.

NOW = "Fri, 20 Nov 2026 14:00:00 GMT"
LATER = "Fri, 20 Nov 2026 14:00:30 GMT"


@thorough
@given(
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date"]),
        st.text(max_size=30) | st.just(NOW) | st.just(LATER),
    )
)
def test_any_headers_give_no_wait_or_a_limited_one(headers: dict[str, str]) -> None:
    wait_ns = wait_of(headers)

    assert wait_ns is None or 0 <= wait_ns <= MAX_WAIT_S * S


# The remaining quota.


@thorough
@given(
    value=ANY_JSON
    | st.lists(st.dictionaries(st.sampled_from(["name", "limit", "remaining"]), ANY_JSON))
)
def test_any_rate_limits_json_is_read_and_every_count_fits_its_column(value: Any) -> None:
    event = event_of(json.dumps({"type": "rate_limits.updated", "rate_limits": value}).encode(), GA)

    counts = [
        count
        for limit in (*event.limits, *rate_limits(value))
        for count in (limit.limit, limit.remaining)
    ]
    assert all(count is None or abs(count) < 2**63 for count in counts)


@thorough
@given(limit=WHOLE, remaining=WHOLE)
def test_integer_counts_are_read_from_numbers_and_from_strings(
    limit: int | None, remaining: int | None
) -> None:
    def text(count: int | None) -> str | None:
        return None if count is None else str(count)

    numbers = rate_limits([{"name": "tokens", "limit": limit, "remaining": remaining}])
    strings = rate_limits([{"name": "tokens", "limit": text(limit), "remaining": text(remaining)}])

    assert numbers == strings == (RateLimit("tokens", limit, remaining),)


def test_rate_limits_are_read_from_handshake_headers() -> None:
    headers = {
        "x-ratelimit-limit-requests": "36",
        "x-ratelimit-remaining-requests": "35",
        "x-ratelimit-reset-requests": "1.6s",
        "x-ratelimit-remaining-tokens": "5,000?",
        "date": NOW,
    }

    assert limits_in(headers) == (RateLimit("requests", 36, 35, 1.6), RateLimit("tokens"))
    assert limits_in({"date": NOW}) == ()
