"""All ways in which the services refuse a connection, by name (docs/simulator.md, "Refusals").

Azure sends an HTTP error instead of the upgrade, with `{"error": {"code", "message"}}`. OpenAI
accepts the upgrade, sends one error event, and closes the connection. If only the code of a refusal
is known, the message is an assumption.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.base.units import NS_PER_MS, NS_PER_S

REFUSED_WAIT_NS = 2 * NS_PER_S  # wait that an injected 429 or 503 requests
GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
SESSION_EXPIRED = "session_expired"
EXPIRED_REASON = "Your session hit the maximum duration of {minutes:g} minutes."


class PostUpgradeRefusal(NamedTuple):
    """The error event after an accepted upgrade, and the close code that follows.

    If `is_event` is False, the service sends no event, and the message is the reason of the close.
    """

    code: str
    message: str
    close_code: int
    is_event: bool = True

    @property
    def close_reason(self) -> str:
        return f"invalid_request_error.{self.code}" if self.is_event else self.message


@dataclass(frozen=True)
class RefusedUpgrade:
    """An HTTP error instead of the upgrade.

    `wait_ns`: the time that the error asks clients to wait; 0 if it does not ask.
    """

    status: int
    code: str
    message: str
    wait_ns: int = 0

    @property
    def body(self) -> str:
        return json.dumps({"error": {"code": self.code, "message": self.message}})

    # `retry-after-ms` is a header of Azure OpenAI, in addition to that of HTTP (RFC 9110 §10.2.3),
    # which has whole seconds. Rounding down would invite clients too early.
    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that state the wait, in whole seconds and in milliseconds, both rounded
        up.
        """
        if not self.wait_ns:
            return {}
        return {
            "retry-after": str(-(-self.wait_ns // NS_PER_S)),
            "retry-after-ms": str(-(-self.wait_ns // NS_PER_MS)),
        }


BAD_KEY = RefusedUpgrade(
    401,
    "401",
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a"
    " valid key for an active subscription and use a correct regional API endpoint for your"
    " resource.",
)
DEAD_TOKEN = RefusedUpgrade(
    401,
    "401",
    "Unauthorized. Access token is missing, invalid, audience is incorrect"
    " (https://cognitiveservices.azure.com), or have expired.",
)
STRAY_VERSION = RefusedUpgrade(
    401, "401", "api-version is not allowed on the /openai/v1 path; remove it."
)
NO_DEPLOYMENT = RefusedUpgrade(
    404,
    "DeploymentNotFound",
    "The API deployment for this resource does not exist. If you created the deployment within the"
    " last 5 minutes, please wait a moment and try again.",
)
NO_MODEL = RefusedUpgrade(
    400, "BadRequest", "The query parameter model is missing, and agents are not simulated."
)
NO_SUCH_PATH = RefusedUpgrade(404, "404", "Resource not found")
BAD_VERSION = RefusedUpgrade(400, "BadRequest", "API version not supported")
PREVIEW_ONLY = RefusedUpgrade(
    403,
    "preview_feature_required",
    "Voice agents is in preview. This operation requires the following opt-in preview feature(s):"
    " VoiceAgents=V1Preview.",
)
TOO_MANY_HEADERS = RefusedUpgrade(
    431, "431", "Request Header Fields Too Large: more than 10 custom headers."
)
TOO_MANY_SESSIONS = RefusedUpgrade(
    503,
    "TooManySessions",
    "The simulator has its maximum number of open sessions (max_sessions of its profile).",
)
TOO_MANY_CALLS = RefusedUpgrade(
    503, "503", "This process of the simulator plays no more telephone calls."
)

BAD_OPENAI_KEY = PostUpgradeRefusal("invalid_api_key", "Incorrect API key provided.", 3000)
MISSING_MODEL = PostUpgradeRefusal("missing_model", "You must provide a model parameter.", 4000)
MODEL_OF_TRANSCRIPTION = PostUpgradeRefusal(
    "invalid_parameter", "You must not provide a model parameter for transcription sessions.", 4000
)


def throttled(wait_ns: int) -> RefusedUpgrade:
    """Return the refusal with status 429: too many connections per minute."""
    seconds = -(-wait_ns // NS_PER_S)
    problem = (
        "Requests to the Realtime Operation under Azure OpenAI API have exceeded call rate limit"
        f" of your current pricing tier. Please retry after {seconds} seconds."
    )
    return RefusedUpgrade(429, "429", problem, wait_ns)


BEFORE_UPGRADE: Mapping[str, RefusedUpgrade] = {
    "api_version": BAD_VERSION,
    "not_realtime": RefusedUpgrade(
        400,
        "OpperationNotSupported",  # the service's spelling
        "The realtime operation does not work with the specified model. Please choose different"
        " model and try again.",
    ),
    "bad_key": BAD_KEY,
    "expired_token": DEAD_TOKEN,
    "missing_role": RefusedUpgrade(
        401, "PermissionDenied", "Principal does not have access to API/Operation."
    ),
    "forbidden": RefusedUpgrade(403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "no_deployment": NO_DEPLOYMENT,
    "agent_disabled": RefusedUpgrade(409, "agent_disabled", "The agent is disabled."),
    "throttled": throttled(REFUSED_WAIT_NS),
    "internal": RefusedUpgrade(
        500, "InternalServerError", "The server had an error while processing your request."
    ),
    "unavailable": RefusedUpgrade(
        503,
        "ServiceUnavailable",
        "The service is temporarily unable to process your request.",
        REFUSED_WAIT_NS,
    ),
}
AFTER_UPGRADE: Mapping[str, PostUpgradeRefusal] = {
    "invalid_api_key": BAD_OPENAI_KEY,
    "beta_api_shape_disabled": PostUpgradeRefusal(
        "beta_api_shape_disabled",
        "The Realtime Beta API is no longer supported; use the GA API.",
        4000,
    ),
    "missing_model": MISSING_MODEL,
    "invalid_model": PostUpgradeRefusal(
        "invalid_model", "The model is not supported in realtime mode.", 4000
    ),
    "model_not_found": PostUpgradeRefusal(
        "model_not_found", "The model does not exist or you do not have access to it.", 4004
    ),
}
NOTES: Mapping[str, str] = {
    **{
        name: f"Azure's HTTP {refusal.status}: {refusal.code}"
        for name, refusal in BEFORE_UPGRADE.items()
    },
    **{
        name: f"OpenAI's error after the upgrade, and close {complaint.close_code}"
        for name, complaint in AFTER_UPGRADE.items()
    },
}
"""A note for users about each refusal that can be injected by its name."""
