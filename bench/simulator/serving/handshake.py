"""The response to an upgrade request, like the service's: a dialect, or a refusal (docs/protocol.md, "Addresses").
Pure.

Query keys and headers that this module does not name are ignored, but the number of custom headers is limited. Access
tokens are like those of Entra ID: they are unguessable, and valid for a limited time. Each token has a number. A token
has the form of a JWT (header.claims.signature, base64url), but it is not signed. Only issued tokens are accepted.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

from bench.services.azure.service import PREVIEW_ROUTE
from bench.services.openai.dialect import RATED_FORMATS
from bench.services.voice_live.dialect import VOICE_LIVE_ROUTE
from bench.simulator import refusals, server_events
from bench.simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from bench.simulator.server_events import AGENT_PATH, WireDialect
from bench.simulator.services.agents.behaviour import WIRES

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
        self._life_s, self._secret = life_s, secret
        self._issued: dict[str, IssuedToken] = {}

    def issue(self, resource: str, now_s: float) -> IssuedToken:
        number, expires_s = len(self._issued) + 1, math.ceil(now_s + self._life_s)
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


UNDERLYING_MODELS = {  # Azure's session.model is the model of the deployment; ours are named like models
    "gpt-4o-realtime-preview": "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview": "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-realtime": "gpt-realtime-2025-08-28",
    "gpt-realtime-mini": "gpt-realtime-mini-2025-12-15",
}
PATHS = {"/api-ws/v1/realtime": server_events.QWEN}
"""The dialects of services that implement the Realtime API with differences, by the path of each service."""
MODELS = {"grok-": server_events.XAI}
"""The dialects of services that share OpenAI's path, by a prefix of the model. xAI's models begin with `grok-`."""
DEFAULT_FORMAT = "pcm16@16000"
"""The audio format of an agent, if the address does not state it."""
MAX_CUSTOM_HEADERS = 10
OF_AZURE = (
    "/openai/realtime", "/openai/v1/realtime", "/voice-live/realtime", "/v1/live/sessions", "/openai/v1/live/sessions",
)  # fmt: skip
"""Azure's paths, at which a request may have at most MAX_CUSTOM_HEADERS custom headers."""
STANDARD_HEADERS = {
    "accept", "accept-encoding", "accept-language", "api-key", "authorization", "cache-control", "connection",
    "content-length", "content-type", "host", "origin", "pragma", "proxy-connection", "upgrade", "user-agent",
}  # fmt: skip


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


@dataclass(frozen=True)
class AcceptedUpgrade:
    """An accepted upgrade. `complaint`: the refusal that follows the upgrade, at OpenAI's address only.

    `token`: the number of the accepted token; None if a key was accepted, or no credentials are required. `wire`: the
    protocol of an agent; empty for other services. If `wire` is set, `model` is the format of the agent's audio, unless
    the protocol determines the format.
    """

    dialect: WireDialect
    model: str
    complaint: PostUpgradeRefusal | None = None
    token: int | None = None
    wire: str = ""


def admit(
    target: str,
    headers: Mapping[str, str],
    authenticator: Authenticator,
    now_s: float,
    fault: RefusedUpgrade | PostUpgradeRefusal | None = None,
) -> AcceptedUpgrade | RefusedUpgrade:
    """Return the response to an upgrade request.

    `target`: the path and query of the request line. `headers`: the headers, with names in lower case. `now_s`: the UTC
    time in seconds. `fault`: an injected refusal, which replaces the normal response. At OpenAI's address, the injected
    refusal is sent after the upgrade, as a complaint.
    """
    if isinstance(fault, RefusedUpgrade):
        return fault
    path, _, query_text = target.partition("?")
    path = path.rstrip("/")
    query = {name: values[0] for name, values in parse_qs(query_text, keep_blank_values=True).items()}
    problem, token = _credentials(authenticator, headers, query, now_s)
    if is_openai(target) and not query.get("model", "").startswith(tuple(MODELS)):
        return replace(_openai(query, headers, problem, fault), token=token)
    verdict = _verdict(path, query)
    if verdict is refusals.NO_SUCH_PATH:
        return verdict
    custom = sum(name not in STANDARD_HEADERS and not name.startswith("sec-websocket-") for name in headers)
    if path in OF_AZURE and custom > MAX_CUSTOM_HEADERS:
        return refusals.TOO_MANY_HEADERS
    return problem or (replace(verdict, token=token) if isinstance(verdict, AcceptedUpgrade) else verdict)


def is_openai(target: str) -> bool:
    return target.partition("?")[0].rstrip("/") == "/v1/realtime"


def _verdict(path: str, query: Mapping[str, str]) -> AcceptedUpgrade | RefusedUpgrade:
    """Return the response to a request for any service except OpenAI, regardless of the client's credentials."""
    version, model = query.get("api-version"), query.get("model", "")
    match path:
        case "/openai/realtime":
            deployment = query.get("deployment", "")
            return (
                _azure(server_events.AZURE_PREVIEW, deployment, query)
                if version in (PREVIEW_ROUTE.versions or ())
                else refusals.BAD_VERSION
            )
        case "/openai/v1/realtime":
            return _azure(server_events.AZURE_GA, model, query) if version is None else refusals.STRAY_VERSION
        case "/voice-live/realtime":
            if version not in (VOICE_LIVE_ROUTE.versions or ()):
                return refusals.BAD_VERSION
            return AcceptedUpgrade(server_events.VOICE_LIVE, model) if model else refusals.NO_MODEL
        case "/v1/live/sessions" | "/openai/v1/live/sessions":
            return AcceptedUpgrade(server_events.GPT_LIVE, "")
        case _ if path in PATHS:
            return AcceptedUpgrade(PATHS[path], model or "simulated")
        case "/v1/realtime":
            return AcceptedUpgrade(next(dialect for first, dialect in MODELS.items() if model.startswith(first)), model)
    kind = path.removeprefix(AGENT_PATH)
    if path.startswith(AGENT_PATH) and kind in WIRES:
        format = query.get("format", DEFAULT_FORMAT)
        return AcceptedUpgrade(server_events.AGENT, format if format in RATED_FORMATS else DEFAULT_FORMAT, wire=kind)
    return refusals.NO_SUCH_PATH


def _azure(dialect: WireDialect, deployment: str, query: Mapping[str, str]) -> AcceptedUpgrade | RefusedUpgrade:
    if _transcribes(query):  # the transcription deployment may be named here, or in the session
        return AcceptedUpgrade(dialect.transcribing(), deployment)
    return (
        AcceptedUpgrade(dialect, UNDERLYING_MODELS.get(deployment, deployment))
        if deployment
        else refusals.NO_DEPLOYMENT
    )


def _openai(
    query: Mapping[str, str],
    headers: Mapping[str, str],
    problem: RefusedUpgrade | None,
    complaint: PostUpgradeRefusal | None,
) -> AcceptedUpgrade:
    dialect = server_events.OPENAI_PREVIEW if headers.get("openai-beta") == "realtime=v1" else server_events.OPENAI_GA
    if complaint is None and problem:
        complaint = refusals.BAD_OPENAI_KEY
    elif complaint is None and _transcribes(query) is bool(query.get("model")):
        complaint = refusals.MODEL_OF_TRANSCRIPTION if _transcribes(query) else refusals.MISSING_MODEL
    return AcceptedUpgrade(
        dialect.transcribing() if _transcribes(query) else dialect, query.get("model", ""), complaint
    )


def _transcribes(query: Mapping[str, str]) -> bool:
    return query.get("intent") == "transcription"


def _credentials(
    authenticator: Authenticator, headers: Mapping[str, str], query: Mapping[str, str], now_s: float
) -> tuple[RefusedUpgrade | None, int | None]:
    """Return the refusal of a client's credentials (None if they are valid), and the number of its token."""
    if not authenticator.requires_credentials:
        return None, None
    scheme, space, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials if space and scheme.lower() == "bearer" else None
    if authenticator.key is not None:
        values = (headers.get("api-key"), query.get("api-key"), bearer)
        key, presented = authenticator.key.encode(), (value for value in values if value is not None)
        matches = [hmac.compare_digest(value.encode(errors="surrogateescape"), key) for value in presented]
        if any(matches):  # in a list: all are compared, so the duration reveals nothing
            return None, None
    if authenticator.tokens is None or bearer is None:
        return refusals.BAD_KEY, None
    token = authenticator.tokens.valid_token(bearer, now_s)
    return refusals.DEAD_TOKEN if token is None else None, token
