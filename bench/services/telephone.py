"""The dialect of telephone calls (SIP and RTP), which have audio and keys, but no events, and their
remedies. Pure.

The transport (`bench.transport.sip`) is the caller's telephone: it has the signalling and the
packets. It exchanges audio in binary messages with the session, one for each packet. A pressed key
is a text message.
"""

# A call has no error of the service with a code. What is known of a failure is a SIP status, a
# cause that the transport found, and a text. So most of this module is the table of remedies: by
# cause first, which is the most exact, then by status, then by class of status.

from collections.abc import Mapping

from bench.catalogue.causes import Code, status_of
from bench.catalogue.outcomes import (
    HANG_UP,
    HOLD,
    NO_COMMON_AUDIO,
    NO_WAY,
    OUTCOMES,
    OutcomeRow,
    OwnRemedies,
)
from bench.services.agents import TrackAgent
from bench.wire.audio import G711_ULAW, G722_16K, OPUS_16K, PCM16_16K, AudioFormat, by_name
from bench.wire.dialect import Dialect
from bench.wire.service import SIP, SIP_CALLEE, Service, Tracks

LOGIN = (
    "the agent requires a user and a password: set `auth: basic` (--auth basic), and `api_key_env`"
    " (--api-key-env) to the name of a variable that contains user:password"
)
OF_LOGINS = {
    Code.LOGIN_REFUSED: (
        "the agent refuses the user or the password: check user:password in the variable that "
        "`api_key_env` (--api-key-env) names"
    ),
    Code.NO_DIGEST: "let the agent accept digest authentication with MD5 or SHA-256",
    Code.REDIRECTED: (
        "the host to which the agent redirects calls requires a user and a password, which only "
        "the host of the URL gets: call that host (--url)"
    ),
}
FORGOT_CALL = (
    "the server forgot the call {}: it may have restarted, or a load balancer sends the messages of"
    " one call to several servers"
)
ROWS = {
    "timeout:upgrade": OutcomeRow(
        causes={
            Code.UNANSWERED_REDIRECTION: (
                "the host to which the agent redirects calls does not answer: check its"
                " redirection, and that the host runs and passes UDP"
            ),
            Code.MALFORMED: (
                "what responds does not send valid SIP, or not always, so its answer may have been "
                "ignored: check host and port, and trace the messages (for example with tshark)"
            ),
            Code.NO_RESPONSE_TO_INVITE: (
                "no SIP server responds on this UDP port: check host and port, and that firewalls "
                "pass UDP in both directions"
            ),
            Code.ONLY_RANG: (
                "the telephone rings, and no one answers: check that the agent is running; if it "
                "answers late, raise `upgrade` among the script's `timeouts`"
            ),
            Code.NO_CALL: (
                "check that the agent calls the URL of the target, and that firewalls pass UDP; if"
                " it calls late, raise `upgrade` among the script's `timeouts`"
            ),
            Code.LAST_RESPONSE: (
                "the SIP server answers, and the agent does not: check in the log of the server"
                " where it sends the call; if it answers late, raise `upgrade` among the script's"
                " `timeouts`"
            ),
            **dict.fromkeys(
                (Code.UNMATCHED, Code.OF_OTHER_CALLS),
                "what answers on this port does not send valid SIP: check host and port, and trace"
                " the messages (for example with tshark)",
            ),
        },
        remedy="the call was not answered in time: see the message, and the log of the SIP server",
    ),
    "connect_failed:dial": OutcomeRow(
        remedy="run the command of `dial` (--dial) by hand, with the URL in place of {callee}"
    ),
    "timeout:tcp": OutcomeRow(
        remedy="no response: check host and port, and that no firewall drops the packets"
    ),
    "connect_failed:sip": OutcomeRow(
        causes={
            Code.NO_LISTENER: (
                "no SIP server listens on this UDP port: check host, port and transport "
                "(;transport=tcp), and that the agent is running"
            ),
            Code.UNREACHABLE: NO_WAY,
            Code.NO_ROUTE: NO_WAY,
        }
    ),
    "connect_failed:media": OutcomeRow(
        causes={
            Code.REQUIRES_SRTP: (
                "set `srtp: required` (--srtp required), or permit audio without encryption at the"
                " agent"
            ),
            Code.WITHOUT_SRTP: (
                "permit SRTP with keys by SDES at the agent, or set `srtp: none` (--srtp none)"
            ),
            Code.NO_SRTP_KEY: (
                "configure SRTP at the agent for the suite AES_CM_128_HMAC_SHA1_80 or "
                "AES_CM_128_HMAC_SHA1_32, without MKI"
            ),
            Code.REQUIRES_DTLS_SRTP: (
                "this tool exchanges keys by SDES (RFC 4568), not by DTLS: configure the agent, or "
                "its SIP proxy, for SRTP with SDES, and set `srtp: required`"
            ),
        }
    ),
    "closed:1000": OutcomeRow(
        causes={
            Code.HUNG_UP: (
                "the agent ended the call before the end of the script: see its log, and the Reason"
                " in the message (of Q.850, cause 16 is a normal end, and 38 and 41 are failures of"
                " the network)"
            ),
        }
    ),
    HANG_UP: OutcomeRow(
        causes={
            Code.HELD: OUTCOMES[HOLD].remedy,
            Code.NO_KEYS: (
                "let the agent offer telephone events (RFC 4733; in Asterisk `dtmf_mode=rfc4733`),"
                " or remove the keys from the script"
            ),
            Code.NOT_REFRESHED: (
                "the agent agreed to a session timer (RFC 4028), and then did not refresh the"
                " session, or refused the refresh of this tool: let it refresh in time, or disable"
                " its timer (Asterisk: `timers=no`)"
            ),
            Code.NO_ACK: (
                "the agent changed the call, and did not acknowledge the response: check in its log"
                " whether it arrives, and that firewalls and proxies pass its messages in both"
                " directions"
            ),
            Code.UNANSWERED: (
                "the agent, or a server on the way, no longer answers SIP during the call: check"
                " that it runs, and that no firewall or NAT on the way forgets the call"
            ),
            Code.FORGOTTEN: FORGOT_CALL.format("during the call"),
            Code.OTHER_CODEC: NO_COMMON_AUDIO,
            Code.FOREIGN_HOST: OUTCOMES["connect_failed:host"].remedy,
        }
    ),
    "connect_failed": OutcomeRow(
        causes={
            Code.UNNAMED_REDIRECTION: (
                "the agent redirects calls to another host: call that host (--url), or permit it in"
                " `call_hosts` of the target (--call-hosts); it gets no headers and no credentials"
                " of the target"
            ),
        }
    ),
    "connect_failed:401": OutcomeRow(causes=OF_LOGINS),
    "connect_failed:407": OutcomeRow(causes=OF_LOGINS),
}
"""The rows of the table of outcomes that are different for telephone calls."""

READ_LOGS = "see the reason in its message, and the log of the agent or of its SIP server"
REFUSES_REQUEST = f"the agent or its SIP server refuses the request of this tool: {READ_LOGS}"
BUSY_NOW = "raise its limit of calls, or start fewer calls at a time (-u, --connect-rate)"
OTHER_NUMBER = "check the part of the URL before @"
# These statuses are final answers to the INVITE. A cause in `ROWS` is looked up before, because the
# transport knows more than the status: 401 before any login means that one is required, and after a
# login that it is wrong. A status without an entry gets the remedy of its class, because RFC 3261
# §8.1.3.2 treats unknown statuses in this way.
OF_SIP = {
    "400": REFUSES_REQUEST,
    "401": LOGIN,
    "402": "the account of the trunk has no credit: check its billing page",
    "403": (
        "the agent does not permit this call: check user and password, the called number, and"
        " whether its trunk permits the IP address of this machine"
    ),
    "404": f"the agent knows no such user or number: {OTHER_NUMBER}",
    "405": REFUSES_REQUEST,
    "406": NO_COMMON_AUDIO,
    "407": LOGIN,
    "408": (
        "the server got no response from the agent: check that the agent is registered and running"
    ),
    "410": f"the user or number no longer exists: {OTHER_NUMBER}",
    "413": f"the agent or its SIP server takes no request of this size: {READ_LOGS}",
    "414": "the URL of the target is too long for the agent: shorten it",
    "415": NO_COMMON_AUDIO,
    "416": (
        "the agent does not accept the scheme of the URL: use sip: in place of sips:, or the"
        " reverse"
    ),
    "420": (
        "the agent does not support an extension of SIP that the call requires: see its message,"
        " and remove the header that requires it from the target's `headers`"
    ),
    "421": (
        "the agent requires an extension of SIP: see its message, and make the extension optional"
        " at the agent or its trunk (this tool supports `timer` and `100rel`)"
    ),
    "422": "the agent requires a longer session interval (RFC 4028): lower its minimum (Min-SE)",
    "423": REFUSES_REQUEST,
    "433": (
        "the agent takes no anonymous calls: set the caller's number with `from` of the target"
        " (--caller)"
    ),
    "436": (
        "the agent requires a signed caller identity (STIR, RFC 8224), which this tool does not"
        " send"
    ),
    "480": (
        "the agent is not available: check that it is registered and running; if only some calls"
        " fail, start fewer calls at a time (-u, --connect-rate)"
    ),
    "481": FORGOT_CALL.format("while it was set up"),
    "482": "a SIP server sends the call to itself: check its routing of the called number",
    "483": "SIP servers pass the call on in a circle: check their routing of the called number",
    "484": f"the number is incomplete: {OTHER_NUMBER}",
    "485": f"the number fits several users: {OTHER_NUMBER}",
    "486": (
        "the agent is busy: it accepts no further call on this line; raise its limit of calls, or"
        " start fewer calls at a time (-u)"
    ),
    "487": (
        "the agent or its SIP server ended the call before the answer: check its time limit for the"
        " answer, and its log"
    ),
    "488": NO_COMMON_AUDIO,
    "489": REFUSES_REQUEST,
    "491": "the server still handles an earlier request of this call: see its log",
    "493": "the agent cannot read the body of the request: check whether it requires S/MIME",
    "494": "the agent requires a security agreement (RFC 3329), which this tool does not support",
    "501": "the server does not support calls (INVITE): check that it is a telephone server",
    "502": (
        "the next SIP server, or the telephone network behind the gateway, answers wrongly: see the"
        " log of the server that was called"
    ),
    "503": f"the agent accepts no more calls now: {BUSY_NOW}",
    "504": (
        "a SIP server that the called server needs does not answer in time: see the log of the"
        " called server, and its DNS"
    ),
    "505": "the server does not support SIP 2.0: check that it is a SIP server",
    "513": (
        "the request is too large for the server: use TCP or TLS (;transport=tcp), and fewer"
        " `headers`"
    ),
    "555": REFUSES_REQUEST,
    "580": (
        "the server requires a reservation of resources (preconditions, RFC 3312), which this tool"
        " does not support"
    ),
    "600": (
        "the agent is busy everywhere: raise its limit of calls, or start fewer calls at a time"
        " (-u)"
    ),
    "603": "the agent declines the call: see its log for the reason",
    "604": f"the user or number exists nowhere: {OTHER_NUMBER}",
    "606": NO_COMMON_AUDIO,
    "607": (
        "the called party, or a filter of its provider, rejects the call as unwanted: permit the"
        " caller there"
    ),
    "608": (
        "a filter on the way rejects the call: ask the provider of the trunk to permit the caller"
    ),
}
"""The remedies by the status with which a telephone call is refused (RFC 3261 §21, IANA's
registry of SIP)."""
OF_SIP_CLASSES = {
    "3": f"the agent redirects the call, and the redirection cannot be followed: {READ_LOGS}",
    "4": REFUSES_REQUEST,
    "5": "the agent or its SIP server has an internal error: see its log",
    "6": f"the agent refuses the call everywhere: {READ_LOGS}",
}
"""The remedies by the first digit of other statuses."""


def _of_refusal(detail: str) -> str:
    """Return the remedy for the SIP status at the begin of a detail; "" if there is none."""
    status = status_of(detail)
    return status and (OF_SIP.get(status) or OF_SIP_CLASSES[status[0]])


REMEDIES = OwnRemedies(ROWS, _of_refusal)
KEY = {"type": "dtmf", "digit": "{digit}"}
"""The message of a key."""


def _telephone(name: str, audio: AudioFormat, decoded: AudioFormat) -> TrackAgent:
    """Return the dialect of calls whose session has this audio. The transport converts it to the
    codec that the call agreed on.
    """
    dialect = TrackAgent(name, "an agent on a telephone", audio, KEY)
    dialect.output_formats = by_name(decoded)
    dialect.remedies = REMEDIES
    return dialect


TELEPHONE = _telephone("sip", G711_ULAW, G711_ULAW)
# An agent may send each offered codec, also after another one, so the errors are those of the worst
# one.
TRACKS: Mapping[Dialect, Tracks] = {
    TELEPHONE: Tracks(
        SIP,
        {
            "OPUS": _telephone("sip-opus", PCM16_16K, OPUS_16K),
            "G722": _telephone("sip-g722", PCM16_16K, G722_16K),
        },
        TELEPHONE,
    )
}
SERVICE = Service(
    TELEPHONE.name, TELEPHONE.title, TELEPHONE, "sip:agent@localhost", links=(SIP, SIP_CALLEE)
)
