"""What the service makes of an upgrade request: a dialect, or a refusal (protocol.md §1, §6). Pure.

Azure refuses by HTTP before the upgrade. OpenAI accepts the upgrade, then sends one error event and closes.
Query keys and headers that are not named here are ignored.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qs

from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, OPENAI_GA, OPENAI_PREVIEW, Dialect

API_VERSIONS = ("2024-10-01-preview", "2025-04-01-preview")
UNDERLYING_MODELS = {  # Azure's session.model names the model behind the deployment; ours are named like models
    "gpt-4o-realtime-preview": "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview": "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-realtime": "gpt-realtime-2025-08-28",
    "gpt-realtime-mini": "gpt-realtime-mini-2025-12-15",
}
BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)
STRAY_VERSION = "api-version is not allowed on the /openai/v1 path; remove it."


class Complaint(NamedTuple):
    """The error event that follows an accepted upgrade, and the close code behind it."""

    code: str
    message: str
    close_code: int

    @property
    def close_reason(self) -> str:
        return f"invalid_request_error.{self.code}"


@dataclass(frozen=True)
class Accepted:
    dialect: Dialect
    model: str
    complaint: Complaint | None = None


@dataclass(frozen=True)
class Refused:
    status: int
    code: str
    message: str

    @property
    def body(self) -> str:
        return json.dumps({"error": {"code": self.code, "message": self.message}})


def judge(target: str, headers: Mapping[str, str], key: str | None) -> Accepted | Refused:
    """`target` is the request line's path and query; the names of `headers` are in lower case; no `key`, no check."""
    path, _, query_text = target.partition("?")
    query = {name: values[0] for name, values in parse_qs(query_text, keep_blank_values=True).items()}
    key_holds = key is None or _offers(key, headers, query)
    match path.rstrip("/"):
        case "/openai/realtime":
            return _azure_preview(query) if key_holds else Refused(401, "401", BAD_KEY)
        case "/openai/v1/realtime":
            return _azure_ga(query) if key_holds else Refused(401, "401", BAD_KEY)
        case "/v1/realtime":
            return _openai(query, headers, key_holds)
    return Refused(404, "404", "Resource not found")


def _azure_preview(query: Mapping[str, str]) -> Accepted | Refused:
    if query.get("api-version") not in API_VERSIONS:
        return Refused(400, "BadRequest", "API version not supported")
    return _azure(AZURE_PREVIEW, query.get("deployment"))


def _azure_ga(query: Mapping[str, str]) -> Accepted | Refused:
    if "api-version" in query:
        return Refused(401, "401", STRAY_VERSION)
    return _azure(AZURE_GA, query.get("model"))


def _azure(dialect: Dialect, deployment: str | None) -> Accepted | Refused:
    if not deployment:
        return Refused(404, "DeploymentNotFound", NO_DEPLOYMENT)
    return Accepted(dialect, UNDERLYING_MODELS.get(deployment, deployment))


def _openai(query: Mapping[str, str], headers: Mapping[str, str], key_holds: bool) -> Accepted:
    dialect = OPENAI_PREVIEW if headers.get("openai-beta") == "realtime=v1" else OPENAI_GA
    complaint = None
    if not key_holds:
        complaint = Complaint("invalid_api_key", "Incorrect API key provided.", 3000)
    elif not query.get("model"):
        complaint = Complaint("missing_model", "You must provide a model parameter.", 4000)
    return Accepted(dialect, query.get("model", ""), complaint)


def _offers(key: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    bearer = headers.get("authorization", "")
    offered = (headers.get("api-key"), query.get("api-key"), bearer[7:] if bearer[:7].lower() == "bearer " else None)
    matches = [
        hmac.compare_digest(offer.encode(errors="surrogateescape"), key.encode())
        for offer in offered
        if offer is not None
    ]
    return any(matches)  # of a list: all are compared, so the time taken tells nothing
