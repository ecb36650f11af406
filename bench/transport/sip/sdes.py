"""The SRTP keys in session descriptions: attributes a=crypto (SDES, RFC 4568). Pure.

A key is a secret: no error and no `repr` contains it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args
from urllib.parse import quote

from bench.transport.media.srtp import SrtpKey, SrtpSuite

SUITES: tuple[SrtpSuite, ...] = get_args(SrtpSuite)
"""The supported suites, in the order of preference."""
MASTER_KEY_BYTES = 16
SECRET_BYTES = 30
"""The length of a master key (16 bytes) with its salt (14 bytes), in each suite."""
_ATTRIBUTE = re.compile(r"(\d{1,9})[ \t]+(\w{1,64})[ \t]+(\S+)((?:[ \t]+\S+)*)[ \t]*", re.ASCII)
_INLINE = re.compile(r"inline:([A-Za-z0-9+/]{40})(?:\|(?:2\^\d{1,2}|\d{1,15}))?", re.ASCII)
"""A key with an optional lifetime, which is ignored."""
_QUOTED = re.compile(r"inline:[A-Za-z0-9+/=]*")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
MIN_QUOTED = 8
"""The number of letters and digits from which a part of a key is recognized in a text."""
_IGNORED_PARAMETER = re.compile(r"-\S+|WSH=\d{1,4}", re.ASCII)
"""The session parameters that do not change packets: optional ones, and a hint for the replay window."""


@dataclass(frozen=True, slots=True)
class CryptoAttribute:
    """An attribute a=crypto: a key, and the tag by which an answer selects it."""

    tag: int
    key: SrtpKey


def new_keys(random_bytes: Callable[[int], bytes]) -> tuple[SrtpKey, ...]:
    """Return a key for each suite. `random_bytes` returns that many random bytes."""
    return tuple(SrtpKey(suite, random_bytes(SECRET_BYTES)) for suite in SUITES)


def parse_crypto(value: str) -> CryptoAttribute:
    """Return the attribute with this value. Raise ValueError if it is malformed, or if it is not supported.

    A master key identifier (MKI) and session parameters that change the packets are not supported.
    """
    match = _ATTRIBUTE.fullmatch(value)
    if match is None:
        raise ValueError("an SRTP key of the session description is not valid")
    suite = next((each for each in SUITES if each == match[2]), None)
    key = _INLINE.fullmatch(match[3])
    if suite is None or key is None or not all(map(_IGNORED_PARAMETER.fullmatch, match[4].split())):
        raise ValueError("an SRTP key of the session description is not supported")
    return CryptoAttribute(int(match[1]), SrtpKey(suite, base64.b64decode(key[1])))


def usable_crypto(values: Sequence[str]) -> tuple[CryptoAttribute, ...]:
    """Return the attributes that are supported, the first one of each tag. The others are skipped (RFC 4568 §7.1.2)."""
    found: dict[int, CryptoAttribute] = {}
    for value in values:
        try:
            attribute = parse_crypto(value)
        except ValueError:
            continue
        found.setdefault(attribute.tag, attribute)
    return tuple(found.values())


def without_keys(text: str, keys: Iterable[SrtpKey] = ()) -> str:
    """Return a text of the peer without SRTP keys. A peer may quote a description that it does not accept.

    Of `keys`, also parts are removed, in base64, hexadecimal or percent-encoded form, with any characters between.
    """
    text = _QUOTED.sub("inline:***", text)
    parts = {form[start : start + MIN_QUOTED] for key in keys for form in _forms(key) for start in _starts(form)}
    positions = [match.start() for match in _ALPHANUMERIC.finditer(text)]
    letters = "".join(text[position] for position in positions).casefold()
    shown, last = [], 0
    for start in _starts(letters):
        if letters[start : start + MIN_QUOTED] in parts:
            first, end = positions[start], positions[start + MIN_QUOTED - 1] + 1
            if first >= last:
                shown.append(text[last:first] + "***")
            last = end
    return "".join(shown) + text[last:]


def _starts(text: str) -> range:
    return range(len(text) - MIN_QUOTED + 1)


def _forms(key: SrtpKey) -> Iterator[str]:
    """Yield the letters and digits of a key, and of its salt alone, as texts may contain them."""
    for secret in (key.secret, key.secret[MASTER_KEY_BYTES:]):
        encoded = base64.b64encode(secret).decode()
        for form in (encoded, quote(encoded, safe=""), secret.hex()):
            yield "".join(_ALPHANUMERIC.findall(form)).casefold()


def write_crypto(attribute: CryptoAttribute) -> str:
    """Return the value of the attribute."""
    return f"{attribute.tag} {attribute.key.suite} inline:{base64.b64encode(attribute.key.secret).decode()}"
