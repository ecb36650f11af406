"""The set-up of a call: its settings by the target, and its failure: the outcome, what was
received, the ids.
"""

import base64
from collections.abc import Iterable

from bench.base.installation import tool_version
from bench.catalogue.causes import Cause, Code, ConnectError, in_words, sip_status
from bench.catalogue.refusals import HANDSHAKE
from bench.protocols.rtp.srtp import SrtpKey, without_keys
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import MAX_PHRASE_CHARACTERS, CallSettings, shown
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.hops import call_address
from bench.protocols.sip.messages import SipMessage
from bench.transport.datagrams import is_this_machine
from bench.transport.interface import NetworkPath
from bench.wire.addresses import HostPort
from bench.wire.dialect import SIMULATOR_HEADER, SIMULATOR_LATE_HEADER

STORED_HEADERS = (SIMULATOR_HEADER, SIMULATOR_LATE_HEADER, "server", "user-agent")
"""The headers of the response to INVITE that are stored."""
MAX_HEADER_CHARACTERS = 200
MESSAGES = {
    "malformed": Code.MALFORMED,
    "unmatched responses": Code.UNMATCHED,
    "other calls": Code.OF_OTHER_CALLS,
}
"""The kinds of messages that are ignored while a call is set up."""
# 480 (RFC 3261 §21.4.18) and 600 (§21.6.1) mean that no callee is free, and 503 (§21.5.4) that the
# server is overloaded. 486 is one busy line, which is no statement about load.
REFUSED_FOR_LOAD = frozenset({480, 503, 600})
"""The responses with which a server states that it cannot take more calls now."""


def call_settings(
    url: str,
    own: HostPort,
    transport: str,
    peer: str,
    media: LocalMedia,
    headers: Iterable[tuple[str, str]],
    path: NetworkPath,
) -> CallSettings:
    """Return the settings of a call. `own` is the address of this side's signalling, and `peer`
    that of the first hop.

    SIP sends digests of the user and password of Basic authentication. The header From replaces
    that of this tool.
    """
    login = None
    caller = f"<sip:rtbench@{own.host}>"
    further = []
    for name, value in headers:
        if name.lower() == "authorization":
            user, _, password = base64.b64decode(value.partition(" ")[2]).decode().partition(":")
            login = DigestLogin(user, password)
        elif name.lower() == "from":
            caller = value or caller
        elif name.lower() != "user-agent":
            further.append((name, value))
    may_leave = path.may_leave or not is_this_machine(peer)
    if path.sip_proxy:
        may_leave = may_leave or not is_this_machine(call_address(url).host)
    return CallSettings(
        request_uri=url,
        caller=caller,
        sent_by=own,
        media=media,
        transport=transport,
        product=f"rtbench/{tool_version()}",
        outbound_proxy=path.sip_proxy and f"{path.sip_proxy};lr",
        login=login,
        headers=tuple(further),
        address=peer,
        call_hosts=tuple(HostPort(*named) for named in path.call_hosts),
        is_own=None if may_leave else is_this_machine,
    )


def failure_of(call: SipCall) -> ConnectError:
    """Return the error of a call that was not set up."""
    ending = call.ending
    headers = headers_of(call)
    if call.names_foreign_host:
        return ConnectError("connect_failed:host", call.media_problem, headers)
    if call.media_problem or ending is None:
        detail = with_malformed(
            f"the call was answered without audio that this tool can use: {call.media_problem}",
            call,
        )
        return ConnectError("connect_failed:media", detail, headers)
    if ending.retry_after_s is not None:
        headers["retry-after"] = str(ending.retry_after_s)
    if ending.code is None and ending.by == "timeout":
        return ConnectError("timeout:upgrade", f"{ending.text}: {received_of(call)}", headers)
    detail = with_malformed(ending.text, call)
    if ending.code is None:
        if call.redirection.last:
            detail = Cause(Code.REDIRECTED, _redirection(call)).because(in_words(detail)).text
        return ConnectError("connect_failed:sip", detail, headers)
    refused = HANDSHAKE if ending.code in REFUSED_FOR_LOAD else f"connect_failed:{ending.code}"
    return ConnectError(refused, detail, headers)


def _ignored(call: SipCall, kinds: Iterable[str]) -> list[str]:
    """Return the numbers of messages that were ignored, by their kind, as texts."""
    return [
        Cause(MESSAGES[kind], {"messages": call.dropped[kind]}).text
        for kind in kinds
        if kind in call.dropped
    ]


def _redirection(call: SipCall) -> dict[str, str]:
    return {"host": without_keys(call.redirection.last, call.keys)}


def with_malformed(text: str, call: SipCall) -> str:
    """Return why a call ended, with the number of malformed messages. One of them may have
    prevented the end.
    """
    return ", and ".join((text, *_ignored(call, ["malformed"])))


def received_of(call: SipCall) -> str:
    """Return what was received of a call that was not answered."""
    response = call.response
    texts = _ignored(call, MESSAGES)
    if call.redirection.last:
        texts.insert(0, Cause(Code.UNANSWERED_REDIRECTION, _redirection(call)).text)
    elif call.ringing_ns:
        texts.insert(0, Cause(Code.ONLY_RANG).text)
    elif response is not None:
        phrase = shown(response.phrase, call.keys, MAX_PHRASE_CHARACTERS)
        texts.insert(
            0, Cause(Code.LAST_RESPONSE, {"status": sip_status(response.code, phrase)}).text
        )
    return ", and ".join(texts) or Cause(Code.NO_RESPONSE_TO_INVITE).text


def headers_of(call: SipCall) -> dict[str, str]:
    """Return the headers that identify the call and its agent, from the last response to INVITE."""
    return stored_headers(call.call_id, call.response, call.keys)


def stored_headers(
    call_id: str, message: SipMessage | None, keys: Iterable[SrtpKey] = ()
) -> dict[str, str]:
    """Return the headers that identify a call and its agent, from a message of the agent."""
    headers = {"x-request-id": call_id}
    if message is not None:
        named = {
            name: shown(message.first(name), keys, MAX_HEADER_CHARACTERS) for name in STORED_HEADERS
        }
        headers |= {name: value for name, value in named.items() if value}
    return headers
