"""Findings as lines and as JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor.explain import Finding, FindingState, any_failed, lines, printable_finding

STATES = st.sampled_from(["pass", "warning", "fail", "skipped"])
WORDS = st.text(st.characters(categories=["L", "N"]), max_size=12)
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)


@given(STATES, TEXTS, TEXTS, st.integers(60, 100))
def test_no_line_is_wider_than_wanted_and_no_word_is_lost(
    state: FindingState, said: str, remedy: str, width: int
) -> None:
    shown = list(lines(Finding("tls", state, said, remedy), width))

    assert max(map(len, shown)) <= width
    assert " ".join(shown).replace("→", "").split() == [state, "tls", *said.split(), *remedy.split()]


def test_a_remedy_stands_below_what_was_found() -> None:
    assert list(lines(Finding("tcp", "fail", "nobody there", "go there"), 80)) == [
        "fail     tcp              nobody there",
        "                          → go there",
    ]


def test_what_a_service_says_cannot_steer_the_terminal() -> None:
    shown = printable_finding(Finding("upgrade", "fail", "no\x1b[2J", "a\nb"))

    assert (shown.message, shown.remedy) == (r"no\x1b[2J", r"a\nb")


@pytest.mark.parametrize(("state", "failed"), [("pass", False), ("warning", False), ("skipped", False), ("fail", True)])
def test_only_what_failed_is_a_failure(state: FindingState, failed: bool) -> None:
    assert any_failed([Finding("x", "pass", ""), Finding("x", state, "")]) is failed


def test_json_has_all_of_it() -> None:
    told = Finding("dns", "pass", "found").as_json()

    assert told == {"name": "dns", "result": "pass", "message": "found", "remedy": ""}
