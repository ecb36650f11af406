"""What a script knows of a turn's words: to hold against them what the service heard, and what it said. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclass(frozen=True, slots=True)
class Reference:
    """What a turn is held against; of a field that is empty nothing is known.

    `words`: what the caller says. `reply`: what the reply should say. A turn has done its task where its reply matches
    the regular expression `matches` somewhere, and holds each text of `contains`.
    """

    words: str = ""
    reply: str = ""
    matches: str = ""
    contains: tuple[str, ...] = ()

    @property
    def has_task(self) -> bool:
        """Whether it says when the turn's task is done."""
        return bool(self.matches or self.contains)


NO_REFERENCE = Reference()
Judge = Callable[[Any], object]
"""A function of a Python program that says whether a turn that ended well has done its task, by its observation."""


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: without case and punctuation, numbers as they are written.

    Unicode's compatibility forms (NFKC) are one word with what they stand for. A hyphen parts words, an apostrophe
    does not.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).replace("’", "'").casefold())
