"""Digest authentication of SIP requests (RFC 7616, RFC 8760): challenges, and the headers that
answer them. Pure.
"""

# A server refuses the first request with a challenge (401, a proxy 407), and the request is sent
# again with an answer. Later requests of the call answer at once with the same nonce and the next
# `nc` (RFC 7616 §3.4), which saves a round trip for BYE. Several proxies may each challenge, so the
# answers are stored by header and realm, and each request has all of them.
#
# Endless loops are possible in two ways: a wrong password, which each answer repeats, and a server
# that finds each nonce stale. `challenged` stops the first, and `MAX_ANSWERS` the second (§3.3).
#
# The password is never in a message. The hash of RFC 2069, without `qop`, is for old servers.

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from bench.catalogue.causes import Cause, Code
from bench.protocols.sip.header_values import parameters_of, quoted_string, split_outside_quotes
from bench.protocols.sip.messages import SipResponse

ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "SHA-256": lambda text: hashlib.sha256(text).hexdigest(),
    "MD5": lambda text: hashlib.md5(text, usedforsecurity=False).hexdigest(),
}
"""The algorithms that are supported, the preferred one first."""
# More challenges are ignored: each of them would cost a digest in all further requests.
MAX_CHALLENGES = 8
MAX_ANSWERS = 3
"""The maximum number of challenges that a call answers for each header and realm with a new
nonce."""
_CHALLENGE_HEADERS = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


class DigestLogin:
    """A user name and a password. The password appears only in digests."""

    __slots__ = ("_password", "username")

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self._password = password

    def secret_digest(self, algorithm: str, realm: str) -> str:
        """Return A1 of RFC 7616 §3.4.2, hashed."""
        return ALGORITHMS[algorithm](
            f"{self.username}:{realm}:{self._password}".encode(errors="surrogateescape")
        )

    def __repr__(self) -> str:
        return "DigestLogin(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a login is not to be pickled or copied: it would end in a file or on a wire"
        )


@dataclass(frozen=True, slots=True)
class DigestChallenge:
    """A challenge. `header` is the header of the answer."""

    header: str
    realm: str
    nonce: str
    opaque: str | None
    algorithm: str
    algorithm_named: bool
    has_qop: bool
    is_stale: bool


def parse_challenge(header: str, text: str) -> DigestChallenge | None:
    """Return a challenge. Return None if its scheme, its algorithm or its quality of protection
    is not supported.
    """
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    values = parameters_of(split_outside_quotes(rest, ","))
    named = values.get("algorithm")
    algorithm = (named or "MD5").upper()
    qop = [entry.strip().lower() for entry in values["qop"].split(",")] if "qop" in values else None
    if (
        algorithm not in ALGORITHMS
        or (qop is not None and "auth" not in qop)
        or not values.get("nonce")
    ):
        return None
    return DigestChallenge(
        header,
        values.get("realm", ""),
        values["nonce"],
        values.get("opaque"),
        algorithm,
        named is not None,
        qop is not None,
        values.get("stale", "").lower() == "true",
    )


def challenges_of(response: SipResponse) -> list[DigestChallenge]:
    """Return the supported challenges of a response. Of each realm, return only the one with the
    best algorithm.
    """
    asked, answered = _CHALLENGE_HEADERS[response.code]
    found = []
    for text in response.headers.getlist(asked)[:MAX_CHALLENGES]:
        try:
            found.append(parse_challenge(answered, text))
        except ValueError:
            continue
    best: dict[str, DigestChallenge] = {}
    order = list(ALGORITHMS)
    for challenge in sorted(
        (one for one in found if one), key=lambda one: order.index(one.algorithm)
    ):
        best.setdefault(challenge.realm, challenge)
    return list(best.values())


def digest_response(
    secret_digest: str,
    algorithm: str,
    method: str,
    uri: str,
    nonce: str,
    count: str,
    cnonce: str,
    has_qop: bool,
) -> str:
    """Return the value of `response` (RFC 7616 §3.4.1). Without qop, the value is that of RFC
    2069.
    """
    hashed = ALGORITHMS[algorithm]
    request = hashed(f"{method}:{uri}".encode(errors="surrogateescape"))
    parts = (
        (secret_digest, nonce, count, cnonce, "auth", request)
        if has_qop
        else (secret_digest, nonce, request)
    )
    return hashed(":".join(parts).encode(errors="surrogateescape"))


@dataclass(slots=True)
class _Answered:
    challenge: DigestChallenge
    uses: int = 0
    answers: int = 1


@dataclass(slots=True)
class DigestClient:
    """The challenges that a call answers. Later requests of the call repeat the answers with a
    higher count.
    """

    login: DigestLogin | None
    _answered: dict[tuple[str, str], _Answered] = field(default_factory=dict)

    def challenged(self, response: SipResponse) -> bool:
        """Accept the challenges of a response 401 or 407. Return whether the request may be
        repeated.

        A second challenge with the nonce that was answered means that the password is wrong, and so
        does one with a new nonce that is not stale.
        """
        if self.login is None:
            return False
        accepted = False
        for challenge in challenges_of(response):
            key = (challenge.header, challenge.realm)
            known = self._answered.get(key)
            if known is None:
                if len(self._answered) < MAX_CHALLENGES:
                    self._answered[key] = _Answered(challenge)
                    accepted = True
            elif (
                challenge.is_stale
                and challenge.nonce != known.challenge.nonce
                and known.answers < MAX_ANSWERS
            ):
                self._answered[key] = _Answered(challenge, answers=known.answers + 1)
                accepted = True
        return accepted

    @property
    def has_answered(self) -> bool:
        return bool(self._answered)

    @property
    def refusal(self) -> str:
        """Why the request is not repeated after a challenge; "" if there is no login."""
        if self.login is None:
            return ""
        return Cause(Code.LOGIN_REFUSED if self._answered else Code.NO_DIGEST).text

    def renewed(self, response: SipResponse) -> bool:
        """Accept the challenges of a response to a request in the dialog. A new nonce is
        accepted without `stale`.
        """
        fresh = {(one.header, one.realm): one.nonce for one in challenges_of(response)}
        for key, known in list(self._answered.items()):
            if fresh.get(key, known.challenge.nonce) != known.challenge.nonce:
                del self._answered[key]
        return self.challenged(response)

    def forget(self, login: DigestLogin | None) -> None:
        """Forget all challenges. The next request goes to another server, which may get this
        login.
        """
        self.login = login
        self._answered.clear()

    def headers(self, method: str, uri: str, cnonce: str) -> Iterable[tuple[str, str]]:
        """Yield the headers that answer all challenges so far."""
        for known in self._answered.values():
            known.uses += 1
            yield (
                known.challenge.header,
                self._answer(known.challenge, known.uses, method, uri, cnonce),
            )

    def _answer(
        self, challenge: DigestChallenge, uses: int, method: str, uri: str, cnonce: str
    ) -> str:
        assert self.login is not None
        count = f"{uses:08x}"
        secret = self.login.secret_digest(challenge.algorithm, challenge.realm)
        response = digest_response(
            secret,
            challenge.algorithm,
            method,
            uri,
            challenge.nonce,
            count,
            cnonce,
            challenge.has_qop,
        )
        quoted = {
            "username": self.login.username,
            "realm": challenge.realm,
            "nonce": challenge.nonce,
            "uri": uri,
        }
        if challenge.opaque is not None:
            quoted["opaque"] = challenge.opaque
        parts = [
            f"{name}={quoted_string(value)}"
            for name, value in (quoted | {"response": response}).items()
        ]
        # The value must be that of the challenge (RFC 7616 §3.4): none if the challenge named none.
        if challenge.algorithm_named:
            parts.append(f"algorithm={challenge.algorithm}")
        if challenge.has_qop:
            parts += ["qop=auth", f"nc={count}", f"cnonce={quoted_string(cnonce)}"]
        return "Digest " + ", ".join(parts)
