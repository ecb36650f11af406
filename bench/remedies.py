"""Says what to do about an outcome, whoever was called: the doctor, who knows the target, says more. Pure.

The outcomes: docs/measures.md, "Outcomes".
"""

from __future__ import annotations

from bench.outcomes import outcome_class

REALTIME_MODELS = (
    *("gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2", "gpt-realtime-1.5", "gpt-realtime"),
    *("gpt-realtime-mini", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview"),
)
"""Models that speak, the newest first."""
NO_PROXY = "the proxy does not answer: is its URL right (--proxy, HTTPS_PROXY), may this machine reach it?"
OUT_OF_ORDER = "the service is out of order: try again later, and look at its status page"
DOCTOR = "`rtbench doctor` goes the same way step by step, and says what to do where it ends"
SLOW = (
    "the service did not go on in time: try fewer sessions; if one alone is no quicker, look at its status page, or "
    "raise the script's `limits`"
)
SHORT_LIVED = "sessions are cut at an age that is too short for a turn: look at the deployment's limits"
TIMEOUTS = {
    "dns": "the resolver does not answer: look at /etc/resolv.conf, a VPN, or name the address by --resolve ADDRESS",
    "tcp": "nothing answers there: a firewall drops it; open port 443 to this host, or name a proxy by --proxy URL",
    "proxy": NO_PROXY,
    "tls": "the connection is accepted and nothing answers: a proxy inspects TLS, or there is no TLS server",
    "upgrade": "the server takes the connection and does not answer: a proxy on the way may not know WebSockets",
    "turn": "the turn took more responses, or slower ones, than its limit allows: look at what its functions "
    "return, and how long they take, or raise `turn` among the script's `limits`",
    "speech": "noise above the VAD's threshold is speech to it: take a quieter recording, or another threshold",
    "session": "the upgrade was accepted but no session came: is the path another service's, or is the model loading?",
}
"""By the stage whose limit passed."""
CAUSES = {
    "dns": "this machine finds no such name: is the resource's name right? Private endpoints need their DNS zone",
    "tcp": "nobody listens there, or a firewall refuses: is the port right, may this machine reach it?",
    "tls": "is that a TLS server, on this port? Behind a proxy that inspects TLS, or with a private CA, name the "
    "authority's PEM file by --ca FILE",
    "upgrade": "the server that answers is no WebSocket server: are host and path those of a realtime service?",
    "token": "the sign-in does not renew its token: see the words; `az login` again, or look at the identity endpoint",
    "invalid_api_key": "OpenAI does not know the key: copy it again into the variable that --api-key-env names",
    "beta_api_shape_disabled": "OpenAI has switched the preview off: use --dialect ga",
    "missing_model": f"the URL names no model: add ?model={REALTIME_MODELS[0]}",
    "invalid_model": f"the model is no realtime model: take {' or '.join(REALTIME_MODELS[:2])}",
    "model_not_found": f"no such model, or not for this key: take {REALTIME_MODELS[0]}; older models are gone",
    "server_error": OUT_OF_ORDER,
    "insufficient_quota": "the account has no credit left: look at its billing",
    "session_expired": SHORT_LIVED,
    "inference_not_authorized_error": "the key is a restricted one: allow it the realtime API, or take another",
    "max_output_tokens": "the reply is longer than the session allows: raise `max_output_tokens` among its settings",
    "no_audio": "no audio came though it was asked for: does the deployment's model speak?",
    "harness": "this is a fault of this tool: report it, with the words beside it",
    "calls": "the service answers what functions return by calling functions again: `tool_choice: required` of a "
    "session has it do so for ever (set it on the turn), and so may returns that do not tell it what it asked",
    "1008": "the service rejects what was sent, or who sent it: see its words",
    "1009": "a message was too large for the service: take shorter chunks (`chunk_ms`), or smaller images",
    "1011": OUT_OF_ORDER,
    "dialect": "the service speaks the other dialect: name it by --dialect, or as `dialect` of the target",
}
"""By what stands behind the class."""
CLASSES = {
    "refused": "the service refuses for a reason of its own: see its words",
    "endless": "the service does not end a turn by itself: its replies are no conversation; see the detail",
    "closed": "the connection was cut: by the service, or by a proxy or firewall on the way; try again",
    "protocol": "the answers are not those of a realtime service: is the URL one, does a proxy change what passes?",
    "expired": SHORT_LIVED,
    "failed": "the service failed, see its words; try again, and if it stays so, ask its status page",
    "incomplete": "the reply was cut by the service, as by its content filter: see its words",
    "timeout": SLOW,
    "throttled": "the quota is spent: start fewer sessions at a time (-u, --connect-rate), say less, or have it raised",
}


def remedy_of(outcome: str) -> str:
    """What to do about an outcome; "" where nothing went wrong, or nothing is known to help."""
    kind, _, cause = outcome.partition(":")
    if outcome_class(outcome) != "failed":
        return ""
    if kind == "timeout":
        return TIMEOUTS.get(cause, SLOW)
    if kind == "refused" and cause.isdigit():
        return OUT_OF_ORDER if int(cause) >= 500 else DOCTOR
    return CAUSES.get(cause) or CLASSES.get(kind, "") if kind != "throttled" else CLASSES[kind]
