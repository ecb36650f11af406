"""Causes are codes with numbers while a session runs, and in rows. Words are texts, in which the
codes are found.
"""

from __future__ import annotations

from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.causes import (
    NO_CAUSE,
    Cause,
    Code,
    ConnectError,
    Limit,
    changed,
    cleaned,
    codes_in,
    decoded,
    encoded,
    in_words,
    numbers_of,
    report_in,
    sip_status,
    status_of,
    text_of,
)

WORDS = st.text("abc xyz-.123", min_size=1, max_size=12)
WITHOUT_WORDS = (Code.TEXT, Code.SERVICE_REPORTED, Code.WITH_REMEDY, Code.LATE)
WITH_CODES = [code for code in Code if code not in WITHOUT_WORDS]


def number_for(spec: str) -> st.SearchStrategy[Any]:
    if "|" in spec or "," in spec:
        return st.integers(0, 10**7)
    return st.floats(0, 10**4) if spec else WORDS


@st.composite
def causes(draw: st.DrawFn) -> Cause:
    code = draw(st.sampled_from(WITH_CODES))
    fields = [(name, spec or "") for _, name, spec, _ in Formatter().parse(code.value) if name]
    return Cause(code, {name: draw(number_for(spec)) for name, spec in fields})


@given(causes(), WORDS, WORDS)
def test_the_code_of_a_cause_is_found_in_its_text_and_not_in_the_words_of_the_service(
    cause: Cause, before: str, after: str
) -> None:
    reported = Cause(Code.SERVICE_REPORTED, {"text": cause.text})

    for causes in ((in_words(before).because(cause), in_words(after)), (in_words("-"), reported)):
        for read in (causes, decoded(encoded(causes)), [in_words(text_of(causes))]):
            assert (cause.code in codes_in(read)) == (reported not in causes)
            assert report_in(read) == (cause.text if reported in causes else None)


def test_the_numbers_of_a_cause_are_found_in_its_text() -> None:
    chosen = Cause(Code.NOT_OFFERED, {"kind": "extension", "name": "x-gzip"})

    for read in ([in_words("x").because(chosen)], [in_words(f"voice.test: {chosen.text}")]):
        assert numbers_of(Code.NOT_OFFERED, read) == chosen.numbers
    assert numbers_of(Code.NOT_OFFERED, [in_words("voice.test")]) is None


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 malformed message was"), (1_200, "1,200 malformed messages were")]
)
def test_a_noun_follows_its_number(number: int, text: str) -> None:
    assert Cause(Code.MALFORMED, {"messages": number}).text == f"{text} ignored"


def test_a_view_can_name_a_limit_otherwise_than_the_script() -> None:
    silent = Cause(Code.NOTHING_AUDIBLE, {"limit": Limit(12.0, "first_delta")}).because(
        Cause(Code.NO_MESSAGE)
    )

    assert (
        silent.text
        == "no audible audio was received within 12 s (timeout `first_delta`): no message was"
        " received"
    )
    assert (
        text_of((silent,), {"first_delta": "the limit of the doctor"}).count(
            "12 s (the limit of the doctor)"
        )
        == 1
    )


def test_several_causes_are_one_text_without_those_that_have_none() -> None:
    assert text_of(()) == text_of((NO_CAUSE,)) == ""
    assert text_of((NO_CAUSE, in_words("x"), in_words("y {z}"))) == "x; y {z}"


def test_a_cause_that_becomes_known_later_replaces_the_unknown_one_within_others() -> None:
    silent = Cause(Code.NOTHING_AUDIBLE, {"limit": Limit(10, "first_delta")})
    known = Cause(Code.PACKETS_WITHOUT_AUDIO, {"packets": "3 duplicates"})

    (found,) = changed((silent.because(Cause(Code.NO_PACKET)),), Code.NO_PACKET, known)
    assert found == silent.because(known)
    assert changed((silent, NO_CAUSE), Code.NO_PACKET, known) == (silent, NO_CAUSE)


def test_causes_in_rows_have_the_same_texts_and_codes_and_clean_words() -> None:
    silent = Cause(Code.NOTHING_AUDIBLE, {"limit": Limit(12.0, "first_delta")}).because(
        Cause(Code.INAUDIBLE, {"arrivals": "3 messages", "audio_s": 1.25, "format": "pcm16"})
    )
    reported = Cause(Code.SERVICE_REPORTED, {"text": "no key abc"})
    stored = encoded((silent, NO_CAUSE, reported), lambda text: text.replace("abc", "***"))

    assert stored == (
        '[{"code":"nothing_audible","limit":{"limit_s":12.0,"stage":"first_delta"},"because":{"code":'
        '"inaudible","arrivals":"3 messages","audio_s":1.25,"format":"pcm16"}},'
        '{"code":"service_reported","text":"no key ***"}]'
    )
    assert decoded(stored)[0] == silent
    assert text_of(decoded(stored)) == f"{silent.text}; the service reported: no key ***"
    assert encoded((NO_CAUSE,)) == ""
    assert decoded("") == ()


@pytest.mark.parametrize(
    "stored",
    [
        "no audible audio was received within 12 s",  # of an earlier version
        '[{"code":"of_a_later_version","n":1}]',
        '[{"code":"no_audio"}]',
        '[{"code":"inaudible","arrivals":"x","audio_s":"y","format":"z"}]',
        '[{"code":"no_message","because":"x"}]',
        '[{"code":"no_message","limit":1}]',
        "[" * 10_000,
        '[{"code":"text","text":' * 20 + '"x"' + "}]" * 20,
        "[1]",
        "{}",
        "[]",
    ],
)
def test_what_is_not_causes_in_a_row_is_read_as_words(stored: str) -> None:
    assert decoded(stored) == (in_words(stored),)


def test_the_status_of_a_call_is_at_the_begin_of_its_text() -> None:
    assert status_of(sip_status(486, "Busy Here")) == "486"
    assert status_of("the peer hung up (SIP 486)") == status_of(sip_status(200, "")) == ""


def test_the_causes_of_a_refusal_reach_its_row_as_codes_without_secrets() -> None:
    cause = Cause(Code.TURN_SERVER, {"server": "turn.test", "problem": in_words("key s3cret")})
    without = Cause(Code.WITHOUT_RELAY, {"problem": in_words("none answered")})
    refused = ConnectError("connect_failed:relay", [cause, without])

    hidden = cleaned(refused.causes, lambda text: text.replace("s3cret", "***"))

    assert refused.detail == "the TURN server turn.test key s3cret; without it, none answered"
    assert decoded(encoded(hidden)) == hidden
    assert text_of(hidden) == refused.detail.replace("s3cret", "***")
