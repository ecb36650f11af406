"""The words of a text, in a form in which texts can be compared. Pure.

A word is that of Unicode's word boundaries (UAX #29), except that a full stop or a colon between
letters separates words. Scripts without spaces between words are compared by characters, as the
literature does for the character error rate (FLEURS, arXiv 2205.12446; Whisper, arXiv 2212.04356).
A character is a letter with its combining marks. If a text has several scripts, only the letters of
these scripts are characters, and the others form words.

These differences between two texts are ignored:

- case, compatibility forms, and the order of combining marks (NFKC)
- punctuation and symbols, and characters that only control the layout: joiners, soft hyphens,
  variation selectors
- the form of an apostrophe, and the script of a decimal digit
- the optional marks of Arabic (vowels, tatweel) and Hebrew (points, cantillation). In all other
  scripts, marks are a part of the spelling
- the dot of an i, because I is the capital letter of i and of the Turkish dotless i
"""

import re
import unicodedata
from functools import cache

# The forms are removed in an order that matters: marks and layout characters first, then
# compatibility forms (NFKC), then case, and the first two again, because folding can make new
# sequences. Text that is only ASCII needs none of this, and takes another, short way with the same
# result.
SPACELESS = (
    # Thai to Balinese
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"
    # Han, Kana, Bopomofo
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u303c\u3041-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    # Javanese, extensions
    "\ua980-\ua9ff\uaa60-\uaadf\U00011700-\U0001174f\U000116d0-\U000116ff\U0001aff0-\U0001b16f"
)
"""The scripts without spaces between words: Han, Kana, those of UAX #14's class SA, Tibetan,
Javanese and Balinese."""
IDEOGRAPHS = "\U00020000-\U0003fffd"
"""The planes of ideographs, which Python does not know completely."""
MAX_MARKS = 30
"""The maximum number of combining marks of a letter (Stream-Safe Text Format, UAX #15). Sorting
more takes too long."""

_CHILLUS = dict(
    zip(
        "\u0d23\u0d28\u0d30\u0d32\u0d33\u0d15\u0d2e\u0d2f\u0d34\u09a4",
        "\u0d7a\u0d7b\u0d7c\u0d7d\u0d7e\u0d7f\u0d54\u0d55\u0d56\u09ce",
        strict=True,
    )
)
_CHILLU = re.compile(f"([{''.join(_CHILLUS)}])[\u0d4d\u09cd]\u200d")
"""A letter of Malayalam or Bengali with virama and joiner. `_CHILLUS` has the character with the
same meaning."""
_DOTTED = re.compile("i([^\\w\\s\u0307]*)\u0307+")
_ABOVE = 230
"""The combining class of marks above a letter. Marks of lower classes precede them in the normal
form."""
_APOSTROPHE = re.compile(
    "['`\u00b4\u02b9\u02bb-\u02bf\u055a\u05f3\u07f4\u07f5\u1fbd\u1fbf\u1fef\u1ffd\u2018"
    "\u2019"
    "\u201b\u2032\ua78b\ua78c\uff07]"
)
_IGNORED = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew
    # Arabic
    "\u0610-\u061a\u0640\u064b-\u0652\u0656-\u0658\u0670\u06d6-\u06ed\u0897-\u089f"
    "\u08ca-\u08e1\u08e3-\u08f3"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20dd-\u20e4"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_OTHER_FORMS = (
    # gershayim of Hebrew
    *((form, '"') for form in ("\u05f4", "\u201c", "\u201d", "\u201e", "\u201f", "''")),
    ("\u066b", "."),
    ("\u066c", ","),
    ("\u0e4d\u0e32", "\u0e33"),  # the vowel am of Thai and of Lao, which NFKC splits
    ("\u0ecd\u0eb2", "\u0eb3"),
)
_CHARACTERS = SPACELESS + IDEOGRAPHS
_CHARACTER = re.compile(f"[{_CHARACTERS}]")
_JOINT = rf"{_APOSTROPHE.pattern}|(?<=\d)[.,](?=\d)"
_ASCII_WORD = re.compile(rf"\w++(?:(?:{_JOINT})\w++)*")
_NO_WORD = re.compile(f"([^\\w\\s]{{{MAX_MARKS}}})[^\\w\\s]+")
_NATIVE_DIGIT = re.compile(r"[^\D0-9]")
_END = re.compile(r".*[\s\u3001\u3002\uff01\uff1f]", re.DOTALL)
"""The part of a text up to the last character that certainly ends a word. A comma may be within
a number."""


@cache
def word_pattern() -> re.Pattern[str]:
    """Return the pattern of a word. It has all combining marks, which takes 30 ms, so ASCII texts
    do without it.

    Unassigned characters count as marks: a later version of Unicode may know them as parts of a
    word.
    """
    codes = [c for c in range(0x300, 0x1E900) if unicodedata.category(chr(c)) in ("Mn", "Mc", "Cn")]
    starts = (c for c, before in zip(codes, [0, *codes], strict=False) if c != before + 1)
    ends = (c for c, after in zip(codes, [*codes[1:], 0], strict=True) if c + 1 != after)
    mark = (
        "[\u0e33\u0eb3"
        + "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))
        + "]"
    )
    letters = f"(?:[^\\W{_CHARACTERS}]++{mark}*+)++"
    joint = f'{_JOINT}|\u00b7|(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])'
    return re.compile(
        f"{letters}(?:(?:{joint}){letters})*|(?:(?=\\w)[{SPACELESS}]|[{IDEOGRAPHS}]){mark}*"
    )


def _normalized(text: str) -> str:
    if text.isascii():
        return text.lower().replace("`", "'")
    text = _CHILLU.sub(lambda found: _CHILLUS[found[1]], text)
    folded = unicodedata.normalize("NFD", _compatible(text).casefold().replace("\u0131", "i"))
    text = _compatible(_DOTTED.sub(_without_dot, folded))
    for form, usual in _OTHER_FORMS:
        text = text.replace(form, usual)
    return _NATIVE_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)


def _without_dot(found: re.Match[str]) -> str:
    return (
        f"i{found[1]}"
        if all(0 < unicodedata.combining(mark) < _ABOVE for mark in found[1])
        else found[0]
    )


def _compatible(text: str) -> str:
    text = _IGNORED.sub("", _APOSTROPHE.sub("'", text))
    return unicodedata.normalize("NFKC", _NO_WORD.sub(r"\1", text))


def normalized_words(text: str) -> list[str]:
    """Return the words of a text, and the characters of scripts without spaces, in a form that can
    be compared.

    Numbers stay as they are written. A hyphen separates words; an apostrophe does not.
    """
    return _words(_normalized(text))


def _words(normalized: str) -> list[str]:
    return (_ASCII_WORD if normalized.isascii() else word_pattern()).findall(normalized)


def character_count(words: list[str]) -> int:
    """Return how many of these words are characters of scripts without spaces."""
    return sum(1 for word in words if _CHARACTER.match(word))


def contains(text: str, phrase: str) -> bool:
    """Return whether a text contains the words of a phrase, in their order. No text contains a
    phrase without words.
    """
    return _contains(f" {' '.join(normalized_words(text))} ", phrase)


def _contains(spaced: str, phrase: str) -> bool:
    words = normalized_words(phrase)
    return bool(words) and f" {' '.join(words)} " in spaced


def _is_unended(normalized: str) -> bool:
    """Return whether a text after this one may continue its last word, or add a mark to the
    word's last letter.
    """
    before = normalized[-2:-1]
    last = normalized[-1:]
    if last in ("'", "\u00b7", '"') or (last in (".", ",") and before.isdecimal()):
        last = before
    return last.isalnum() or (last != "" and unicodedata.category(last) in ("Mn", "Mc", "Cn", "Pc"))


class HeardText:
    """A text that arrives in parts. It is limited to its last `max_characters` characters."""

    def __init__(self, max_characters: int) -> None:
        self._max = max_characters
        # the ended words, each with a space after it, and the text after them
        self._ended = " "
        self._rest = ""

    def add(self, part: str) -> None:
        """Add a part, which may continue the last word, or the last letter of it."""
        self._rest += part
        if len(self._rest) > self._max:
            self._rest = self._rest[-self._max :]
        if ended := _END.match(self._rest):
            self._rest = self._rest[ended.end() :]
            words = "".join(f"{word} " for word in normalized_words(ended[0]))
            self._ended = (self._ended + words)[-self._max :]

    def contains(self, phrase: str) -> bool:
        """Return whether the text contains the words of a phrase, and no later part can change
        these words.
        """
        text = _normalized(self._rest)
        words = _words(text)[: -1 if _is_unended(text) else None]
        return _contains(f"{self._ended}{' '.join(words)} ", phrase)
