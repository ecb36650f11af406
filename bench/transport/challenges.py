"""The challenges of servers and proxies that require a sign-in: `WWW-Authenticate`,
`Proxy-Authenticate`. Pure.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_CHARACTERS = 2_000
TOKEN_CHARACTER = "[A-Za-z0-9!#$%&'*+.^_`|~-]"
"""The pattern of a character of a token, such as the name of a header (RFC 9110 §5.6.2)."""
# Schemes and parameters are both separated by commas, so a list has to be read from left to right:
# a token with a value is a parameter of the scheme before it (RFC 9110 §11.6.1).
_ITEM = re.compile(
    rf'(^|,)?\s*({TOKEN_CHARACTER}+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"=][^\s,"]*)))?'
)


class Challenge(NamedTuple):
    """One way to sign in that a server accepts, such as Bearer. The names of `parameters` are in
    lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def challenges(header: str) -> list[Challenge]:
    """Return the challenges of a header (RFC 9110 §11.6.1), in which several are separated by
    commas.

    A name without a value is a scheme if it starts an entry of the list. Otherwise it is the token
    of the scheme before it.
    """
    found = []
    parameters: dict[str, str] = {}
    for item in _ITEM.finditer(header[:MAX_CHARACTERS]):
        comma, name, quoted, plain = item.groups()
        if quoted is not None or plain is not None:
            parameters[name.lower()] = (
                re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            )
        elif comma is not None:
            parameters = {}
            found.append(Challenge(name, parameters))
    return found
