"""The words of texts in all scripts: which texts are equal, and what counts as a word or a
character.
"""

from __future__ import annotations

import time
import unicodedata

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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("İstanbul", "istanbul"),
        ("IŞIK", "ışık"),
        ("STRASSE STRAẞE", "straße strasse"),
        ("ΟΔΟΣ", "οδος"),
        ("We’re", "We're"),
        ("We＇re weʼre", "we´re we`re"),
        ("oʻzbek", "o‘zbek"),
        ("soft\u00adware \u200fabc\u200e", "software abc"),
        ("می‌خواهم", "میخواهم"),
        ("مُحَمَّدٌ مـــحمد", "محمد محمد"),
        ("שָׁלוֹם צה״ל", 'שלום צה"ל'),
        ("צה”ל צה„ל צה″ל צה''ל", 'צה"ל צה“ל צה״ל צה״ל'),
        ("അവന\u0d4d\u200d ত\u09cd\u200d", "അവ\u0d7b ৎ"),
        ("क\u093cलम", "\u0958लम"),
        ("ﬁne ４７１１ Ａ", "fine 4711 a"),
        ("४७११ ١٬٠٠٠", "4711 1,000"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("well‑known", "well-known"),
        ("ሰላም፡ልጅ", "ሰላም ልጅ"),
        ("नमस्ते।", "नमस्ते"),
        ("I ❤️ it 1️⃣ 葛󠄀", "i it 1 葛"),
        ("น\u0e49\u0e33", "น\u0e49\u0e4d\u0e32"),
        *(
            (text, unicodedata.normalize("NFD", text))
            for text in ("ẹ̀kọ́", "Tiếng Việt", "한국어", "カギが", "أكل")
        ),
    ],
)
def test_typography_is_no_difference_between_words(one: str, other: str) -> None:
    assert normalized_words(one) == normalized_words(other) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("मेरी", "मेरा"),
        ("किताब", "कीताब"),
        ("க", "கி"),
        ("বাংলা", "বংলা"),
        ("അവൻ", "അവന്"),
        ("ක", "කා"),
        ("มา", "ม้า"),
        ("café", "cafe"),
        ("ọkọ", "oko"),
        ("its", "it's"),
        ("أكل", "اكل"),
        ("が", "か"),
        ("ދިވެހި", "ދވހ"),
    ],
)
def test_marks_that_belong_to_the_spelling_make_a_difference(one: str, other: str) -> None:
    assert normalized_words(one) != normalized_words(other)


@pytest.mark.parametrize(
    ("text", "words", "characters"),
    [
        ("मेरी किताब कहाँ है", "मेरी|किताब|कहाँ|है", 0),
        ("தமிழ் மொழி", "தமிழ்|மொழி", 0),
        ("한국어 공부", "한국어|공부", 0),
        ("我的包裹晚了两天。", "我|的|包|裹|晚|了|两|天", 8),
        ("我有iPhone手机123个", "我|有|iphone|手|机|123|个", 5),
        ("T恤", "t|恤", 1),
        ("カタカナー・々", "カ|タ|カ|ナ|ー|々", 6),
        ("มาช้า", "ม|า|ช้|า", 4),
        ("ກິນເຂົ້າ", "ກິ|ນ|ເ|ຂົ້|າ", 5),
        ("ပါဆယ်", "ပါ|ဆ|ယ်", 3),
        ("ចង់", "ច|ង់", 2),
        ("བོད་སྐད", "བོ|ད|སྐ|ད", 4),
        ("𠮷野\U0002ebf0", "𠮷|野|\U0002ebf0", 3),
        (
            "It's 1,000.50, or 3.14. End: rock'n'roll 'quoted'",
            "it's|1,000.50|or|3.14|end|rock'n'roll|quoted",
            0,
        ),
        ("col·lecció snake_case", "col·lecció|snake_case", 0),
        ("example.com e.g. AT&T 😀 –", "example|com|e|g|at|t", 0),
    ],
)
def test_spaceless_scripts_are_divided_into_characters_and_other_scripts_into_words(
    text: str, words: str, characters: int
) -> None:
    assert normalized_words(text) == words.split("|")
    assert character_count(normalized_words(text)) == characters


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


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("यह किताब है", "की", False),
        ("यह किताब है", "किताब", True),
        ("my category", "cat", False),
        ("我的包裹晚了", "包裹", True),
        ("我的包裹晚了", "的裹", False),
        ("มาช้า", "ช", False),
        ("We’re at the cafe\u0301.", "we're AT the café", True),
    ],
)
def test_a_phrase_is_contained_by_whole_words_or_by_characters(
    text: str, phrase: str, found: bool
) -> None:
    assert contains(text, phrase) is found


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
