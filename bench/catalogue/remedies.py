"""The remedies for outcomes. They hold for any service. Pure.

`rtbench doctor` has more specific remedies, because it knows the target. docs/metrics.md, "Outcomes", lists the
outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import ParamSpec

from bench.catalogue.metrics import (
    ACCEPT_HEADER,
    EXPECTED,
    HANG_UP,
    HOLD,
    INAUDIBLE,
    LOOKUPS_FULL,
    NO_AUDIO,
    NO_MEDIA,
    NO_MESSAGE,
    NO_PACKET,
    NO_PAUSE,
    NO_READ,
    NO_SOUND,
    NOT_OFFERED,
    ONLY_TONES,
    OTHER_LOGIN,
    SERVICE_REPORTED,
    TEXT_SESSION,
    UNHEARD,
    UNSENT,
    outcome_class,
    refusal_status,
)

Inputs = ParamSpec("Inputs")

REALTIME_MODELS = (
    *("gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2", "gpt-realtime-1.5", "gpt-realtime"),
    *("gpt-realtime-mini", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview"),
)
"""The models with speech output, from the newest to the oldest."""
NO_PROXY = "the proxy does not answer: check its URL (--proxy, HTTPS_PROXY), and that this machine may reach it"
OTHER_PROXY_LOGIN = (
    "this tool signs in to proxies only with user and password (Basic), not by NTLM or Kerberos: let a local proxy "
    "such as px or cntlm sign in, and set --proxy to its URL"
)
OUT_OF_ORDER = "the service has an internal error: retry later, and check its status page"
NO_DEPLOYMENT = "DeploymentNotFound"
"""Azure's error code if the path exists, but the deployment does not."""
NO_CREDIT = "the account has no credit left: check its billing page"
DOCTOR = (
    "run `rtbench doctor`: it checks each step of the connection, and prints what to do about the first step that fails"
)
NO_PATH = "the server has no such path: set the path at which it accepts calls, by --url or `url` of the target"
NO_RESOLVER = (
    "the DNS resolver does not answer: check /etc/resolv.conf and the VPN, or set the address: --resolve ADDRESS"
)
NO_WAY = (
    "this machine has no route to that address: check its network, VPN, and IPv6, or set another address: "
    "--resolve ADDRESS"
)
ENDLESS = (
    "the audio has no silence that ends a reply (`reply_silence_ms`), for example because of background music "
    "or voices: configure silence between its answers"
)
NO_COMMON_AUDIO = (
    "the agent accepts none of the offered audio formats: configure it for PCMU, or set `input_format` and "
    "`output_format` to g711_alaw; if it requires encrypted audio, set `srtp: required` (--srtp), and if it has "
    "none, `srtp: none`"
)
OF_OUTCOMES = {
    "timeout:dns": NO_RESOLVER,
    "timeout:tcp": "no response: a firewall may drop the packets; open port 443 to this host, or set a proxy: --proxy "
    "URL",
    "timeout:proxy": NO_PROXY,
    "timeout:tls": "the server accepts the connection and does not answer: a proxy may inspect TLS, or the server "
    "does not use TLS",
    "timeout:upgrade": "the server accepts the connection and does not answer: a proxy on the way may not support "
    "WebSockets",
    "timeout:session": "the upgrade was accepted, but no session.created was received: the path may be that of "
    "another service, or of an agent (set --dialect twilio, acs or pcm), or the model may still be loading",
    "timeout:end_of_turn": "the VAD takes noise above its threshold for speech: use a quieter recording, or set a "
    "higher threshold",
    "timeout:response": "if replies are long, raise `response` among the script's `timeouts`, or lower "
    "`max_output_tokens`; if they are short, try fewer sessions",
    "timeout:turn": "the turn had too many responses for its timeout, or too slow ones: check what its functions "
    "return, and how long they run, or raise `turn` among the script's `timeouts`",
    NO_MEDIA: "a firewall or NAT drops the agent's RTP, or the agent sends it to another address: open the UDP ports "
    "16384 to 32767 (or --rtp-ports) of this machine, and check to which address the agent sends RTP; if the agent "
    "waits for its caller, remove `wait_for: greeting`",
    NO_SOUND: "the agent sends silence: check in its log whether its speech output works, and whether it hears the "
    "caller; if it waits for its caller, remove `wait_for: greeting`",
    "connect_failed:dns": "this name cannot be resolved: check the host of the URL or endpoint; a private network "
    "needs a DNS zone that contains it",
    "connect_failed:tcp": "no server listens on this port, or a firewall rejects the connection: check the port, "
    "and that this machine may reach it",
    "connect_failed:proxy": "the proxy refuses the connection: see its message; it may require user and password in "
    "its URL, or forbid this host or port",
    "connect_failed:tls": "check that a TLS server listens on this port; if a proxy inspects TLS, or the CA is "
    "private, give the CA's PEM file: --ca-file FILE",
    "connect_failed:media": NO_COMMON_AUDIO,
    "connect_failed:host": "the agent runs on this machine, and names another host: let it name this machine, or "
    "permit the host with --yes, or in `call_hosts` of the target (--call-hosts)",
    HOLD: "the agent holds calls (SDP `a=sendonly`, `a=inactive`, or the address 0.0.0.0), and callers on hold are "
    "silent: check in its log why; if it is right, let the caller speak later (`pause`)",
    UNSENT: "this machine has no way to the address in the agent's SDP, or a firewall on it refuses the packets: see "
    "the reason, and let the agent name an address that this machine reaches (Asterisk: `external_media_address`)",
    HANG_UP: "the agent broke a rule or a limit of the call: see the reason in the message, and the log of the agent",
    "connect_failed:sip": "the signalling of the call failed: see its message, and the log of the SIP server",
    "connect_failed:upgrade": "the server that answers is not a WebSocket server: check that host and path are "
    "those of a realtime service",
    "connect_failed:token": "the token could not be renewed: see the message; run `az login` again, or check the "
    "identity endpoint",
    "failed:load_generator": "this is a bug of this tool: report it, with its message",
    "failed:delegation": "declare functions in the script (`tools`), whose outputs become the result of the task, or "
    "let a backend of the service do it (`delegation: {type: responses, …}`)",
    "failed:mcp_list_tools": "the service cannot get the tools of an MCP server: check its `url` or `connector_id`, "
    "its access token (`authorization_env`), whether the service can reach it, and the names in `allowed_tools`",
    "failed:mcp_approval": "set `require_approval: never` in `mcp_servers`, or `approve: true`, if the calls may be "
    "made without a person",
    "failed:backend_failed": "the model of `delegation` reports an error: see its message; check that its name is "
    "right, and that your account may use it",
    "failed:no_audio": "no audio was received, although it was requested: check that the deployment's model "
    "supports audio output",
    "failed:no_text": "no text was received, although it was requested: check that the service supports the "
    "settings that request text",
    "failed:transcription": "the service could not transcribe what it committed: see its message, and check the model "
    "of `input_transcription` (on Azure the deployment)",
    "failed:no_transcript": "the model found no words in the recording: check its format (`input_format`) and its "
    "language (`languages`)",
    "incomplete:max_output_tokens": "the reply is longer than the session allows: raise `max_output_tokens` among its "
    "settings",
    "closed:1006": "the service, or a proxy or firewall on the way, cut the connection: try again",
    "closed:reset": "the service, or a load balancer, proxy or firewall on the way, reset the connection: check "
    "whether the service restarted or rejected a message, and whether a device on the way ends old or idle "
    "connections",
    "closed:timed_out": "the peer stopped acknowledging packets: check that the network is up, and that no firewall "
    "or NAT on the way drops idle connections",
    "closed:unreachable": NO_WAY,
    "closed:1008": "the service rejects what was sent, or who sent it: see its message",
    "closed:1009": "a message was too large for the service: use shorter chunks (`chunk_ms`), or smaller images",
    "closed:1011": OUT_OF_ORDER,
    "protocol_error:dialect": "the service uses the other dialect: set --dialect, or `dialect` of the target",
    "protocol_error:too_large": "if messages of that size are right, raise --max-message-mib",
    "limit_exceeded:calls": "the service calls functions again after each result: if `session` has `tool_choice: "
    "required`, set it on the turn instead; otherwise check that the results contain what the model asked for",
}
"""The remedies for complete outcomes, such as `protocol_error:dialect`, whose cause this tool names."""
OF_CODES = {
    "invalid_api_key": "OpenAI does not know the key: copy it again into the variable that --api-key-env names",
    "beta_api_shape_disabled": "OpenAI has switched the preview off: use --dialect ga",
    "missing_model": f"the URL names no model: add ?model={REALTIME_MODELS[0]}",
    "invalid_model": f"the model is not a realtime model: use {' or '.join(REALTIME_MODELS[:2])}",
    "model_not_found": f"the model does not exist, or this key may not use it: use {REALTIME_MODELS[0]}; older models "
    "are switched off",
    "server_error": OUT_OF_ORDER,
    "internal_error": OUT_OF_ORDER,
    "inference_service_unavailable_error": "the service's model did not answer: retry later; if only long "
    "conversations fail (in the report: Failures by context length), give its support the turns of that section",
    "insufficient_quota": NO_CREDIT,
    "inference_not_authorized_error": "the key is restricted: permit it to use the Realtime API, or use another key",
}
"""The remedies by the error code of the service."""
CLASSES = {
    "connect_failed": "the service refuses the connection: see its message",
    "closed": "the service closed the connection: see its close code and reason",
    "protocol_error": "the answers are not those of a realtime service: check the URL, and whether a proxy changes "
    "messages",
    "session_expired": "the session reached the service's maximum duration: shorten the script, or continue its calls "
    "in another session (`renew_after`)",
    "failed": "the service reports an error: fix the setting that its message names; otherwise retry and check the "
    "service's status page",
    "incomplete": "the service cut the reply, for example by its content filter: see its message",
    "timeout": "the service did not continue in time: try fewer sessions; if a single one is not faster, check its "
    "status page, or raise the script's `timeouts`",
    "limit_exceeded": "no real reply is that long: check that it is a realtime service, and that its replies end if "
    "there is only one caller",
    "throttled": "the quota is spent: start fewer sessions at a time (-u, --connect-rate), shorten the turns, or "
    "raise the quota",
}
UNEXPECTED = (
    "an event that the script expects was not received in time: check that the session requests it "
    "(`input_transcription`, `tools`), and that `within` is long enough"
)
TONES = (
    "the agent was not connected, or sends only tones, which are no reply: check in its log whether it answered the "
    "call, and whether it speaks"
)
REPORTED = {
    "timeout:end_of_turn": {
        UNHEARD: "a service that detects turns reports `turn_detection` in session.updated; if it cannot detect "
        "turns, let the client commit the audio (`turn_detection: none`; in a probe --manual-commit)",
    },
    "timeout:first_delta": {
        NO_MESSAGE: "the agent accepts the call and sends nothing: it may expect the messages of another provider "
        "(--dialect) or a parameter (`extra`); see its log",
        NO_PACKET: "the agent stopped sending audio during the call: see its log",
        NO_AUDIO: "the agent sends messages, but no audio in the form of this dialect: it may expect another provider "
        "(--dialect twilio, acs or pcm)",
        ONLY_TONES: TONES,
        INAUDIBLE: "the agent's audio is never louder than its background: check that it supports this input format "
        "(`input_format`), that it sends the expected format (`output_format`), and that it answers by itself; see "
        "its log",
    },
    NO_SOUND: {ONLY_TONES: TONES},
    "timeout:response": {NO_PAUSE: ENDLESS},
    "timeout:turn": {NO_PAUSE: ENDLESS},
    "timeout:session": {
        "session.updated was not received": "the service sent session.created, but did not confirm the settings: "
        "check that it supports them (`session`, `extra`, --dialect)",
    },
    "failed:invalid_parameter": {
        "transcription session": "sessions that only transcribe have an address of their own, with "
        "intent=transcription and without a model: use it together with `output: transcript`, and no other",
    },
    "failed:no_audio": {
        TEXT_SESSION: "the service sends only text: check that its model supports audio output, and that the "
        "service reads the settings of this dialect (--dialect)",
    },
    "failed:load_generator": {LOOKUPS_FULL: NO_RESOLVER},
    "connect_failed:upgrade": {
        ACCEPT_HEADER: "this is the answer to another request: it comes from a cache or proxy on the way that does "
        "not support WebSockets, or from a server with a wrong handshake (RFC 6455 §4.2.2)",
        "the connection broke": "the server closed the connection at the upgrade: a proxy may not support WebSockets",
    },
    "closed:1006": {
        NO_READ: "the peer stopped reading for 10 s, so this tool ended the connection: check whether it is "
        "overloaded, and whether a proxy on the way buffers",
    },
    "connect_failed:proxy": {OTHER_LOGIN: OTHER_PROXY_LOGIN},
    "connect_failed:dns": {"emporary failure": NO_RESOLVER},
    "connect_failed:tcp": {
        "Network is unreachable": NO_WAY,
        "No route to host": NO_WAY,
        "Cannot assign requested address": "this machine has no local port left for that address: run fewer sessions "
        "at a time, or use more machines",
        "Too many open files": "this process has reached its limit of open files: raise `ulimit -n`",
    },
    "throttled": {"insufficient_quota": NO_CREDIT},
}
"""The remedies for outcomes whose detail contains a known text.

The first key is the outcome, or its part before the colon. The second key is the text in the detail.
"""


@dataclass(frozen=True, eq=False)
class OwnRemedies:
    """The remedies of one kind of service, which precede those of all services.

    `reported` has the form of `REPORTED`. `of_refusal` returns the remedy for the detail of a refusal; "" if there is
    none. It is None if the refusals are HTTP statuses. `in_doctor` are the remedies, by outcome, for the calls of
    `rtbench doctor`, in place of the general ones.
    """

    reported: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    of_refusal: Callable[[str], str] | None = None
    in_doctor: Mapping[str, str] = field(default_factory=dict)


NO_OWN = OwnRemedies()
_NOT_OFFERED = re.compile(rf"(subprotocol|extension) (\S+){NOT_OFFERED}")
NOT_COMPUTED = "the remedy could not be determined, because of a bug of this tool: report it, with the message above"
"""The remedy if its computation fails. The other parts of a report do not depend on it."""


def computed(remedy: Callable[Inputs, str]) -> Callable[Inputs, str]:
    """Return a function that returns NOT_COMPUTED if `remedy` raises an error.

    Remedies search texts of a peer, who may send anything. An error must not prevent a report.
    """

    @wraps(remedy)
    def remedy_or_note(*args: Inputs.args, **kwargs: Inputs.kwargs) -> str:
        try:
            return remedy(*args, **kwargs)
        except Exception:
            return NOT_COMPUTED

    return remedy_or_note


@computed
def remedy_of(outcome: str, detail: str = "", own: OwnRemedies = NO_OWN) -> str:
    """Return what to do about an outcome; "" if the outcome is no failure, or no remedy is known.

    `detail` is the detail of the outcome. `own` are the remedies of the dialect.
    """
    kind, _, cause = outcome.partition(":")
    if outcome_class(outcome) != "failed":
        return ""
    if outcome == "connect_failed:tls" and (own_remedy := detail.partition("; ")[2]):
        return own_remedy
    if outcome == "connect_failed:upgrade" and (found := _NOT_OFFERED.search(detail)):
        is_subprotocol = found[1] == "subprotocol"
        return f"set `subprotocols: {found[2]}` in targets.yaml" if is_subprotocol else "set --compression deflate"
    tables = own.reported, REPORTED
    remedies = next((table[key] for key in (outcome, kind) for table in tables if key in table), {})
    if remedy := next((remedy for pattern, remedy in remedies.items() if pattern in detail), ""):
        return remedy
    if own.of_refusal is not None and (remedy := own.of_refusal(detail)):
        return remedy
    if SERVICE_REPORTED in detail:
        return OF_CODES.get(detail.partition(SERVICE_REPORTED)[2].partition(":")[0], CLASSES["failed"])
    if outcome.startswith(EXPECTED):
        return UNEXPECTED
    if outcome == "connect_failed:404" and own.of_refusal is None and NO_DEPLOYMENT not in detail:
        return NO_PATH
    if kind == "connect_failed" and (refused_with := refusal_status(outcome)) is not None:
        return OUT_OF_ORDER if refused_with >= 500 else DOCTOR
    of_code = OF_CODES.get(cause, "") if kind in ("failed", "connect_failed") else ""
    return OF_OUTCOMES.get(outcome) or of_code or CLASSES.get(cause if cause == "session_expired" else kind, "")
