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
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

from bench.protocol.openai import RATED_FORMATS
from bench.simulator import refusals, server_events
from bench.simulator.agent_behaviour import WIRES
from bench.simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from bench.simulator.server_events import AGENT_PATH, WireDialect

OBJECT_ID = "00000000-0000-0000-0000-000000000001"
TENANT_ID = "00000000-0000-0000-0000-000000000002"


@dataclass(frozen=True)
class IssuedToken:
    """A token; it lives before `expires_s`, whole seconds since 1970 in UTC. Never printed, never logged."""

    number: int
    token: str = field(repr=False)
    expires_s: int


class TokenIssuer:
    """Issues tokens that live `life_s` seconds, and on to the next whole one; `secret` draws what nobody can guess."""

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
PATHS = {"/api-ws/v1/realtime": server_events.QWEN}
"""Paths of services that speak the Realtime API with differences of their own."""
MODELS = {"grok-": server_events.XAI}
"""How models are called of such services that have OpenAI's path."""
DEFAULT_FORMAT = "pcm16@16000"
"""The format of agents whose caller does not say it."""
MAX_CUSTOM_HEADERS = 10
OF_AZURE = (
    "/openai/realtime", "/openai/v1/realtime", "/voice-live/realtime", "/v1/live/sessions", "/openai/v1/live/sessions",
)  # fmt: skip
"""Paths at which that many are taken."""
STANDARD_HEADERS = {
    "accept", "accept-encoding", "accept-language", "api-key", "authorization", "cache-control", "connection",
    "content-length", "content-type", "host", "origin", "pragma", "proxy-connection", "upgrade", "user-agent",
}  # fmt: skip


@dataclass(frozen=True)
class Authenticator:
    """Lets in who has the key, or a token that lives; where there is neither, everybody."""

    key: str | None = None
    tokens: TokenIssuer | None = None

    @property
    def closed(self) -> bool:
        return self.key is not None or self.tokens is not None


@dataclass(frozen=True)
class AcceptedUpgrade:
    """`token` is the number of the token that was taken; None where a key was, or nothing was asked for.

    `wire`: how an agent is called; its `model` is the format of its audio, where nothing else says that.
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
    """`target` is the request line's path and query; the names of `headers` are in lower case; UTC `now_s`.

    `fault` is how the upgrade is refused whatever it asks for; a complaint, at the address of OpenAI.
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
    """What becomes of a request at an address that is not OpenAI's, whoever it is from."""
    version, model = query.get("api-version"), query.get("model", "")
    match path:
        case "/openai/realtime":
            deployment = query.get("deployment", "")
            return (
                _azure(server_events.AZURE_PREVIEW, deployment, query)
                if version in API_VERSIONS
                else refusals.BAD_VERSION
            )
        case "/openai/v1/realtime":
            return _azure(server_events.AZURE_GA, model, query) if version is None else refusals.STRAY_VERSION
        case "/voice-live/realtime":
            if version not in VOICE_LIVE_VERSIONS:
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
    if _transcribes(query):  # a deployment that transcribes may be named here, or in the session
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
    """What is wrong with a client's credentials, and the number of its token."""
    if not authenticator.closed:
        return None, None
    scheme, space, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials if space and scheme.lower() == "bearer" else None
    if authenticator.key is not None:
        offers = (headers.get("api-key"), query.get("api-key"), bearer)
        key, offered = authenticator.key.encode(), (offer for offer in offers if offer is not None)
        matches = [hmac.compare_digest(offer.encode(errors="surrogateescape"), key) for offer in offered]
        if any(matches):  # of a list: all are compared, so the time taken tells nothing
            return None, None
    if authenticator.tokens is None or bearer is None:
        return refusals.BAD_KEY, None
    token = authenticator.tokens.living(bearer, now_s)
    return refusals.DEAD_TOKEN if token is None else None, token
