"""Causes are codes with numbers while a session runs, and texts in rows, from which a report
gets the codes back.
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
    Limit,
    changed,
    codes_in,
    in_words,
    numbers_of,
    sip_status,
    split_report,
    status_of,
    text_of,
)

WORDS = st.text("abc xyz-.123", min_size=1, max_size=12)
WITH_CODES = [
    code for code in Code if code not in (Code.TEXT, Code.SERVICE_REPORTED, Code.WITH_REMEDY)
]


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
    assert cause.code in codes_in(f"{before}: {cause.text}; {after}")
    assert cause.code in codes_in(in_words(before).because(cause).text)
    assert cause.code not in codes_in(
        text_of((in_words("-"), Cause(Code.SERVICE_REPORTED, {"text": cause.text})))
    )


def test_the_numbers_of_a_cause_are_found_in_its_text() -> None:
    chosen = Cause(Code.NOT_OFFERED, {"kind": "extension", "name": "x-gzip"})

    assert numbers_of(Code.NOT_OFFERED, f"voice.test: {chosen.text}") == chosen.numbers
    assert numbers_of(Code.NOT_OFFERED, "voice.test") is None


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


def test_the_words_of_the_service_follow_those_of_this_tool() -> None:
    assert split_report("x; the service reported: y: z") == ("x; ", "y: z")
    assert split_report("x") == ("x", None)


def test_the_status_of_a_call_is_at_the_begin_of_its_text() -> None:
    assert status_of(sip_status(486, "Busy Here")) == "486"
    assert status_of("the peer hung up (SIP 486)") == status_of(sip_status(200, "")) == ""
