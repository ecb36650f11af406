"""The words of texts in all scripts: which texts are equal, and what counts as a word or a
character.
"""

from __future__ import annotations

import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.catalogue.words import HeardText, character_count, contains, normalized_words

TEXTS = st.text(max_size=20) | st.text(
    st.sampled_from(
        "aIiıİßΣσςé\u0301\u0307\u0323कि्\u200dน้ำ字が한\u1112\u1161ぁ's’1,.٣ \u00ad\u0651ا\u0654-。\n"
    ),
    max_size=12,
)

TABLE = Path(__file__).with_name("words.txt").read_text(encoding="utf-8")


def rows(section: str) -> list[list[str]]:
    lines = TABLE.partition(f"[{section}]\n")[2].partition("\n\n")[0].splitlines()
    return [
        re.sub(
            r"\\u(\w{4})|\\U(\w{8})", lambda found: chr(int(found[1] or found[2], 16)), line[4:]
        ).split(" → ")
        for line in lines
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *rows("same"),
        *(
            (text, unicodedata.normalize("NFD", text))
            for text in ("ẹ̀kọ́", "Tiếng Việt", "한국어", "カギが", "أكل")
        ),
    ],
)
def test_typography_is_no_difference_between_words(one: str, other: str) -> None:
    assert normalized_words(one) == normalized_words(other) != []


@pytest.mark.parametrize(("one", "other"), rows("other"))
def test_marks_that_belong_to_the_spelling_make_a_difference(one: str, other: str) -> None:
    assert normalized_words(one) != normalized_words(other)


@pytest.mark.parametrize(("text", "words", "characters"), rows("words"))
def test_spaceless_scripts_are_divided_into_characters_and_other_scripts_into_words(
    text: str, words: str, characters: str
) -> None:
    assert normalized_words(text) == words.split("|")
    assert character_count(normalized_words(text)) == int(characters)


@given(TEXTS)
@example("İ\u0e48")
@example("İ\u0323")
@example("İ\u0301")
def test_words_do_not_depend_on_case_or_on_the_normal_form(text: str) -> None:
    words = normalized_words(text)
    assert normalized_words(" ".join(words)) == words
    composed = unicodedata.normalize("NFC", text)
    for same in (
        unicodedata.normalize("NFD", text),
        composed,
        composed.upper(),
        composed.lower(),
        composed.casefold(),
    ):
        assert normalized_words(same) == words


@pytest.mark.parametrize(("text", "phrase", "found"), rows("phrases"))
def test_a_phrase_is_contained_by_whole_words_or_by_characters(
    text: str, phrase: str, found: str
) -> None:
    assert str(contains(text, phrase)) == found


def test_a_number_with_a_comma_may_continue_in_the_next_part() -> None:
    heard = HeardText(1_000)
    heard.add("共1，")

    assert not heard.contains("1")
    heard.add("000个")
    assert heard.contains("1,000")


@given(st.lists(TEXTS, min_size=1, max_size=6), st.data())
def test_a_text_in_parts_contains_a_phrase_if_and_only_if_the_whole_text_does(
    parts: list[str], data: st.DataObject
) -> None:
    text, heard = "".join(parts), HeardText(1_000)
    phrase = data.draw(st.sampled_from([*parts, text[:5], text[3:9], text[-4:]]))
    for part in parts:
        heard.add(part)
        assert not heard.contains(phrase) or contains(text, phrase)
    heard.add(" ")

    assert heard.contains(phrase) is contains(text, phrase)


def test_a_text_of_marks_does_not_delay_its_process() -> None:
    def cost(text: str) -> float:
        started = time.process_time()
        normalized_words(text)
        return time.process_time() - started

    # without a limit, 100 times
    assert cost("a" + "\u0301\u0323" * 20_000) < 10 * cost("á ọ" * 13_333)
