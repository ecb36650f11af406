"""Texts of other programs, which are made safe for display."""

from __future__ import annotations

import re
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.files.sanitize import SUSPECT, escape_control, slug, top_counts

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("over quota", "over quota"),
        ("zu viele Anfragen: 100\u00a0%, 混雑", "zu viele Anfragen: 100\u00a0%, 混雑"),
        ("a\nb\r\n", r"a\nb\r\n"),
        ("\x1b[31mred\x07\x00", r"\x1b[31mred\x07\x00"),
        ("left\u202eright\u2066", r"left\u202eright\u2066"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("half a \ud800 character", r"half a \ud800 character"),
        ("::set-output name=a::b", r":\:set-output name=a::b"),
        ("  ::Error::x", r"  :\:Error::x"),
        ("x::warning file=a::b", r"x:\:warning file=a::b"),
        ("generic::resource_exhausted: a::b", "generic::resource_exhausted: a::b"),
        ("std::errors::x ::group-of", "std::errors::x ::group-of"),
        ("##teamcity[x]", r"#\#teamcity[x]"),
        ("x ##vso[task.complete]", r"x #\#vso[task.complete]"),
        ("##[error]", r"#\#[error]"),
        ("[::1]:443 ## 1", "[::1]:443 ## 1"),
    ],
)
def test_control_characters_and_ci_commands_are_escaped(text: str, shown: str) -> None:
    assert escape_control(text) == shown


PARTS = ["::", "##", "error", "ERROR", "group", "set-output", "vso", "teamcity"]
NASTY = (
    st.lists(st.sampled_from([*PARTS, *("a :#[]\\" + BREAKS + "\x1b\x00\u202e\u200b\ud800")])).map(
        "".join
    )
    | st.text()
)
COMMAND = re.compile(r"\s*::(error|group|set-output)(?![\w-])", re.IGNORECASE)


@given(NASTY, st.integers(20, 100))
def test_escaped_text_contains_no_ci_command_however_it_is_wrapped(text: str, width: int) -> None:
    shown = escape_control(text)

    assert len(shown.splitlines()) <= 1
    assert escape_control(shown) == shown
    shown.encode()
    for line in textwrap.wrap(shown, width):
        assert not COMMAND.match(line)
        assert not re.search(r"##(vso|teamcity)?\[", line)


@given(NASTY | st.text(st.sampled_from("a :#[")))
def test_text_without_suspect_characters_is_not_changed(text: str) -> None:
    assert re.search(SUSPECT, text) or escape_control(text) == text


@given(NASTY)
def test_a_slug_is_at_most_64_letters_digits_dots_and_hyphens(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", slug(text))


def test_counts_by_name_are_sorted_limited_and_escaped() -> None:
    assert (
        top_counts({"ping": 2, "restart\x1b[2J": 400, "": 1})
        == r"restart\x1b[2J 400, ping 2, without a name 1"
    )
    many = {f"kind {number}": 1 for number in range(7)} | {"::error::x" * 9_000: 3}
    assert len(top_counts(many)) < 200
    assert top_counts(many).endswith("kind 3 1, 3 more kinds 3")
    assert "::e" not in top_counts(many)
