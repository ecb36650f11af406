"""What a called party does with a telephone call: when it rings, answers, refuses, changes the
audio and hangs up. Pure.

A call may need digest credentials (RFC 7616 §3.4).
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from bench.base.units import NS_PER_S
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sdp.sdp import Direction
from bench.protocols.sip.dialog import RandomTokens
from bench.protocols.sip.digest import DigestLogin, digest_response
from bench.protocols.sip.header_values import parameters_of, split_outside_quotes
from bench.protocols.sip.messages import SipRequest


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request that the called party sends in the dialog. `after_ns` starts at the ACK.

    INVITE and UPDATE offer the audio with `direction`. UPDATE without a direction has no offer.
    """

    after_ns: int
    method: Literal["BYE", "INVITE", "UPDATE"]
    direction: Direction | None = None
    reason: str = ""
    """The value of the header Reason of BYE."""


@dataclass(frozen=True, slots=True)
class LoginDemand:
    """Digest authentication that an INVITE needs."""

    login: DigestLogin
    realm: str = "simulator"
    code: Literal[401, 407] = 401
    algorithm: Literal["MD5", "SHA-256"] = "MD5"
    has_qop: bool = True
    uses_per_nonce: int = 1_000
    """The number of requests after which a nonce is stale."""


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """The plan of one call. Times start at the INVITE. None means that the response is not sent."""

    media: LocalMedia
    trying_ns: int | None = 0
    ringing_ns: int | None = None
    early_media_ns: int | None = None
    """The time of the response 183 with a session description."""
    final_ns: int | None = 0
    """The time of the final response. None means that the call rings until the caller cancels
    it."""
    code: int = 200
    phrase: str = ""
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Additional headers of the final response, such as Contact of a redirection."""
    demand: LoginDemand | None = None
    session_interval_s: int | None = None
    requests: tuple[PlannedRequest, ...] = ()
    max_ring_ns: int = 180 * NS_PER_S
    max_duration_ns: int = 14_400 * NS_PER_S
    """The time after which the called party hangs up. Otherwise a call whose caller vanished would
    never end."""


MAX_NONCES = 10_000
_HEADERS = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


# A nonce is valid for a number of requests whose counts increase (RFC 7616 §3.4, nc), so a recorded
# answer cannot be used again. An answer that is right, but whose nonce is used up or unknown, is
# asked for again with `stale=true` (§3.3): the caller then need not ask its user.
class LoginCheck:
    """The nonces that were given out, and the highest count with which each was used."""

    def __init__(self, tokens: RandomTokens) -> None:
        self._tokens = tokens
        self._counts: OrderedDict[str, int] = OrderedDict()

    def challenge(self, demand: LoginDemand, request: SipRequest) -> tuple[str, str] | None:
        """Return the header of the challenge. Return None if the request has valid credentials."""
        is_stale = False
        for text in request.headers.getlist(_HEADERS[demand.code][1]):
            scheme, _, rest = text.strip().partition(" ")
            try:
                values = parameters_of(split_outside_quotes(rest, ","))
            except ValueError:
                continue
            if scheme.lower() == "digest" and self._is_right(demand, request, values):
                if self._use(demand, values):
                    return None
                is_stale = True
        return _HEADERS[demand.code][0], self._written(demand, is_stale)

    def _is_right(self, demand: LoginDemand, request: SipRequest, values: dict[str, str]) -> bool:
        named = (
            values.get("username"),
            values.get("realm"),
            values.get("algorithm", "MD5").upper(),
        )
        if named != (demand.login.username, demand.realm, demand.algorithm):
            return False
        secret = demand.login.secret_digest(demand.algorithm, demand.realm)
        expected = digest_response(
            secret,
            demand.algorithm,
            request.method,
            values.get("uri", ""),
            values.get("nonce", ""),
            values.get("nc", ""),
            values.get("cnonce", ""),
            demand.has_qop,
        )
        given = values.get("response", "").lower()
        is_same = hmac.compare_digest(expected.encode(), given.encode(errors="surrogateescape"))
        # `uri` may differ from the Request-URI: a proxy may have changed that one, and SIPp leaves
        # out its user.
        return is_same and demand.has_qop == (values.get("qop") == "auth")

    def _use(self, demand: LoginDemand, values: dict[str, str]) -> bool:
        """Return whether the nonce is known, and its count is new and not used up."""
        nonce = values.get("nonce", "")
        last = self._counts.get(nonce)
        if last is None:
            return False
        try:
            count = int(values["nc"], 16) if demand.has_qop else last + 1
        except (KeyError, ValueError):
            return False
        if not last < count <= demand.uses_per_nonce:
            return False
        self._counts[nonce] = count
        return True

    def _written(self, demand: LoginDemand, is_stale: bool) -> str:
        nonce = self._tokens()
        self._counts[nonce] = 0
        if len(self._counts) > MAX_NONCES:
            self._counts.popitem(last=False)
        parts = [f'realm="{demand.realm}"', f'nonce="{nonce}"', f"algorithm={demand.algorithm}"]
        parts += ['qop="auth"'] if demand.has_qop else []
        parts += ["stale=true"] if is_stale else []
        return "Digest " + ", ".join(parts)
