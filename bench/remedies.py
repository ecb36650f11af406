"""The remedies for outcomes, for any service. `rtbench doctor`, which knows the target, gives more. Pure.

The outcomes: docs/metrics.md, "Outcomes".
"""

from __future__ import annotations

from bench.metrics import (
    ACCEPT_HEADER,
    EXPECTED,
    INAUDIBLE,
    LOOKUPS_FULL,
    NO_AUDIO,
    NO_MESSAGE,
    NO_PAUSE,
    SERVICE_SAID,
    TEXT_SESSION,
    UNHEARD,
    outcome_class,
)

REALTIME_MODELS = (
    *("gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2", "gpt-realtime-1.5", "gpt-realtime"),
    *("gpt-realtime-mini", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview"),
)
"""Models with speech, the newest first."""
NO_PROXY = "the proxy does not answer: is its URL right (--proxy, HTTPS_PROXY), may this machine reach it?"
OUT_OF_ORDER = "the service is out of order: retry later, and check its status page"
NO_CREDIT = "the account has no credit left: look at its billing"
DOCTOR = "`rtbench doctor` goes the same way step by step, and says what to do where it ends"
NO_RESOLVER = "the resolver does not answer: look at /etc/resolv.conf, a VPN, or name the address by --resolve ADDRESS"
NO_WAY = (
    "this machine has no route to that address: look at its network, a VPN, its IPv6; or choose by --resolve ADDRESS"
)
ENDLESS = (
    "it speaks without a silence that ends its reply (`reply_silence_ms`): music or a voice behind it is taken for its "
    "own, and no turn of it ends; let it be silent between its answers"
)
OF_OUTCOMES = {
    "timeout:dns": NO_RESOLVER,
    "timeout:tcp": "nothing answers there: a firewall drops it; open port 443 to this host, or name a proxy by --proxy "
    "URL",
    "timeout:proxy": NO_PROXY,
    "timeout:tls": "the connection is accepted and nothing answers: a proxy inspects TLS, or there is no TLS server",
    "timeout:upgrade": "the server takes the connection and does not answer: a proxy on the way may not know "
    "WebSockets",
    "timeout:session": "the upgrade was accepted but no session came: is the path another service's, or is the model "
    "loading?",
    "timeout:end_of_turn": "noise above the VAD's threshold is speech to it: take a quieter recording, or another "
    "threshold",
    "timeout:response": "a reply that takes longer needs a higher `response` among the script's `timeouts`, or fewer "
    "`max_output_tokens`; if replies are short, try fewer sessions",
    "timeout:turn": "the turn took more responses, or slower ones, than its limit allows: look at what its functions "
    "return, and how long they take, or raise `turn` among the script's `timeouts`",
    "connect_failed:dns": "this name cannot be resolved: is the resource's name right? Private endpoints need their "
    "DNS zone",
    "connect_failed:tcp": "nobody listens there, or a firewall refuses: is the port right, may this machine reach it?",
    "connect_failed:proxy": "the proxy refuses, see its message: it may want user and password in its URL, or forbid "
    "the way",
    "connect_failed:tls": "is that a TLS server, on this port? Behind a proxy that inspects TLS, or with a private CA, "
    "name the authority's PEM file by --ca-file FILE",
    "connect_failed:upgrade": "the server that answers is no WebSocket server: are host and path those of a realtime "
    "service?",
    "connect_failed:token": "the token could not be renewed: see the message; `az login` again, or look at the "
    "identity endpoint",
    "failed:load_generator": "this is a fault of this tool: report it, with its message",
    "failed:delegation": "GPT-Live waits for what its client returns, which this tool does not do yet: say in "
    "`instructions` that it shall answer by itself and delegate nothing, or measure `tools` over the Realtime API "
    "(--dialect ga)",
    "failed:no_audio": "no audio came though it was asked for: does the deployment's model speak?",
    "failed:no_text": "no text came though it was asked for: does the service know the settings that ask for it?",
    "incomplete:max_output_tokens": "the reply is longer than the session allows: raise `max_output_tokens` among its "
    "settings",
    "closed:1006": "the connection was cut: by the service, or by a proxy or firewall on the way; try again",
    "closed:reset": "the service, or a load balancer, proxy or firewall on the way, reset the connection: did the "
    "service restart or reject what it was sent, does something on the way end connections by their age or idle time?",
    "closed:timed_out": "the peer acknowledged nothing any more: is the network up, does a firewall or NAT on the way "
    "forget connections?",
    "closed:unreachable": NO_WAY,
    "closed:1008": "the service rejects what was sent, or who sent it: see its message",
    "closed:1009": "a message was too large for the service: take shorter chunks (`chunk_ms`), or smaller images",
    "closed:1011": OUT_OF_ORDER,
    "protocol_error:dialect": "the service speaks the other dialect: name it by --dialect, or as `dialect` of the "
    "target",
    "protocol_error:too_large": "if messages of that size are right, raise --max-message-mib",
    "limit_exceeded:calls": "the service answers what functions return by calling functions again: `tool_choice: "
    "required` of a session has it do so for ever (set it on the turn), and so may returns that do not tell it what it "
    "asked",
}
"""Remedies by the complete outcome, for causes that this tool names."""
OF_CODES = {
    "invalid_api_key": "OpenAI does not know the key: copy it again into the variable that --api-key-env names",
    "beta_api_shape_disabled": "OpenAI has switched the preview off: use --dialect ga",
    "missing_model": f"the URL names no model: add ?model={REALTIME_MODELS[0]}",
    "invalid_model": f"the model is no realtime model: take {' or '.join(REALTIME_MODELS[:2])}",
    "model_not_found": f"no such model, or not for this key: take {REALTIME_MODELS[0]}; older models are gone",
    "server_error": OUT_OF_ORDER,
    "internal_error": OUT_OF_ORDER,
    "insufficient_quota": NO_CREDIT,
    "inference_not_authorized_error": "the key is a restricted one: allow it the realtime API, or take another",
}
"""Remedies by the code of the service's error."""
CLASSES = {
    "connect_failed": "the service refuses for a reason of its own: see its message",
    "closed": "the service ended the connection: see its code and words",
    "protocol_error": "the answers are not those of a realtime service: is the URL one, does a proxy change what "
    "passes?",
    "session_expired": "the session reached the service's age limit: make the script shorter, or let its calls go on "
    "in another session by `renew_after`",
    "failed": "the service reports an error: fix the setting that its message names; otherwise retry and check the "
    "service's status page",
    "incomplete": "the reply was cut by the service, as by its content filter: see its message",
    "timeout": "the service did not continue in time: try fewer sessions; if a single one is no quicker, check its "
    "status page, or raise the script's `timeouts`",
    "limit_exceeded": "no real reply is that long: is it a realtime service, and do its replies end with a single "
    "caller?",
    "throttled": "the quota is spent: start fewer sessions at a time (-u, --connect-rate), say less, or raise it",
}
NOT_EXPECTED = (
    "what the script expects did not come in time: does the session ask for it (`input_transcription`, `tools`), is "
    "`within` long enough?"
)
TOLD = {
    "timeout:end_of_turn": {
        UNHEARD: "a service that detects turns says in session.updated how it does; where it cannot, let the client "
        "commit what was said (`turn_detection: none`; a probe: --manual-commit)",
    },
    "timeout:first_delta": {
        NO_MESSAGE: "it takes the call and sends nothing: does it expect the messages of another provider (--dialect) "
        "or a parameter (`extra`), and does its log have an error?",
        NO_AUDIO: "it sends messages without audio that this dialect knows: does it expect another provider (--dialect "
        "twilio, acs or pcm)?",
        INAUDIBLE: "its audio is never louder than its background: does it hear this format (`input_format`), is its "
        "audio of the one that is played (`output_format`), does it answer by itself, and does its log have an error?",
    },
    "timeout:response": {NO_PAUSE: ENDLESS},
    "timeout:turn": {NO_PAUSE: ENDLESS},
    "timeout:session": {
        "session.updated did not come": "the service greeted and did not take the settings: does it know them "
        "(`session`, `extra`, --dialect)?",
    },
    "failed:no_audio": {
        TEXT_SESSION: "the service gives out text: does its model speak, and does it read the settings of this dialect "
        "(--dialect)?",
    },
    "failed:load_generator": {LOOKUPS_FULL: NO_RESOLVER},
    "connect_failed:upgrade": {
        ACCEPT_HEADER: "this answers somebody else's request: it comes from a cache or a proxy on the way that does "
        "not know WebSockets, or from a server that gets the handshake wrong (RFC 6455 §4.2.2)",
        "the connection broke": "the server hung up on the upgrade: a proxy may not know WebSockets",
    },
    "connect_failed:dns": {"emporary failure": NO_RESOLVER},
    "connect_failed:tcp": {
        "Network is unreachable": NO_WAY,
        "No route to host": NO_WAY,
        "Cannot assign requested address": "this machine has no local port left for that address: play fewer sessions "
        "at a time, or on more machines",
        "Too many open files": "this process may open no more files: raise `ulimit -n`",
    },
    "connect_failed:tls": {"; ": "see its message, which says what to do about the certificate"},
    "throttled": {"insufficient_quota": NO_CREDIT},
}
"""Remedies by the outcome, or by its part before the colon, and by a text in its detail."""


def remedy_of(outcome: str, words: str = "") -> str:
    """Return what to do about an outcome; "" if it is no failure, or no remedy is known. `words`: its detail."""
    kind, _, cause = outcome.partition(":")
    if outcome_class(outcome) != "failed":
        return ""
    told = TOLD.get(outcome, TOLD.get(kind, {}))
    if remedy := next((remedy for part, remedy in told.items() if part in words), ""):
        return remedy
    if SERVICE_SAID in words:
        return OF_CODES.get(words.partition(SERVICE_SAID)[2].partition(":")[0], CLASSES["failed"])
    if outcome.startswith(EXPECTED):
        return NOT_EXPECTED
    if kind == "connect_failed" and cause.isdigit():
        return OUT_OF_ORDER if int(cause) >= 500 else DOCTOR
    of_code = OF_CODES.get(cause, "") if kind in ("failed", "connect_failed") else ""
    return OF_OUTCOMES.get(outcome) or of_code or CLASSES.get(cause if cause == "session_expired" else kind, "")
