"""Access tokens as Entra ID hands them out: unguessable, of a limited life, told apart by their number. Pure.

A token is a JWT in form (header.claims.signature, base64url). Nobody signs it: only what was issued is taken.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

OBJECT_ID = "00000000-0000-0000-0000-000000000001"
TENANT_ID = "00000000-0000-0000-0000-000000000002"


class Issued(NamedTuple):
    """A token; it lives before `expires_s`, whole seconds since 1970 in UTC. Never printed, never logged."""

    number: int
    token: str
    expires_s: int

    def __repr__(self) -> str:
        return f"Issued(number={self.number}, expires_s={self.expires_s})"


class TokenIssuer:
    """Issues tokens that live `life_s` seconds, and on to the next whole one; `secret` draws what nobody can guess."""

    def __init__(self, life_s: float, secret: Callable[[], str]) -> None:
        self._life_s, self._secret = life_s, secret
        self._issued: dict[str, Issued] = {}

    @property
    def count(self) -> int:
        return len(self._issued)

    def issue(self, resource: str, now_s: float) -> Issued:
        """A new token for the audience `resource`; numbers count from 1."""
        number, expires_s = self.count + 1, math.ceil(now_s + self._life_s)
        claims = {
            "aud": resource,
            "exp": expires_s,
            "iat": int(now_s),
            "oid": OBJECT_ID,
            "tid": TENANT_ID,
            "uti": str(number),
        }
        token = f"{_part({'typ': 'JWT', 'alg': 'none'})}.{_part(claims)}.{self._secret()}"
        issued = self._issued[token] = Issued(number, token, expires_s)
        return issued

    def living(self, token: str, now_s: float) -> int | None:
        """The number of `token`; None for one that has expired, or was never issued."""
        issued = self._issued.get(token)
        return issued.number if issued is not None and now_s < issued.expires_s else None


def _part(fields: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
