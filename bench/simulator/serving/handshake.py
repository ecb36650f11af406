"""Judges an upgrade request as the service does: a dialect, or a refusal (docs/protocol.md, "Addresses"). Pure.

Query keys and headers that are not named here are ignored. Access tokens are as Entra ID hands them out: unguessable,
of a limited life, told apart by their number. A token is a JWT in form (header.claims.signature, base64url); nobody
signs it: only what was issued is taken.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qs

from bench.protocol.openai import RATED_FORMATS
from bench.simulator.agent_behaviour import WIRES
from bench.simulator.refusals import (
    BAD_KEY,
    BAD_OPENAI_KEY,
    BAD_VERSION,
    DEAD_TOKEN,
    MISSING_MODEL,
    MODEL_OF_TRANSCRIPTION,
    NO_DEPLOYMENT,
    NO_MODEL,
    NO_SUCH_PATH,
    STRAY_VERSION,
    TOO_MANY_HEADERS,
    Complaint,
    RefusedUpgrade,
)
from bench.simulator.wire import (
    AGENT,
    AGENT_PATH,
    AZURE_GA,
    AZURE_PREVIEW,
    GPT_LIVE,
    OPENAI_GA,
    OPENAI_PREVIEW,
    QWEN,
    VOICE_LIVE,
    XAI,
    WireDialect,
)

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


API_VERSIONS = ("2024-10-01-preview", "2025-04-01-preview")
VOICE_LIVE_VERSIONS = ("2025-05-01-preview", "2025-10-01", "2026-04-10", "2026-06-01-preview", "2026-07-15")
UNDERLYING_MODELS = {  # Azure's session.model names the model behind the deployment; ours are named like models
    "gpt-4o-realtime-preview": "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview": "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-realtime": "gpt-realtime-2025-08-28",
    "gpt-realtime-mini": "gpt-realtime-mini-2025-12-15",
}
PATHS = {"/api-ws/v1/realtime": QWEN}
"""Paths of services that speak the Realtime API with differences of their own."""
MODELS = {"grok-": XAI}
"""How models are called of such services that have OpenAI's path."""
DEFAULT_FORMAT = "pcm16@16000"
"""The format of agents whose caller does not say it."""
MAX_CUSTOM_HEADERS = 10
STANDARD_HEADERS = {
    "accept", "accept-encoding", "accept-language", "api-key", "authorization", "cache-control", "connection",
    "content-length", "content-type", "host", "measured_from", "pragma", "proxy-connection", "upgrade", "user-agent",
}  # fmt: skip


@dataclass(frozen=True)
class Authenticator:
    """Lets in who has the key, or a token that lives; where there is neither, everybody."""

    key: str | None = None
    tokens: TokenIssuer | None = None

    @property
    def closed(self) -> bool:
        """Whether anything is asked for."""
        return self.key is not None or self.tokens is not None


@dataclass(frozen=True)
class Accepted:
    """`token` is the number of the token that was taken; None where a key was, or nothing was asked for.

    `wire`: how an agent is called; its `model` is the format of its audio, where nothing else says that.
    """

    dialect: WireDialect
    model: str
    complaint: Complaint | None = None
    token: int | None = None
    wire: str = ""


class _Shown(NamedTuple):
    """What became of a client's credentials."""

    problem: RefusedUpgrade | None = None
    token: int | None = None


def admit(
    target: str,
    headers: Mapping[str, str],
    authenticator: Authenticator,
    now_s: float,
    fault: RefusedUpgrade | Complaint | None = None,
) -> Accepted | RefusedUpgrade:
    """`target` is the request line's path and query; the names of `headers` are in lower case; UTC `now_s`.

    `fault` is how the upgrade is refused whatever it asks for; a complaint, at the address of OpenAI.
    """
    if isinstance(fault, RefusedUpgrade):
        return fault
    path, _, query_text = target.partition("?")
    query = {name: values[0] for name, values in parse_qs(query_text, keep_blank_values=True).items()}
    shown = _shown(authenticator, headers, query, now_s)
    match path.rstrip("/"):
        case "/openai/realtime":
            return _azure_refusal(headers, shown) or _azure_preview(query, shown.token)
        case "/openai/v1/realtime":
            return _azure_refusal(headers, shown) or _azure_ga(query, shown.token)
        case "/voice-live/realtime":
            return _azure_refusal(headers, shown) or _voice_live(query, shown.token)
        case "/v1/live/sessions" | "/openai/v1/live/sessions":
            return _azure_refusal(headers, shown) or Accepted(GPT_LIVE, "", token=shown.token)
        case path if path.startswith(AGENT_PATH) and path.removeprefix(AGENT_PATH) in WIRES:
            format = query.get("format", DEFAULT_FORMAT)
            named = format if format in RATED_FORMATS else DEFAULT_FORMAT
            return shown.problem or Accepted(AGENT, named, token=shown.token, wire=path.removeprefix(AGENT_PATH))
        case path if path in PATHS:
            return shown.problem or Accepted(PATHS[path], query.get("model") or "simulated", token=shown.token)
        case _ if is_openai(target):
            model = query.get("model", "")
            for first, dialect in MODELS.items():
                if model.startswith(first):
                    return shown.problem or Accepted(dialect, model, token=shown.token)
            return _openai(query, headers, shown, fault)
    return NO_SUCH_PATH


def is_openai(target: str) -> bool:
    """Whether it is an address of OpenAI's."""
    return target.partition("?")[0].rstrip("/") == "/v1/realtime"


def _azure_refusal(headers: Mapping[str, str], shown: _Shown) -> RefusedUpgrade | None:
    custom = sum(name not in STANDARD_HEADERS and not name.startswith("sec-websocket-") for name in headers)
    return TOO_MANY_HEADERS if custom > MAX_CUSTOM_HEADERS else shown.problem


def _azure_preview(query: Mapping[str, str], token: int | None) -> Accepted | RefusedUpgrade:
    if query.get("api-version") not in API_VERSIONS:
        return BAD_VERSION
    return _azure(AZURE_PREVIEW, query, query.get("deployment"), token)


def _azure_ga(query: Mapping[str, str], token: int | None) -> Accepted | RefusedUpgrade:
    if "api-version" in query:
        return STRAY_VERSION
    return _azure(AZURE_GA, query, query.get("model"), token)


def _azure(
    dialect: WireDialect, query: Mapping[str, str], deployment: str | None, token: int | None
) -> Accepted | RefusedUpgrade:
    if _transcribes(query):  # a deployment that transcribes may be named here, or in the session
        return Accepted(dialect.transcribing(), deployment or "", token=token)
    if not deployment:
        return NO_DEPLOYMENT
    return Accepted(dialect, UNDERLYING_MODELS.get(deployment, deployment), token=token)


def _voice_live(query: Mapping[str, str], token: int | None) -> Accepted | RefusedUpgrade:
    if query.get("api-version") not in VOICE_LIVE_VERSIONS:
        return BAD_VERSION
    return Accepted(VOICE_LIVE, query["model"], token=token) if query.get("model") else NO_MODEL


def _openai(
    query: Mapping[str, str], headers: Mapping[str, str], shown: _Shown, complaint: Complaint | None
) -> Accepted:
    dialect = OPENAI_PREVIEW if headers.get("openai-beta") == "realtime=v1" else OPENAI_GA
    if complaint is None and shown.problem:
        complaint = BAD_OPENAI_KEY
    elif complaint is None and _transcribes(query) is bool(query.get("model")):
        complaint = MODEL_OF_TRANSCRIPTION if _transcribes(query) else MISSING_MODEL
    return Accepted(
        dialect.transcribing() if _transcribes(query) else dialect, query.get("model", ""), complaint, shown.token
    )


def _transcribes(query: Mapping[str, str]) -> bool:
    return query.get("intent") == "transcription"


def _shown(authenticator: Authenticator, headers: Mapping[str, str], query: Mapping[str, str], now_s: float) -> _Shown:
    if not authenticator.closed:
        return _Shown()
    scheme, space, credentials = headers.get("authorization", "").partition(" ")
    kind = scheme.lower() if space else None
    bearer = credentials if kind == "bearer" else None
    if authenticator.key is not None:
        offers = (headers.get("api-key"), query.get("api-key"), bearer)
        key, offered = authenticator.key.encode(), (offer for offer in offers if offer is not None)
        matches = [hmac.compare_digest(offer.encode(errors="surrogateescape"), key) for offer in offered]
        if any(matches):  # of a list: all are compared, so the time taken tells nothing
            return _Shown()
    if authenticator.tokens is None or bearer is None:
        return _Shown(BAD_KEY)
    token = authenticator.tokens.living(bearer, now_s)
    return _Shown(DEAD_TOKEN if token is None else None, token)
