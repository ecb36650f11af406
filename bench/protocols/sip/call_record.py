"""What is known about a telephone call: its settings, its state, what it agreed, and its ending.
Pure.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from bench.base.units import NS_PER_S
from bench.catalogue.causes import Cause, Code, in_words, sip_status
from bench.files.sanitize import excerpt
from bench.protocols.rtp.srtp import SrtpKey, without_keys
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.messages import SipMessage, SipRequest, SipResponse, readable
from bench.wire.addresses import HostPort, whole_number

MAX_PHRASE_CHARACTERS = 80
MAX_REASON_CHARACTERS = 200
NAMING_EXTENSIONS = {420: "Unsupported", 421: "Require"}
"""The statuses that refuse a call because of extensions of SIP, with the headers that name
these."""
MAX_RETRY_AFTER_S = 86_400 * 365


@dataclass(frozen=True, slots=True)
class CallSettings:
    request_uri: str
    """The URI to call."""
    caller: str
    """The value of From, without a tag."""
    sent_by: HostPort
    """The local address, as Via and Contact name it. An IPv6 address is in brackets."""
    media: LocalMedia
    transport: str = "UDP"
    product: str = "rtbench"
    outbound_proxy: str = ""
    """The URI of the proxy that receives the first INVITE, such as sip:proxy.example;lr."""
    login: DigestLogin | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Additional headers of INVITE."""
    session_interval_s: int | None = None
    address: str = ""
    """The IP address of the first hop; "" if it is unknown."""
    call_hosts: tuple[HostPort, ...] = ()
    """The further hosts that the user permits."""
    is_own: Callable[[str], bool] | None = None
    """As in `Reach`."""
    # Proxies let a call ring for more than three minutes (timer C, RFC 3261 §16.6). A longer limit
    # here would be theirs.
    ring_timeout_ns: int = 180 * NS_PER_S
    """The time from INVITE to the final response, after which the call is cancelled."""


class CallState(Enum):
    NEW = "new"
    CALLING = "calling"
    """INVITE was sent, and nothing was received."""
    PROCEEDING = "proceeding"
    ANSWERED = "answered"
    ENDING = "ending"
    """CANCEL or BYE was sent, or CANCEL waits for the first response."""
    ENDED = "ended"


EndedBy = Literal["caller", "peer", "timeout", "transport"]
ENDED_BY_OTHERS: dict[EndedBy, str] = {
    "peer": Cause(Code.HUNG_UP).text,
    "timeout": "the peer did not answer",
    "transport": Cause(Code.CONNECTION_BROKE).text,
}


def own_hang_up(cause: str) -> str:
    """Return the text about a call that this side ended. Without a cause, its user did."""
    own = Cause(Code.OWN_HANG_UP)
    return own.because(in_words(cause)).text if cause else own.text


@dataclass(frozen=True, slots=True)
class CallEnding:
    """Why a call ended. Texts of the peer are on one line, and short."""

    by: EndedBy
    """The side that ended the call. `timeout` means that the peer did not answer in time."""
    code: int | None = None
    """The status code of the response that ended the call. None if no response did."""
    phrase: str = ""
    reason: str = ""
    """The value of the header Reason."""
    warning: str = ""
    retry_after_s: int | None = None
    cause: str = ""
    """Why this side ended the call, if the user did not: such as `the peer requires SRTP`."""
    extensions: str = ""
    """The extensions of SIP for which the peer refused the call."""

    @property
    def text(self) -> str:
        """The ending in words, such as `SIP 486 Busy Here` or `the peer hung up
        (Q.850;cause=16)`.
        """
        status = sip_status(self.code, self.phrase) if self.code is not None else ""
        by = (
            own_hang_up(self.cause)
            if self.by == "caller"
            else self.cause or ENDED_BY_OTHERS[self.by]
        )
        first = status or by
        causes = (self.cause if status else "", self.extensions, self.reason, self.warning)
        return " ".join([first, *(f"({text})" for text in causes if text)])


def shown(text: str, keys: Iterable[SrtpKey], limit: int = MAX_REASON_CHARACTERS) -> str:
    """Return a text of the peer as it is shown: on one line, short, and without the keys of the
    call.
    """
    return excerpt(without_keys(readable(text), keys), limit)


def ending_of(
    by: EndedBy, message: SipMessage | None, cause: str = "", keys: Collection[SrtpKey] = ()
) -> CallEnding:
    """Return the ending that a message tells. Without one, nothing is known but who ended the call.

    The texts contain nothing of `keys`, those of the call.
    """
    cause = without_keys(cause, keys)  # it may name a host that the peer named
    if message is None:
        return CallEnding(by, cause=cause)
    code = None
    phrase = ""
    named = ""
    # or a comment
    wait_s = whole_number(
        message.first("Retry-After").partition(";")[0].partition("(")[0].strip(), 9
    )
    if isinstance(message, SipResponse):
        code = message.code
        phrase = message.phrase
        if extensions := ", ".join(message.entries(NAMING_EXTENSIONS.get(code, ""))):
            named = f"{NAMING_EXTENSIONS[code]}: {shown(extensions, keys)}"
    return CallEnding(
        by,
        code,
        shown(phrase, keys, MAX_PHRASE_CHARACTERS),
        shown(message.first("Reason"), keys),
        "" if isinstance(message, SipRequest) else shown(message.first("Warning"), keys),
        None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S),
        cause,
        named,
    )


class CallFacts(NamedTuple):
    """What an answered call agreed.

    `is_encrypted` is True if the audio is encrypted (SRTP). `has_phone_keys` is True if the peer
    accepts telephone events. `media` is the address in the peer's SDP, and `peer` that from which
    its SIP messages come; "" if it is unknown.
    """

    codec: str
    is_encrypted: bool
    has_phone_keys: bool
    has_signed_in: bool
    media: HostPort
    peer: str
