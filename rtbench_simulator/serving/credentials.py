"""The credentials of clients: the key, and access tokens like those of Entra ID. Pure.

Tokens are unguessable, and valid for a limited time. Each token has a number. A token has the form
of a JWT (header.claims.signature, base64url), but it is not signed. Only issued tokens are
accepted.
"""

import base64
import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rtbench_simulator import refusals
from rtbench_simulator.refusals import RefusedUpgrade

OBJECT_ID = "00000000-0000-0000-0000-000000000001"
TENANT_ID = "00000000-0000-0000-0000-000000000002"


@dataclass(frozen=True)
class IssuedToken:
    """A token, which is never printed or logged.

    The token is valid before `expires_s`, in whole seconds since 1970 UTC.
    """

    number: int
    token: str = field(repr=False)
    expires_s: int


class TokenIssuer:
    """The issuer of tokens. `life_s`: how long a token is valid, rounded up to a whole second.

    `secret`: a function that returns an unguessable text.
    """

    def __init__(self, life_s: float, secret: Callable[[], str]) -> None:
        self.life_s = life_s
        self._secret = secret
        self._issued: dict[str, IssuedToken] = {}

    def issue(self, resource: str, now_s: float) -> IssuedToken:
        number = len(self._issued) + 1
        expires_s = math.ceil(now_s + self.life_s)
        claims = {
            "aud": resource,
            "exp": expires_s,
            "iat": int(now_s),
            "oid": OBJECT_ID,
            "tid": TENANT_ID,
            "uti": str(number),
        }
        token = f"{_part({'typ': 'JWT', 'alg': 'none'})}.{_part(claims)}.{self._secret()}"
        issued = self._issued[token] = IssuedToken(number, token, expires_s)
        return issued

    def valid_token(self, token: str, now_s: float) -> int | None:
        """Return the number of `token`; None if the token has expired, or was never issued."""
        issued = self._issued.get(token)
        return issued.number if issued is not None and now_s < issued.expires_s else None


def _part(fields: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


@dataclass(frozen=True)
class Authenticator:
    """The credentials that clients need: the key, or a valid token.

    If neither `key` nor `tokens` is set, all clients are accepted.
    """

    key: str | None = None
    tokens: TokenIssuer | None = None

    @property
    def requires_credentials(self) -> bool:
        return self.key is not None or self.tokens is not None


# The services accept a key in one of several places, and a client must find each of them here:
# headers such as `api-key`, a parameter of the query, or a bearer token. An access token of Entra
# ID is only a bearer token.
def check_credentials(
    authenticator: Authenticator, headers: Mapping[str, str], in_query: Sequence[str], now_s: float
) -> tuple[RefusedUpgrade | None, int | None]:
    """Return the refusal of a client's credentials (None if they are valid), and the number of its
    token.

    `in_query` are the keys in the query of the request.
    """
    if not authenticator.requires_credentials:
        return None, None
    scheme, space, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials if space and scheme.lower() in ("bearer", "token") else None
    if authenticator.key is not None:
        values = (
            *(headers[name] for name in headers if name.endswith("api-key")),
            *in_query,
            bearer,
        )
        key = authenticator.key.encode()
        presented = (value for value in values if value is not None)
        matches = [
            hmac.compare_digest(value.encode(errors="surrogateescape"), key) for value in presented
        ]
        if any(matches):  # in a list: all are compared, so the duration reveals nothing
            return None, None
    if authenticator.tokens is None or bearer is None:
        return refusals.BAD_KEY, None
    token = authenticator.tokens.valid_token(bearer, now_s)
    return refusals.DEAD_TOKEN if token is None else None, token
