"""Texts on their way into rows: what is taken out of them, and that a whole column is cleaned as its texts are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.run.rows import CUT, DETAIL_CHARACTERS, FOREIGN, Words
from bench.target.credentials import Credential, hidden

SECRETS = (Credential("api-key", "of-ours-1"), Credential("Authorization", "two words", "Bearer"))
PARTS = st.sampled_from([
    "of-ours-1", "of-ours", "-1", "two words", "two", "words", "wss://somebody:secret@host", "wss://somebody", "@host",
    "ok", "::", "error", "##vso[", "\ud800", "\n", "\x1b[2J", "x" * (DETAIL_CHARACTERS - 3),
])  # fmt: skip
TEXTS = st.none() | st.text(max_size=5) | st.lists(PARTS, max_size=4).map("".join)


def words() -> Words:
    return Words(lambda text: hidden(text, SECRETS))


@given(st.sampled_from([*sorted(FOREIGN), "step"]), st.lists(TEXTS, max_size=6))
def test_a_column_is_cleaned_as_its_texts_are_one_by_one(column: str, texts: list[str | None]) -> None:
    one_by_one = [None if text is None else words().cleaned(column, text) for text in texts]

    assert list(words().cleaned_column(column, texts)) == one_by_one


def test_texts_of_others_end_and_ours_do_not() -> None:
    long = "x" * (DETAIL_CHARACTERS + 1)

    for column in CUT:
        assert words().cleaned_column(column, [None, "short", long]) == [None, "short", long[:-1]]
    assert words().cleaned_column("step", [long]) == [long]


def test_a_row_keeps_what_is_no_text() -> None:
    row = {"detail": "of-ours-1\n", "turn": 7, "step": "of-ours-1"}

    assert words().cleaned_row(row) == row | {"detail": "***\\n"}
