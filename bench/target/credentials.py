"""Credentials that identify the caller to a service, separated from all code that prints or stores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import attrgetter
from typing import NoReturn

from bench.errors import UsageError

MIN_SECRET_CHARACTERS = 8
HIDDEN = "***"
_USERS = re.compile(r'(?<=://)[^\s/?#"<>]+(?=@)')
"""The user in a URL (RFC 3986 §3.2.1), and the password if there is one."""


class Credential:
    """One request header that contains a secret, after a `scheme` such as Bearer. Only `header` returns the secret."""

    __slots__ = ("_secret", "name", "scheme")

    def __init__(self, name: str, secret: str, scheme: str = "") -> None:
        self.name, self.scheme = name, scheme
        self._secret = secret

    def header(self) -> tuple[str, str]:
        """Return (name, value) of the request header."""
        return self.name, f"{self.scheme} {self._secret}" if self.scheme else self._secret

    def redact(self, text: str) -> str:
        """Hide the secret in a text, because a service may quote it.

        A secret that is shorter than MIN_SECRET_CHARACTERS is not hidden.
        """
        head = self._secret[:MIN_SECRET_CHARACTERS]
        if len(head) < MIN_SECRET_CHARACTERS or head not in text:  # true for nearly all texts
            return text
        text = text.replace(self._secret, HIDDEN)
        start = text.find(head)
        while start >= 0:  # a quote may be truncated, even within the secret: a close reason has 123 bytes
            if self._secret.startswith(text[start:]):
                return text[:start] + HIDDEN
            start = text.find(head, start + 1)
        return text

    @property
    def length(self) -> int:
        return len(self._secret)

    def __repr__(self) -> str:
        return f"Credential({self.name!r}, hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not to be pickled or copied: it would end in a file or on a wire")


def redacted(text: str, secrets: Iterable[Credential]) -> str:
    """Return the text without these secrets, and without the user part of URLs, which precedes the @.

    The longest secret is hidden first. If a shorter secret is the start of a longer one, hiding it first would leave
    the rest of the longer one in the text.
    """
    for secret in sorted(secrets, key=attrgetter("length"), reverse=True):
        text = secret.redact(text)
    return _USERS.sub(HIDDEN, text) if "://" in text else text


def clean(text: str, source: str) -> str:
    """Return a key or setting without surrounding white space and quotes, fit for a header or URL; it may be empty.

    Raise UsageError, which names `source` and never quotes the text, if it contains a space, a control character or one
    outside ASCII.
    """
    text = unquoted(text)
    if not all("!" <= character <= "~" for character in text):
        raise UsageError(f"{source} contains a space, a line break or a non-ASCII character: copy it again")
    return text


def unquoted(text: str) -> str:
    """Return the text without the white space and quotes around it: .env files and copying add both."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text
