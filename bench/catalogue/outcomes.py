"""The table of outcomes: the class, the text and the remedy of each. It holds for any service.
Pure.

An outcome is a word with a family and a code, such as `timeout:first_delta`, which `parsed` takes
apart. The key of a row is the outcome, or its family, whose row holds for all outcomes that have no
row of their own. A remedy is found by the outcome, and by its causes: the codes below, or the error
code of the service. `rtbench doctor` has more specific remedies,
because it knows the target. docs/metrics.md, "Outcomes", lists the outcomes for users.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache, wraps
from typing import Literal, NamedTuple, ParamSpec

from bench.catalogue.causes import Cause, Code, codes_in, numbers_of, report_in, text_of
from bench.catalogue.refusals import AT_LIMIT, CAPACITY, CLOSE, HANDSHAKE, NO_CREDIT, named_cause

CANCELLED_SPLIT = "cancelled:turn_detected"
"""The outcome of a turn whose reply the service cancelled because the caller went on speaking, or
because of a sound. A turn that is divided ends before its second commit."""
NO_REPLY = "timeout:first_delta"
ABANDONED = "abandoned"
"""The outcome of a turn whose caller heard nothing for its `patience`, and hung up."""

# An outcome answers one question: what ended the turn or session. Its class answers another one:
# how it counts. "failed" counts in the rates of errors. "unfinished" counts in none, because the
# run, this machine or a missing measurement is the reason, and to count it as an error or a success
# would be an invention.
#
# An outcome is stored as a text, with a code after the colon that a service may have chosen. So old
# rows, and codes that no version knew, must be readable, too: a family that is unknown is
# `Family.UNKNOWN`, and never an error.
Inputs = ParamSpec("Inputs")
OutcomeClass = Literal["success", "failed", "unfinished"]

STARVED = "starved"
"""The outcome if this process did not run when a limit ended, so that it is unknown whether the
limit was met."""
EXPIRED = "session_expired"
EXPECTED = "failed:missing_"
"""The outcome if an expected event was not received, without the name of the event, which
follows."""
UNDONE_TASK = "failed:delegation"
HOLD = "failed:hold"
UNSENT = "failed:unsent"
"""The outcomes of a turn whose speech was not sent: the agent held the call, or this machine
could not send."""
OWN_FAULT = "failed:load_generator"
"""The outcome of a session that failed because of a fault of this tool or of this machine."""
HANG_UP = "failed:hung_up"
"""The outcome of an answered telephone call that this tool ended before the end of the script."""
BUSY = "busy"
"""The outcome of a call that the script lets this tool refuse as a busy line."""
NO_MEDIA = "timeout:media"
NO_SOUND = "timeout:sound"
"""The outcomes of an answered telephone call in which nothing was audible until the first limit: no
packet with audio was received, or all packets had silence, even noise, or tones."""

IDLE_REMEDY = (
    "the service, or a load balancer, proxy or firewall on the way, seems to end connections"
    " without messages: see in the message after how long, and raise the idle timeout there, or"
    " shorten the pause (this tool sends a ping after 20 s without a byte)"
)

ENDED_STREAM = (
    "HTTP/2 does not tell whether the service or a proxy on the way ended the stream: if a proxy is"
    " there, compare how long the reply had stalled with its time limits, and raise them (HAProxy"
    " `timeout server` and `timeout client`, nginx `grpc_read_timeout`), or call the service"
    " without it; otherwise see the log of the service"
)

# Remedies recommend the first one or two, so the list begins with the models that are available.
REALTIME_MODELS = (
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-2",
    "gpt-realtime-1.5",
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-4o-realtime-preview",
    "gpt-4o-mini-realtime-preview",
)
"""The models with speech output, from the newest to the oldest."""
AGENT_DIALECTS = "twilio, acs or pcm"
"""The dialects of agents on a WebSocket, for texts. `bench.services.agents` has the dialects."""
NO_PROXY = (
    "the proxy does not answer: check its URL (--proxy, HTTPS_PROXY), and that this machine may"
    " reach it"
)
OTHER_PROXY_LOGIN = (
    "this tool signs in to proxies only with user and password (Basic), not by NTLM or Kerberos:"
    " let a local proxy such as px or cntlm sign in, and set --proxy to its URL"
)
ENDS_CONNECTIONS = (
    "the service, or a gateway in front of it, ends connections early at this address: check host"
    " and path, and its log"
)
OUT_OF_ORDER = "the service has an internal error: retry later, and check its status page"
NO_DEPLOYMENT = "DeploymentNotFound"
NO_QUOTA = "insufficient_quota"
"""Error codes of services: the path exists, but the deployment does not; the account has no
credit."""
NO_ACCOUNT = "the service has closed this account: ask its support, or use the key of another one"
TONES = (
    "the agent was not connected, or sends only tones, which are no reply: check in its log whether"
    " it answered the call, and whether it speaks"
)
TURN_LOGIN_REMEDY = (
    "the TURN server does not know this user and password: set the variable that --turn-login-env"
    " names to user:password; a login that a service issues is valid for a short time"
)
TURN_SILENT_REMEDY = (
    "check host and port of the TURN server (--turn-server), and that a firewall passes its"
    " packets; where UDP is blocked, reach it over TCP: turn:HOST:PORT?transport=tcp, or turns:HOST"
)
TURN_NO_TLS_REMEDY = (
    "the port of the TURN server may be one without TLS: use its port for TLS (turns:HOST:5349), or"
    " no TLS: turn:HOST:PORT?transport=tcp"
)
DOCTOR = (
    "run `rtbench doctor` with the same --url or --targets, and key: it checks each step of the"
    " connection, and prints what to do about the first step that fails"
)
NO_KEY = "no key was sent: name the variable that contains it: --api-key-env NAME"
REFUSED_KEY = (
    "copy the key of this resource again into its variable (that of --api-key-env, if it is given);"
    " with Entra ID, check role, tenant and this machine's clock; `rtbench doctor` with the same"
    " --url or --targets names the cause"
)
NO_PATH = (
    "the server has no such path: set the path at which it accepts calls, by --url or `url` of the"
    " target"
)
NO_RESOLVER = (
    "the DNS resolver does not answer: check /etc/resolv.conf and the VPN, or set the address:"
    " --resolve ADDRESS"
)
NO_WAY = (
    "this machine has no route to that address: check its network, VPN, and IPv6, or set another"
    " address: --resolve ADDRESS"
)
ENDLESS = (
    "the audio has no silence that ends a reply (`reply_silence_ms`), for example because of"
    " background music or voices: configure silence between its answers"
)
NO_COMMON_AUDIO = (
    "the agent accepts none of the offered audio formats: configure it for PCMU or PCMA, and set no"
    " `codec` (--codec), so that both are offered; if it requires encrypted audio, set `srtp:"
    " required` (--srtp), and if it has none, `srtp: none`"
)


OF_IGNORED_SETTING = "{}, so such turns fail: tell its owner, or request what it does"
NO_LAST_EVENT = (
    "the service sends replies completely, but not the response.done after them: this is a fault of"
    " the server, which no limit corrects; give its owner the ids of the session and of the"
    " response"
)


class Family(StrEnum):
    """What outcomes with different codes have in common: the word before the colon."""

    OK = "ok"
    INTERRUPTED = "interrupted"
    RENEWED = "renewed"
    BUSY = "busy"
    UNFINISHED = "unfinished"
    STARVED = "starved"
    EXHAUSTED = "exhausted"
    """A limit of this machine prevented the call or the turn. The code is the resource."""
    FAILED = "failed"
    TIMEOUT = "timeout"
    ABANDONED = "abandoned"
    LIMIT_EXCEEDED = "limit_exceeded"
    CONNECT_FAILED = "connect_failed"
    """The session never opened. The code is the refused step, or the status of the refusal."""
    SESSION_EXPIRED = "session_expired"
    CLOSED = "closed"
    PROTOCOL_ERROR = "protocol_error"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    WRONG_FUNCTION_CALL = "wrong_function_call"
    THROTTLED = "throttled"
    """A limit of the service, on requests, connections or tokens."""
    UNKNOWN = ""
    """The outcome of another version of this tool, in a stored row."""


class OutcomeParts(NamedTuple):
    """An outcome, taken apart. The code is "" if the family has a single outcome."""

    family: Family
    code: str
    expected_event: str
    """The name of the expected event that did not come; "" for all other outcomes."""

    @property
    def is_overdue(self) -> bool:
        """True if an event did not arrive in time."""
        return self.is_timeout or self.expected_event != ""

    @property
    def is_timeout(self) -> bool:
        """True if a limit ended the session: one of the service, or the patience of the caller."""
        return self.family in (Family.TIMEOUT, Family.ABANDONED)

    @property
    def ends_session(self) -> bool:
        """True if the outcome of a turn also ends the session, whose later results would be
        wrong.
        """
        return self in _ENDS_SESSION or self.family in _ENDING_FAMILIES


@lru_cache(maxsize=1024)  # a service can send any number of codes
def parsed(outcome: str) -> OutcomeParts:
    """Return the parts of an outcome."""
    word, _, code = outcome.partition(":")
    family = Family(word) if word in _FAMILIES else Family.UNKNOWN
    # the prefix alone is the key of a row, and no outcome
    is_expected = len(outcome) > len(EXPECTED) and outcome.startswith(EXPECTED)
    return OutcomeParts(family, code, outcome.removeprefix(EXPECTED) if is_expected else "")


_FAMILIES = frozenset(Family)
_ENDING_FAMILIES = frozenset({Family.PROTOCOL_ERROR, Family.LIMIT_EXCEEDED})
_ENDS_SESSION = frozenset({parsed(UNDONE_TASK)})
_REFUSES = frozenset({Family.CLOSED, Family.CONNECT_FAILED, Family.THROTTLED})


class OutcomeRow(NamedTuple):
    """A row of the table.

    `text` is the meaning of the outcome, and `of_session` its meaning for sessions, if that
    differs. `causes` maps a cause to its remedy, which precedes `remedy`. Without
    text or remedy, those of the code's beginning hold.
    """

    text: str = ""
    remedy: str = ""
    causes: Mapping[Code, str] = {}
    kind: OutcomeClass = "failed"
    of_session: str = ""


# Text and remedy of a row are inherited, and its class is not. A row without a text has that of its
# family, so a specific row states only what differs. The class is always that of the row itself,
# and an outcome without a row has failed. So each row of an unfinished outcome states its class:
# without it, a limit of this machine would count as an error of the service.
#
# The causes of a row are ordered. If an outcome has several of them, the first one of the row
# determines the remedy. A row with causes replaces the causes of its family.
OUTCOMES: Mapping[str, OutcomeRow] = {
    "ok": OutcomeRow(
        "completed, with the kind of output that was requested",
        kind="success",
        of_session="opened, completed its script, and was closed by the load generator",
    ),
    "interrupted": OutcomeRow("cancelled because the script interrupted it", kind="success"),
    "renewed": OutcomeRow(
        "the service's age limit for sessions was reached, and the call renewed it", kind="success"
    ),
    BUSY: OutcomeRow(
        "the agent called, and the line was busy, as the script requires", kind="success"
    ),
    "unfinished": OutcomeRow(
        "started, cut by the end of the run",
        kind="unfinished",
        of_session="cut by the end of the run",
    ),
    STARVED: OutcomeRow(
        "unknown: the load generator was not running when a time limit expired", kind="unfinished"
    ),
    "exhausted": OutcomeRow(
        "prevented by a limit of this machine, which is no failure of the service",
        kind="unfinished",
    ),
    "exhausted:ports": OutcomeRow(
        "not made: this machine had no free local port",
        "this machine has no local port left for that address: run fewer sessions at a time, or use"
        " more machines",
        kind="unfinished",
        causes={
            Code.NO_PAIR: (
                "use more UDP ports for audio (--rtp-ports), or run fewer sessions at a time"
            ),
        },
    ),
    "exhausted:files": OutcomeRow(
        "not made: this process, or this machine, had reached its limit of open files",
        "this process has reached its limit of open files: raise `ulimit -n`",
        kind="unfinished",
        causes={
            Code.FILES_OF_SYSTEM: (
                "this machine has reached its limit of open files: raise it (sysctl fs.file-max),"
                " or run fewer sessions at a time"
            ),
        },
    ),
    "exhausted:memory": OutcomeRow(
        "not made: this machine, or its container, had no memory left",
        "no memory is left: run fewer sessions at a time, or give this machine or its container"
        " more memory (`ulimit -v`)",
        kind="unfinished",
    ),
    "exhausted:threads": OutcomeRow(
        "not made: no more threads could be started",
        "no more threads can be started: raise the limit of processes (`ulimit -u`, or that of the"
        " container), or of memory (`ulimit -v`)",
        kind="unfinished",
    ),
    "failed": OutcomeRow(
        "the response failed, or an error event referred to it",
        "the service reports an error: fix the setting that its message names; otherwise retry and"
        " check the service's status page",
    ),
    "failed:no_audio": OutcomeRow(
        "completed, but without the requested audio",
        "no audio was received, although it was requested: check that the deployment's model"
        " supports audio output",
        causes={
            Code.TEXT_SESSION: (
                "the service sends only text: check that its model supports audio output, and that"
                " the service reads the settings of this dialect (--dialect)"
            ),
        },
    ),
    "failed:inaudible": OutcomeRow(
        "completed, but nothing in the requested audio was audible (only silence, clicks, or even"
        " noise)",
        "the service sends audio without sound: check its voice and that it sends the expected"
        " format (`output_format`); listen to it with `rtbench probe --save-audio FILE`",
    ),
    "failed:no_text": OutcomeRow(
        "completed, but without the requested text",
        "no text was received, although it was requested: check that the service supports the"
        " settings that request text",
    ),
    "failed:transcription": OutcomeRow(
        "the service could not transcribe the audio",
        "the service could not transcribe what it committed: see its message, and check the model"
        " of `input_transcription` (on Azure the deployment)",
    ),
    "failed:no_transcript": OutcomeRow(
        "the transcript has no words",
        "the model found no words in the recording: check its format (`input_format`) and its"
        " language (`languages`)",
    ),
    "failed:unknown": OutcomeRow(
        "the response failed, or an error event referred to it, without a code",
        "the service names no code of its error: see its message, if it has one, and check its"
        " status page; otherwise give its owner the ids of the session and of the response",
    ),
    "failed:unknown_status": OutcomeRow(
        "the response ended without a status, or with one that the protocol does not define",
        "the server does not follow the protocol: tell its owner that response.done needs a"
        " `status`: completed, cancelled, incomplete or failed",
    ),
    UNDONE_TASK: OutcomeRow(
        "the service delegated a task to the client, which could not do it",
        "declare functions in the script (`tools`), whose outputs become the result of the task, or"
        " let a backend of the service do it (`delegation: {type: responses, …}`)",
    ),
    "failed:mcp_list_tools": OutcomeRow(
        "the service could not list the tools of an MCP server",
        "the service cannot get the tools of an MCP server: check its `url`, `connector_id` or"
        " `tunnel_id`, its access token (`authorization_env`), whether the service can reach it,"
        " and the names in `allowed_tools`",
    ),
    "failed:mcp_approval": OutcomeRow(
        "the service asked for the approval of an MCP call, which the script does not give",
        "set `require_approval: never` in `mcp_servers`, or `approve: true`, if the calls may be"
        " made without a person",
    ),
    OWN_FAULT: OutcomeRow(
        "a fault of this tool, not of the service",
        "this is a bug of this tool: report it, with its message",
        causes={
            Code.LOOKUPS_FULL: NO_RESOLVER,
        },
    ),
    HOLD: OutcomeRow(
        "the agent held the call while the caller spoke, so the speech was not sent",
        "the agent holds calls (SDP `a=sendonly`, `a=inactive`, or the address 0.0.0.0), and"
        " callers on hold are silent: check in its log why; if it is right, let the caller speak"
        " later (`pause`)",
    ),
    UNSENT: OutcomeRow(
        "this machine could not send the caller's speech",
        "this machine has no way to the address in the agent's SDP, or a firewall on it refuses the"
        " packets: see the reason, and let the agent name an address that this machine reaches"
        " (Asterisk: `external_media_address`)",
    ),
    HANG_UP: OutcomeRow(
        "this tool ended the telephone call, for the reason in the message",
        "the agent broke a rule or a limit of the call: see the reason in the message, and the log"
        " of the agent",
    ),
    "failed:backend_failed": OutcomeRow(
        remedy=(
            "the model of `delegation` reports an error: see its message; check that its name is"
            " right, and that your account may use it"
        )
    ),
    "failed:invalid_parameter": OutcomeRow(
        causes={
            Code.ONLY_TRANSCRIBES: (
                "sessions that only transcribe have an address of their own, with"
                " intent=transcription and without a model: use it together with `output:"
                " transcript`, and no other"
            ),
        }
    ),
    EXPECTED: OutcomeRow(
        "the script expected {}, which did not occur",
        "an event that the script expects was not received in time: check that the session requests"
        " it (`input_transcription`, `tools`), and that `within` is long enough",
    ),
    "timeout": OutcomeRow(
        "nothing was received within the time limit of this stage",
        "the service did not continue in time: try fewer sessions; if a single one is not faster,"
        " check its status page, or raise the script's `timeouts`",
    ),
    NO_MEDIA: OutcomeRow(
        "a call was answered, and no RTP packet with audio was received",
        "a firewall or NAT drops the agent's RTP, or the agent sends it to another address: open"
        " the UDP ports 16384 to 32767 (or --rtp-ports) of this machine, and check to which address"
        " the agent sends RTP; if the agent waits for its caller, remove `wait_for: greeting`",
        causes={
            Code.OTHER_TYPES: (
                "the agent sends audio of another codec than its answer names: let it send the"
                " codec of its answer, or offer it the codec that it sends (`codec` of the target,"
                " --codec)"
            ),
            Code.OTHER_KEY: (
                "the agent encrypts its audio with another key than that of its answer: see its"
                " log, and check whether a server on the way changes the answer"
            ),
        },
    ),
    NO_SOUND: OutcomeRow(
        "a call was answered, and nothing in its audio was audible",
        "the agent sends silence: check in its log whether its speech output works, and whether it"
        " hears the caller; if it waits for its caller, remove `wait_for: greeting`",
        causes={
            Code.ONLY_TONES: TONES,
        },
    ),
    NO_REPLY: OutcomeRow(
        "no reply started within the time limit (a missing or a late reply)",
        "the service did not reply in time: try fewer sessions; if replies are also missing with a"
        " single one, the service misses turns: tell its owner, or choose another model; if they"
        " only come late, raise `first_delta` of the script's `timeouts`",
        causes={
            Code.NO_MORE_ITEMS: (
                "the reply began, and its next part did not come: try fewer sessions; if replies"
                " also stop with a single one, tell the owner of the service; if the part only"
                " comes late, raise `first_delta` of the script's `timeouts`"
            ),
            Code.NO_MESSAGE: (
                "the agent accepts the call and sends nothing: it may expect the messages of"
                " another provider (--dialect) or a parameter (`extra`); see its log"
            ),
            Code.NO_PACKET: "the agent stopped sending audio during the call: see its log",
            Code.NO_AUDIO: (
                "the agent sends messages, but no audio in the form of this dialect: it may expect"
                f" another provider (--dialect {AGENT_DIALECTS})"
            ),
            Code.ONLY_TONES: TONES,
            Code.INAUDIBLE: (
                "the agent's audio is never louder than its background: check that it supports this"
                " input format (`input_format`), that it sends the expected format"
                " (`output_format`), and that it answers by itself; see its log"
            ),
        },
    ),
    "timeout:next_delta": OutcomeRow(
        "the reply stalled: neither a delta nor its end came within the time limit",
        causes={
            Code.REPLY_COMPLETE: NO_LAST_EVENT,
        },
    ),
    "timeout:turn": OutcomeRow(
        "the turn, with all its responses, did not end within the time limit",
        "the turn had too many responses for its timeout, or too slow ones: check what its"
        " functions return, and how long they run, or raise `turn` among the script's `timeouts`",
        causes={
            Code.NO_PAUSE: ENDLESS,
        },
    ),
    "timeout:response": OutcomeRow(
        "the reply did not end within the time limit",
        "if replies are long, raise `response` among the script's `timeouts`, or lower"
        " `max_output_tokens`; if they are short, try fewer sessions",
        causes={
            Code.NO_PAUSE: ENDLESS,
            Code.REPLY_COMPLETE: NO_LAST_EVENT,
        },
    ),
    "timeout:end_of_turn": OutcomeRow(
        "the service's VAD detected no end of speech within the time limit",
        "the VAD takes noise above its threshold for speech: use a quieter recording, or set a"
        " higher threshold",
        causes={
            Code.UNHEARD: (
                "a service that detects turns reports `turn_detection` in session.updated; if it"
                " cannot detect turns, let the client commit the audio (`turn_detection: none`; in"
                " a probe --manual-commit)"
            ),
        },
    ),
    "timeout:session": OutcomeRow(
        "session.created, session.updated or mcp_list_tools.completed was not received within the"
        " time limit",
        "the upgrade was accepted, but no session.created was received: the path may be that of"
        f" another service, or of an agent (set --dialect {AGENT_DIALECTS}), or the model may still"
        " be loading",
        causes={
            Code.SETTINGS_UNCONFIRMED: (
                "the service sent session.created, but did not confirm the settings: check that it"
                " supports them (`session`, `extra`, --dialect)"
            ),
        },
    ),
    "timeout:proxy": OutcomeRow("the proxy did not respond within the time limit", NO_PROXY),
    "timeout:dns": OutcomeRow(remedy=NO_RESOLVER),
    "timeout:tcp": OutcomeRow(
        remedy=(
            "no response: a firewall may drop the packets; open port 443 to this host, or set a"
            " proxy: --proxy URL"
        )
    ),
    "timeout:tls": OutcomeRow(
        remedy=(
            "the server accepts the connection and does not answer: a proxy may inspect TLS, or the"
            " server does not use TLS"
        )
    ),
    "timeout:upgrade": OutcomeRow(
        remedy=(
            "the server accepts the connection and does not answer: a proxy on the way may not"
            " support WebSockets"
        )
    ),
    "limit_exceeded": OutcomeRow(
        "the service sent more for one turn than is plausible",
        "no real reply is that long: check that it is a realtime service, and that its replies end"
        " if there is only one caller",
    ),
    "limit_exceeded:calls": OutcomeRow(
        "the service called functions again and again",
        "the service calls functions again after each result: if `session` has `tool_choice:"
        " required`, set it on the turn instead; otherwise check that the results contain what the"
        " model asked for",
    ),
    "limit_exceeded:responses": OutcomeRow("more responses to one turn than are plausible"),
    "limit_exceeded:items": OutcomeRow("more parts in one reply than are plausible"),
    "limit_exceeded:events": OutcomeRow("more events for one turn than are plausible"),
    "limit_exceeded:bytes": OutcomeRow("more bytes for one turn than are plausible"),
    "limit_exceeded:marks": OutcomeRow("the agent sent more marks than are plausible in a call"),
    "limit_exceeded:audio": OutcomeRow("the agent sent more unplayed audio than is plausible"),
    "connect_failed": OutcomeRow(
        "no session was opened",
        "the service refuses the connection: see its message",
        causes={
            Code.SIGN_IN_PAGE: (
                "a gateway in front of the service asks for a sign-in in a browser: let it pass"
                " this path with the header of a key or token (--api-key-env, `headers`), or use"
                " the address behind it"
            ),
            Code.REDIRECTS: (
                "if that address is one of the service, use it (--url, or `url` of the target);"
                " redirections are not followed, because each call would wait for them, and"
                " another host must not get the key"
            ),
        },
    ),
    "connect_failed:token": OutcomeRow(
        "no token for the sign-in was obtained",
        "the token could not be renewed: see the message; run `az login` again, or check the"
        " identity endpoint",
        causes={
            Code.ASSERTION_EXPIRED: (
                "the token with which the job signed in has expired (after 5 to 10 minutes): run"
                " `az account get-access-token --scope SCOPE` (`scope` of the target) in the first"
                " minutes of the job, or use a federation that lives longer (`auth:"
                " workload_identity`)"
            ),
            **dict.fromkeys(
                (Code.NEEDS_MFA, Code.NEEDS_MFA_SETUP),
                "the tenant requires multi-factor authentication: run `az login --scope SCOPE`"
                " (`scope` of the target) with a person at the screen; in a job use a service"
                " principal, a managed identity, or a key",
            ),
            **dict.fromkeys(
                (Code.SECRET_EXPIRED, Code.SECRET_WRONG),
                "make a new secret of the application in Microsoft Entra ID, and set its variable"
                " to the value of the secret (not to its id)",
            ),
            Code.ENTRA_UNREACHED: (
                "this machine does not reach Microsoft Entra ID: check its network, and HTTPS_PROXY"
                " and REQUESTS_CA_BUNDLE, which `az` reads (it does not use --proxy and --ca-file)"
            ),
            Code.OF_SUBSCRIPTION: (
                "choose a subscription that this sign-in has: `az account list`, then `az account"
                " set --subscription NAME`"
            ),
        },
    ),
    "connect_failed:host": OutcomeRow(
        "the peer named another host for the call, to which nothing may be sent",
        "the agent runs on this machine, and names another host: let it name this machine, or"
        " permit the host with --yes, or in `call_hosts` of the target (--call-hosts)",
    ),
    "connect_failed:proxy": OutcomeRow(
        "the proxy did not open a tunnel to the host",
        "the proxy refuses the connection: see its message; it may require user and password in its"
        " URL, or forbid this host or port",
        causes={
            Code.OTHER_LOGIN: OTHER_PROXY_LOGIN,
        },
    ),
    "connect_failed:dns": OutcomeRow(
        "the host name could not be resolved",
        "this name cannot be resolved: check the host of the URL or endpoint; a private network"
        " needs a DNS zone that contains it",
        causes={
            Code.NO_RESOLVER: NO_RESOLVER,
        },
    ),
    "connect_failed:tcp": OutcomeRow(
        "the host did not accept a TCP connection",
        "no server listens on this port, or a firewall rejects the connection: check the port, and"
        " that this machine may reach it",
        causes={
            Code.UNREACHABLE: NO_WAY,
            Code.NO_ROUTE: NO_WAY,
            Code.NO_ADDRESS: NO_WAY,
        },
    ),
    "connect_failed:tls": OutcomeRow(
        "the TLS handshake failed",
        "check that a TLS server listens on this port; if a proxy inspects TLS, or the CA is"
        " private, give the CA's PEM file: --ca-file FILE",
    ),
    "connect_failed:refused": OutcomeRow(
        "the agent refused the offer of a call in its answer",
        "the agent refuses the offer: see its message, and its log",
    ),
    "connect_failed:401": OutcomeRow("the service did not accept the key or token", REFUSED_KEY),
    "connect_failed:402": OutcomeRow("the service wants to be paid first", NO_CREDIT),
    "connect_failed:403": OutcomeRow("the service refused access"),
    "connect_failed:404": OutcomeRow("the service has no such deployment or path"),
    "connect_failed:media": OutcomeRow(remedy=NO_COMMON_AUDIO),
    # A gateway reports so that the service has refused the gateway. Only its text has the status.
    "connect_failed:server_error": OutcomeRow(
        remedy=(
            f"{OUT_OF_ORDER}; if a gateway names an HTTP status from 400 to 499 in the message,"
            " correct the service's address, deployment or key in the gateway's configuration"
        )
    ),
    "connect_failed:relay": OutcomeRow(
        "the TURN server did not relay the call",
        "the TURN server refuses to relay the call: see its message, and its log",
        causes={
            Code.TURN_LOGIN: TURN_LOGIN_REMEDY,
            Code.TURN_FULL: (
                "the TURN server has no allocation left: raise its quota (coturn: `user-quota`,"
                " `total-quota`), or run fewer calls at a time; allocations of calls that broke end"
                " after their lifetime"
            ),
            Code.TURN_EXHAUSTED: (
                "the TURN server has no port left: widen its range of ports (coturn: `min-port`,"
                " `max-port`), or run fewer calls at a time"
            ),
            Code.TURN_REDIRECTS: (
                "set that server (--turn-server), or permit its host with --call-hosts: it gets the"
                " login, so a redirection is followed only to a host that you name, and only once"
            ),
            Code.TURN_UNSIGNED: (
                "another server than the TURN server may answer, or a device on the way changes"
                " its answers: check host and port (--turn-server), or reach it over TLS:"
                " turns:HOST"
            ),
            Code.TURN_FORBIDDEN: (
                "the TURN server may not relay to the agent's address: permit it there (coturn:"
                " `allowed-peer-ip`, or remove its `denied-peer-ip`)"
            ),
            Code.TURN_DISTRUSTED: (
                "set the certificate authority of the TURN server, or its own certificate if that"
                " is signed by itself, with --ca-file FILE"
            ),
            Code.TURN_OTHER_NAME: (
                "name the TURN server by a host that its certificate contains (--turn-server)"
            ),
            Code.TURN_NOT_VALID: (
                "the TURN server must renew its certificate, or this machine's clock is wrong"
            ),
            Code.TURN_NO_TLS: TURN_NO_TLS_REMEDY,
            Code.TURN_UNREACHED: TURN_SILENT_REMEDY,
        },
    ),
    "timeout:relay": OutcomeRow(
        "the TURN server did not answer within the time limit",
        TURN_SILENT_REMEDY,
        causes={
            Code.TURN_NO_TLS: TURN_NO_TLS_REMEDY,
        },
    ),
    "connect_failed:sip": OutcomeRow(
        remedy="the signalling of the call failed: see its message, and the log of the SIP server"
    ),
    "connect_failed:upgrade": OutcomeRow(
        remedy=(
            "another server than the service answers, or with another protocol: check that host"
            " and path are those of a realtime service"
        ),
        causes={
            Code.NOT_HTTP: (
                "another program answers there: check that host and port are those of the service,"
                " and that it uses TLS if the URL begins with https:// or wss://, and only then"
            ),
            Code.CLOSED_WITHOUT_ANSWER: ENDS_CONNECTIONS,
            Code.REQUEST_UNANSWERED: (
                "the server, or a gateway in front of it, ended the connection of the offer: check"
                " host and path, and its log"
            ),
            Code.NO_UPGRADE: (
                "the server that answers is not a WebSocket server: check that host and path are"
                " those of a realtime service"
            ),
            **dict.fromkeys(
                (Code.NO_ACCEPT_HEADER, Code.OTHER_ACCEPT_HEADER),
                "this is the answer to another request: it comes from a cache or proxy on the way"
                " that does not support WebSockets, or from a server with a wrong handshake (RFC"
                " 6455 §4.2.2)",
            ),
            Code.CONNECTION_BROKE: (
                "the server closed the connection at the upgrade: a proxy may not support"
                " WebSockets"
            ),
        },
    ),
    EXPIRED: OutcomeRow(
        "the service's age limit for sessions was reached",
        "the session reached the service's maximum duration: shorten the script, or continue its"
        " calls in another session (`renew_after`)",
    ),
    "closed": OutcomeRow(
        "the connection was closed during a turn",
        "the service closed the connection: see its close code and reason",
    ),
    "closed:1000": OutcomeRow(
        "the service closed normally, during a turn", causes={Code.IDLE_BEFORE: IDLE_REMEDY}
    ),
    "closed:1001": OutcomeRow(
        "the service closed because it restarted or removed the host from service",
        causes={Code.IDLE_BEFORE: IDLE_REMEDY},
    ),
    "closed:1008": OutcomeRow(
        "the service closed because a message violated its policy",
        "the service rejects what was sent, or who sent it: see its message",
    ),
    "closed:1009": OutcomeRow(
        "the service closed because a message was too large",
        "a message was too large for the service: use shorter chunks (`chunk_ms`), or smaller"
        " images",
    ),
    "closed:1011": OutcomeRow("the service closed because of an internal error", OUT_OF_ORDER),
    "closed:1006": OutcomeRow(
        "the connection ended without a close frame",
        "the service, or a proxy or firewall on the way, cut the connection: try again",
        causes={
            Code.TURN_SERVER: (
                "the TURN server that relayed the call ended it: see its message, and its log (was"
                " it restarted, or did a firewall drop its packets?)"
            ),
            Code.NO_READ: (
                "the peer stopped reading for 10 s, so this tool ended the connection: check"
                " whether it is overloaded, and whether a proxy on the way buffers"
            ),
            Code.IDLE_BEFORE: IDLE_REMEDY,
        },
    ),
    "closed:reset": OutcomeRow(
        "the connection was reset by the service or by the network",
        "the service, or a load balancer, proxy or firewall on the way, reset the connection: check"
        " whether the service restarted or rejected a message, and whether a device on the way ends"
        " old connections",
        causes={Code.IDLE_BEFORE: IDLE_REMEDY},
    ),
    "closed:timed_out": OutcomeRow(
        "the connection timed out: the peer stopped acknowledging data",
        "the peer stopped acknowledging packets: check that the network is up, and that no firewall"
        " or NAT on the way drops idle connections",
    ),
    "closed:end_stream": OutcomeRow(
        "the response ended before the reply did (HTTP/2 END_STREAM)",
        ENDED_STREAM,
        causes={Code.IDLE_BEFORE: IDLE_REMEDY},
        of_session="the response ended before the session did (HTTP/2 END_STREAM)",
    ),
    "closed:rst_stream": OutcomeRow(
        "the stream was cancelled before the session ended (HTTP/2 RST_STREAM)",
        ENDED_STREAM,
        causes={Code.STREAM_FAILED: OUT_OF_ORDER, Code.IDLE_BEFORE: IDLE_REMEDY},
    ),
    "closed:goaway": OutcomeRow(
        "the server, or a proxy on the way, shut the connection down (HTTP/2 GOAWAY)",
        "the server, or a proxy on the way, restarted, or ended an old connection: see the error"
        " code and the words in the message, and the log of the proxy; give open streams more time"
        " when it stops (HAProxy `hard-stop-after`, a load balancer's draining delay)",
        causes={Code.IDLE_BEFORE: IDLE_REMEDY},
    ),
    "closed:unreachable": OutcomeRow(
        "the connection failed: there was no route to the peer", NO_WAY
    ),
    "protocol_error": OutcomeRow(
        "the service sent data that is not valid in this protocol",
        "the answers are not those of a realtime service: check the URL, and whether a proxy"
        " changes messages",
    ),
    "protocol_error:base64": OutcomeRow(
        "the payload of an audio delta was not base64",
        "the service sends audio that is no base64: tell its owner, or check whether a gateway"
        " changes messages",
        causes={
            Code.BASE64_FORM: (
                "the service writes base64 in another form than the protocol (RFC 4648 §4: one"
                " line, with padding, with + and /): tell its owner, or check whether a gateway"
                " changes messages"
            ),
        },
    ),
    "protocol_error:frame": OutcomeRow("a WebSocket frame was not valid"),
    "protocol_error:too_large": OutcomeRow(
        "a message was larger than --max-message-mib allows",
        "if messages of that size are right, raise --max-message-mib",
    ),
    "protocol_error:json": OutcomeRow("an event was not valid JSON"),
    "protocol_error:dialect": OutcomeRow(
        "the service used another dialect than the configured one",
        "the service uses the other dialect: set --dialect, or `dialect` of the target",
    ),
    ABANDONED: OutcomeRow(
        "the caller heard no reply for the time of its patience, and hung up",
        "the reply came after the `patience` of the caller: see voice_to_voice for how late"
        " replies are; try fewer sessions",
    ),
    "cancelled": OutcomeRow(
        "the service cancelled the response without a request by the script",
        "the service ended its reply by itself: see the reason in the outcome; if it names none,"
        " give the owner of the service the ids of the session and of the response",
    ),
    CANCELLED_SPLIT: OutcomeRow(
        "the service began to reply before the caller had finished, and stopped because the speech"
        " continued (a cut-in); or a sound of the script stopped its reply",
        "the service took the turn too early: if the caller had paused, set a longer"
        " `silence_duration_ms`, or a lower `eagerness`, in `turn_detection`; some services also"
        " cut in where there is no pause",
    ),
    "incomplete": OutcomeRow(
        "the service cut the reply short",
        "the service cut the reply, for example by its content filter: see its message",
    ),
    "incomplete:content_filter": OutcomeRow("the service's content filter cut the reply"),
    "incomplete:max_output_tokens": OutcomeRow(
        "the reply reached its token limit",
        "the reply is longer than the session allows: raise `max_output_tokens` among its settings",
    ),
    "wrong_function_call": OutcomeRow(
        "the service called functions otherwise than the script expects",
        "the model called another function than expected, none, or with other arguments: see the"
        " message; let the `description` and the `parameters` of `tools`, or the instructions,"
        " state when to call which function; if the call was right, correct `expected_calls`",
    ),
    "throttled": OutcomeRow(
        "the service refused more at that time",
        AT_LIMIT,
    ),
    "throttled:response": OutcomeRow("the service returned a rate limit error"),
    HANDSHAKE: OutcomeRow(
        "the service took no more calls (HTTP status 429, close code 1013 before the session"
        " started, SIP status 480, 503 or 600, or a refusal whose words name a limit)"
    ),
    CAPACITY: OutcomeRow("the service stated that it has no capacity left, here or for this model"),
    CLOSE: OutcomeRow("the service closed the connection of a session, and named a limit"),
}
SUCCESSFUL, UNFINISHED = (
    frozenset(code for code, row in OUTCOMES.items() if row.kind == kind)
    for kind in ("success", "unfinished")
)
WHOLE = SUCCESSFUL | {STARVED}
"""The outcomes of turns with a complete reply. They include replies that may have been too late."""
PERMANENT = {
    "invalid_api_key": (
        "OpenAI does not know the key: copy it again into the variable that --api-key-env names"
    ),
    "beta_api_shape_disabled": "OpenAI has switched the preview off: use --dialect ga",
    "missing_model": f"the URL names no model: add ?model={REALTIME_MODELS[0]}",
    "invalid_model": f"the model is not a realtime model: use {' or '.join(REALTIME_MODELS[:2])}",
    "model_not_found": (
        f"the model does not exist, or this key may not use it: use {REALTIME_MODELS[0]}; older"
        " models are switched off"
    ),
    NO_QUOTA: NO_CREDIT,
    "billing_hard_limit_reached": (
        "the account has reached the limit of its spending: raise it on its billing page"
    ),
    "billing_not_active": NO_CREDIT,
    "account_deactivated": NO_ACCOUNT,
    "organization_deactivated": NO_ACCOUNT,
}
"""The remedies by those error codes of the service that no wait and no further call mends."""
PERMANENT_STATUSES = frozenset({401, 402})
CODES = PERMANENT | {
    "server_error": OUT_OF_ORDER,
    "internal_error": OUT_OF_ORDER,
    "inference_service_unavailable_error": (
        "the service's model did not answer: retry later; if only long conversations fail (in the"
        " report: Failures by context length), give its support the turns of that section"
    ),
    "conversation_already_has_active_response": (
        "another response was in progress when the script requested one, for example a response"
        " that nothing requested (`unrequested_responses`): check what else makes the service"
        " respond, or set a longer pause before this turn (`pause`)"
    ),
    "inference_not_authorized_error": (
        "the key is restricted: permit it to use the Realtime API, or use another key"
    ),
}
"""The remedies by the error code of the service."""


@dataclass(frozen=True, eq=False)
class OwnRemedies:
    """The remedies of one kind of service, which precede those of all services.

    `rows` has the form of `OUTCOMES`. `of_refusal` returns the remedy for the detail of a refusal;
    "" if there is none. It is None if the refusals are HTTP statuses. `in_doctor` are the remedies,
    by outcome, for the calls of `rtbench doctor`, in place of the general ones.
    """

    rows: Mapping[str, OutcomeRow] = field(default_factory=dict)
    of_refusal: Callable[[str], str] | None = None
    in_doctor: Mapping[str, str] = field(default_factory=dict)


NONE = "none"
NO_ROW = OutcomeRow()
NO_OWN = OwnRemedies()
_HTTP_STATUS = re.compile(r"HTTP \d{3}: ")
NOT_COMPUTED = (
    "the remedy could not be determined, because of a bug of this tool: report it, with the message"
    " above"
)
"""The remedy if its computation fails. The other parts of a report do not depend on it."""


def computed(remedy: Callable[Inputs, str]) -> Callable[Inputs, str]:
    """Return `remedy`, with NOT_COMPUTED for an error: a peer may send any text, and a report
    must not fail.
    """

    @wraps(remedy)
    def remedy_or_note(*args: Inputs.args, **kwargs: Inputs.kwargs) -> str:
        try:
            return remedy(*args, **kwargs)
        except Exception:
            return NOT_COMPUTED

    return remedy_or_note


def outcome_class(outcome: str) -> OutcomeClass:
    """Return the class of an outcome. Outcomes are, for example, `ok`, `timeout:first_delta` and
    `unfinished`.
    """
    return OUTCOMES.get(outcome, NO_ROW).kind


def refusal_status(outcome: str) -> int | None:
    """Return the HTTP status with which the service refused a session; None for other outcomes."""
    family, status, _ = parsed(outcome)
    if outcome in (HANDSHAKE, CAPACITY):
        # the outcome names no status: over SIP it may be 480, 503 or 600, and 429 represents all of
        # them
        return 429
    is_status = len(status) == 3 and status.isascii() and status.isdecimal()
    return int(status) if family is Family.CONNECT_FAILED and is_status else None


def is_own_limit(outcome: str) -> bool:
    """Return whether a limit of this machine prevented the call or the turn."""
    return parsed(outcome).family is Family.EXHAUSTED


def is_throttled(outcome: str) -> bool:
    """Return whether a limit of the service, on requests, connections or tokens, caused the
    outcome.
    """
    return parsed(outcome).family is Family.THROTTLED


def error_code(code: str, kind: str) -> str:
    """Return the code of an error; its type, if only the type says that the error is permanent."""
    return kind if kind in PERMANENT and code not in PERMANENT else code


def is_permanent(outcome: str, causes: Sequence[Cause]) -> bool:
    """Return whether the service refused for a reason that no wait and no further call mends."""
    family, code, _ = parsed(outcome)
    if family is Family.FAILED:
        return code in PERMANENT
    return family is Family.CONNECT_FAILED and (
        code in PERMANENT
        or code_of_service(causes) in PERMANENT
        or refusal_status(outcome) in PERMANENT_STATUSES
    )


def meaning(outcome: str, *, of_session: bool = False) -> str:
    """Return what an outcome means; "" if that is unknown."""
    row = OUTCOMES.get(outcome, NO_ROW)
    family, _, expected_event = parsed(outcome)
    if expected_event:
        return OUTCOMES[EXPECTED].text.format(expected_event)
    return (row.of_session if of_session else "") or row.text or OUTCOMES.get(family, NO_ROW).text


def detail_text(outcome: str, detail: str) -> str:
    """Return the detail for display after its outcome, without the error code that the outcome
    ends with.
    """
    parts = parsed(outcome)
    return detail.removeprefix(f"{parts.code or parts.family}: ")


def service_code(message: str) -> str:
    """Return the error code in a message of the service: the part before its first colon."""
    return _HTTP_STATUS.sub("", message, 1).partition(":")[0]


def code_of_service(causes: Sequence[Cause]) -> str:
    """Return the error code of the service in the causes of an outcome."""
    return service_code(report_in(causes) or text_of(causes))


def remedy_of_cause(remedies: Mapping[Code, str], causes: Sequence[Cause]) -> str:
    """Return the first of the remedies whose code the causes contain; "" if there is none."""
    codes = codes_in(causes) if remedies else ()
    return next((remedy for code, remedy in remedies.items() if code in codes), "")


def named_remedy(outcome: str, detail: str) -> str:
    """Return the remedy for what the words of a refusal name; "" if they name nothing that the
    table of refusals has.
    """
    # the remedies for status 401 know how the client signed in, and those of codes their cause
    family, code, _ = parsed(outcome)
    is_refusal = family in _REFUSES and code != "401" and code not in PERMANENT
    named = named_cause(detail) if is_refusal else None
    return "" if named is None else named.remedy


def version_remedy(causes: Sequence[Cause]) -> str:
    """Return the remedy for an api-version that the path of the request does not have; "" if it is
    none of the causes.
    """
    numbers = numbers_of(Code.OTHER_VERSION, causes)
    if numbers is None or code_of_service(causes) in PERMANENT:
        return ""
    version, known = numbers["version"], numbers["known"]
    if known == NONE:
        return f"remove the api-version {version} from the URL"
    return f"set the api-version to {known}{'' if version == NONE else f', not {version}'}"


# A remedy is looked up from the special to the general: what a cause says, first by
# the rows of the dialect, then by those of all services; the refusal of the service; its error
# code; the family. Three rules precede this order. The remedies for a certificate that is not
# trusted, for an api-version, and for an answer that chose what was not offered, are made from the
# numbers of their causes. A code that is permanent explains a refusal better than its HTTP status.
@computed
def remedy_of(outcome: str, causes: Sequence[Cause] = (), own: OwnRemedies = NO_OWN) -> str:
    """Return what to do about an outcome; "" if the outcome is no failure, or no remedy is known.

    `causes` are the causes of the outcome. `own` are the remedies of the dialect.
    """
    family, code, expected_event = parsed(outcome)
    row = OUTCOMES.get(outcome, NO_ROW)
    if row.kind != "failed" and not row.remedy:
        return ""
    if outcome == "connect_failed:tls" and (distrusted := numbers_of(Code.WITH_REMEDY, causes)):
        return str(distrusted["remedy"])
    if outcome == "connect_failed:upgrade" and (chosen := numbers_of(Code.NOT_OFFERED, causes)):
        is_subprotocol = chosen["kind"] == "subprotocol"
        return (
            f"set `subprotocols: {chosen['name']}` in targets.yaml"
            if is_subprotocol
            else "set --compression deflate"
        )
    if family is Family.CONNECT_FAILED and (of_version := version_remedy(causes)):
        return of_version
    if family in (Family.THROTTLED, Family.CONNECT_FAILED) and (
        remedy := PERMANENT.get(code) or PERMANENT.get(code_of_service(causes))
    ):
        return remedy
    own_row = own.rows.get(outcome, NO_ROW)
    rows = (own_row, row, own.rows.get(family, NO_ROW), OUTCOMES.get(family, NO_ROW))
    by_cause = next((each.causes for each in rows if each.causes), {})
    if remedy := remedy_of_cause(by_cause, causes) or own_row.remedy:
        return remedy
    detail = text_of(causes)
    if own.of_refusal is not None and (remedy := own.of_refusal(detail)):
        return remedy
    if remedy := named_remedy(outcome, detail):
        return remedy
    if report_in(causes) is not None:
        # the service has explained its error, so the remedies of this tool's own causes do not
        # apply
        return CODES.get(code_of_service(causes), OUTCOMES["failed"].remedy)
    if expected_event:
        return OUTCOMES[EXPECTED].remedy
    # Over SIP, 404 is an unknown number. Azure answers 404 also if only the deployment is missing.
    if (
        outcome == "connect_failed:404"
        and own.of_refusal is None
        and code_of_service(causes) != NO_DEPLOYMENT
    ):
        return NO_PATH
    if family is Family.CONNECT_FAILED and (refused_with := refusal_status(outcome)) is not None:
        return OUT_OF_ORDER if refused_with >= 500 else row.remedy or DOCTOR
    of_code = CODES.get(code, "") if family in (Family.FAILED, Family.CONNECT_FAILED) else ""
    of_family = OUTCOMES.get(EXPIRED if code == EXPIRED else family, NO_ROW)
    return row.remedy or of_code or of_family.remedy
