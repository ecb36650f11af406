"""Credentials that identify the caller to a service. They are separated from all code that prints or stores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NoReturn

from bench.base.errors import UsageError

MIN_SECRET_CHARACTERS = 8
HIDDEN = "***"
_USERS = re.compile(r'(?<=://)(?!USER:PASSWORD@)[^\s/?#"<>]+(?=@)')
"""The user in a URL (RFC 3986 §3.2.1), with a password or without. Our example USER:PASSWORD is not secret."""


class Credential:
    """A header with a secret, which follows `scheme`, such as Bearer, if there is one. Only `header` returns it."""

    __slots__ = ("_secret", "name", "scheme")

    def __init__(self, name: str, secret: str, scheme: str = "") -> None:
        self.name, self.scheme = name, scheme
        self._secret = secret

    def header(self) -> tuple[str, str]:
        """Return (name, value) of the request header."""
        return self.name, f"{self.scheme} {self._secret}" if self.scheme else self._secret

    def redact(self, text: str) -> str:
        """Replace the secret, which a service may quote, by ***, unless it is shorter than MIN_SECRET_CHARACTERS."""
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
    """Return the text without these secrets, and without the user in URLs, which is the part before the @.

    The longest secret is hidden first, because a shorter one may be its start.
    """
    for secret in sorted(secrets, key=attrgetter("length"), reverse=True):
        text = secret.redact(text)
    return _USERS.sub(HIDDEN, text) if "://" in text else text


def clean(text: str, source: str) -> str:
    """Return a key or setting, perhaps "", without the white space and quotes around it.

    Raise UsageError, which quotes nothing, if anything else than visible ASCII is in it.
    """
    text = unquoted(text)
    if not all("!" <= character <= "~" for character in text):
        raise UsageError(f"{source} contains a space, a line break or a non-ASCII character: copy it again")
    return text


def variable_secret(variable: str, environ: Mapping[str, str], source: str, kind: str) -> Credential:
    """Return the secret, of a kind such as `access token`, that an environment variable contains.

    Raise UsageError if it is missing, or too short to be hidden in texts.
    """
    token = clean(environ.get(variable, ""), f"{source}: the environment variable {variable}")
    if not token:
        raise UsageError(f"{source}: the environment variable {variable} is not set: set it to the {kind}")
    if len(token) < MIN_SECRET_CHARACTERS:
        raise UsageError(
            f"{source}: the environment variable {variable} has fewer than {MIN_SECRET_CHARACTERS} characters, "
            f"which is too short for an {kind}: check it"
        )
    return Credential(variable, token)


def unquoted(text: str) -> str:
    """Return a text without the white space and quotes around it, which .env files and copying add."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text
