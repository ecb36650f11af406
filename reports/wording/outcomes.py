"""What each outcome of a turn or a session means, in words."""

from __future__ import annotations

from collections.abc import Mapping

from bench.measures import EXPECTED
from reports.numbers import count, listed, plural
from reports.summary.outcomes import Ending, Remedy

MEANINGS = {
    "ok": "completed, with the kind of output that was asked for",
    "interrupted": "cancelled because the script interrupted it",
    "abandoned": "begun, cut by the end of the run",
    "outlived": "the service's age limit for sessions was reached, and the call outlived it",
    "expired": "the service's age limit for sessions was reached",
    "failed:no_audio": "completed, audio was asked for and none came",
    "failed:no_text": "completed, text was asked for and none came",
    "failed:unknown_status": "the response ended in a status that this protocol does not have",
    "failed:harness": "a fault of this tool, not of the service",
    "protocol:base64": "the payload of an audio delta was not base64",
    "protocol:frame": "a WebSocket frame was not valid",
    "protocol:too_large": "a message was larger than --max-message-mib allows",
    "endless:calls": "the service went on calling functions",
    "endless:responses": "more responses came for one turn than any has",
    "endless:events": "more events came for one turn than any reply has",
    "endless:bytes": "more bytes came for one turn than any reply has",
    "endless:marks": "the agent asked to be told of more places in its audio than any call has",
    "endless:audio": "the agent sent more audio ahead than any caller hears out",
    "throttled:response": "the service answered with a rate limit",
    "throttled:handshake": "the handshake was answered with status 429",
    "timeout:first_delta": "no first delta within the limit",
    "timeout:next_delta": "the deltas stopped coming",
    "timeout:turn": "the turn was not over within the limit of all its responses",
    "timeout:done": "the response did not finish within the limit",
    "timeout:speech": "the service's VAD noticed no end of speech within its limit",
    "cancelled:turn_detected": "the service took a pause for the end of speech, answered, and cancelled the answer "
    "because speech went on",
    "timeout:session": "session.created or session.updated did not come within the limit",
    "incomplete:content_filter": "the service's content filter cut the reply",
    "incomplete:max_output_tokens": "the reply reached its limit of tokens",
    "closed:1000": "the service closed normally, in mid-turn",
    "closed:1001": "the service went away: it restarted, or took the host out of use",
    "closed:1008": "the service closed, because a message broke its rules",
    "closed:1009": "the service closed, because a message was too large for it",
    "closed:1011": "the service closed, because of an error of its own",
    "closed:1006": "the connection broke without a close frame",
    "protocol:json": "an event was not valid JSON",
    "protocol:dialect": "the service spoke another dialect than was set",
    "refused:token": "there was no token to sign in with",
    "refused:proxy": "the proxy did not open a way to the host",
    "timeout:proxy": "the proxy did not answer within the limit",
    "refused:dns": "the host's name was not found",
    "refused:tcp": "the host did not accept a TCP connection",
    "refused:tls": "the TLS handshake failed",
    "refused:401": "the service did not accept the key or token",
    "refused:403": "the service forbade it",
    "refused:404": "the service has no such deployment or path",
}
OF_SESSIONS = {
    "ok": "opened, played its script to the end and was closed by us",
    "abandoned": "cut by the end of the run",
}
FAMILIES = {
    "failed": "the response failed, or an error named it",
    "cancelled": "the service cancelled the response, the script had not asked for it",
    "incomplete": "the service cut the reply short",
    "throttled": "the service limited the rate",
    "endless": "more came for one turn than any turn has",
    "timeout": "nothing came within this stage's limit",
    "refused": "the service refused the connection",
    "closed": "the connection was closed in mid-turn",
    "protocol": "what came was not valid in this protocol",
}


def meaning(outcome: str) -> str:
    """What an outcome says, in words."""
    if outcome.startswith(EXPECTED):
        return f"the script expected {outcome.removeprefix(EXPECTED)}, and it did not come"
    return MEANINGS.get(outcome) or FAMILIES.get(outcome.split(":")[0], "")


def ending_words(ending: Ending) -> str:
    """What an outcome says of a turn or a session, with what the service said most often of it."""
    own = OF_SESSIONS.get(ending.outcome, "") if ending.of_session else ""
    told = own or meaning(ending.outcome)
    return f"{told}: “{ending.said}”" if ending.said else told


def ended_as(sessions: Mapping[str, int]) -> str:
    """3 sessions ended as refused:401; of several outcomes 5 sessions ended as 3 × refused:401 and 2 × refused:dns."""
    ends = [f"{count(n)} × {outcome}" for outcome, n in sessions.items()] if len(sessions) > 1 else [*sessions]
    return f"{plural(sum(sessions.values()), 'session')} ended as {listed(ends)}"


def remedy_line(remedy: Remedy) -> str:
    """closed:1011, closed:1006: the connection was cut: …"""
    return f"{', '.join(remedy.outcomes)}: {remedy.text}"
