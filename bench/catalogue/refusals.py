"""The table of what the words of a refusal name, with the remedy of each: no credit, no capacity, a
limit, a region, a key, a permission, a model. It holds for any service. Pure.

A status or a close code tells these causes apart in one service, and not in the next one: a limit
is HTTP 429, 503, or a close with 1008, 1011, 1013 or a code of the service. Its words name it in
all of them.
"""

import re
from typing import NamedTuple

HANDSHAKE = "throttled:handshake"
CAPACITY = "throttled:capacity"
CLOSE = "throttled:close"
NO_CREDIT = "the account has no credit left: check its billing page"
AT_LIMIT = (
    "the service takes no more at present: start fewer sessions at a time (-u,"
    " --connect-rate), shorten the turns, or raise the limit that its message names"
)


class NamedCause(NamedTuple):
    """What words of a service name. `throttles` is the outcome of a session that did not start
    because of it; "" if no wait helps, and the status or the close code decides the outcome.
    """

    pattern: re.Pattern[str]
    remedy: str
    throttles: str = ""


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


# The first row whose words are found holds. A text about credit also names a quota, and one about
# capacity may recommend one, so these rows precede the limits.
NAMED_CAUSES = (
    NamedCause(
        _words("insufficient[ _](?:quota|credits?|balance|funds)", "out of credits?"),
        NO_CREDIT,
    ),
    NamedCause(
        _words(
            "NoCapacity",
            r"\b(?:no|insufficient) capacity\b",
            "experiencing high demand",
            r"\b(?:model|engine)[ _](?:is )?(?:currently )?overloaded",
        ),
        "the service has no capacity left here, and no quota changes that: use another region or"
        " deployment type, provisioned throughput, or another hour",
        CAPACITY,
    ),
    NamedCause(
        _words(
            "resource[ _]?exhausted",
            r"exceed(?:s|ed|ing)? [^.]{0,40}\bquota",
            r"quota[ _](?:[^.]{0,20} )?(?:exceeded|exhausted|reached)",
            r"(?<!sample )\brate[ _-]?limit",
            r"too many (?:\w+ )?(?:requests|sessions|connections|calls)",
            r"\bmax(?:imum)?\b[^.]{0,30}\bconcurren",
            r"\bconcurren[^.]{0,40}\b(?:limit|exceeded|reached)",
            r"\bHTTP 429\b",
        ),
        AT_LIMIT,
        HANDSHAKE,
    ),
    NamedCause(
        _words(
            "unsupported_country",
            r"\b(?:country|region|location|territory)\b[^.]{0,20}\bnot (?:supported|available)",
            r"not (?:supported|available) in (?:your|this) (?:country|region|location)",
        ),
        "the service, or this model, is not offered in this country or region: use the address of a"
        " region that has it, or call from a country that the service supports",
    ),
    NamedCause(
        _words(
            r"API[ _]key (?:\w+ )?(?:not valid|invalid|expired|not found|reported)",
            "(?:invalid|incorrect|expired)[ _]API[ _]key",
            "API_KEY_INVALID",
            "invalid authentication credentials",
        ),
        "the service does not accept the key or token: make a new one on its page of keys, and copy"
        " it into its variable (that of --api-key-env, if it is given)",
    ),
    NamedCause(
        _words(
            "permission[ _]denied",
            "does not have permission",
            "SERVICE_DISABLED",
            "has not been used in project",
        ),
        "the key or identity may not use this service or model: enable the service for its project,"
        " and give it the permission that the message names",
    ),
    NamedCause(
        _words(r"\bis not found for API version\b"),
        "the model does not exist here, or it has no realtime sessions: set another `model` of the"
        " target",
    ),
)


def named_cause(text: str) -> NamedCause | None:
    """Return what the words of a service name; None if they name no cause of the table."""
    return next((cause for cause in NAMED_CAUSES if cause.pattern.search(text)), None)


def limit_outcome(text: str, *, is_ready: bool = False) -> str:
    """Return the outcome of a session that a service ends with these words; "" if they name no
    limit of the service. `is_ready` is True if the session had started.
    """
    cause = named_cause(text)
    outcome = "" if cause is None else cause.throttles
    return CLOSE if is_ready and outcome == HANDSHAKE else outcome
