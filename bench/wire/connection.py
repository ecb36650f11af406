"""The records of a connection, and received messages with the facts about their arrival.

Transports return them, and a session's timeline receives them as inputs.
"""

# An input is a fact, and never an opinion: what arrived, was sent, or was measured, and when, with
# the uncertainty of the instant. Transports make these records without knowledge of turns. The
# timeline decides later what follows from them. They are written to event logs as they are, so a
# field that is added here must have a default, with which old logs keep their meaning.

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from bench.base.clock import Arrival, SendTime
from bench.base.units import NS_PER_MS
from bench.wire.events import ServerEvent

NO_CODE = 0
NORMAL = 1000
BAD_FRAME = 1002
ABNORMAL = 1006
TOO_LARGE = 1009
TRY_AGAIN_LATER = 1013
"""The close codes of all transports: none (HTTP/2), normal, unreadable, without a close frame, too
large (RFC 6455 §7.4.1), too busy (IANA, "WebSocket Close Code Number Registry")."""
MIB = 1 << 20
MAX_MESSAGE_MIB = 16
"""The default maximum size of a message. The largest messages of services have one hundredth of
this size."""
SocketAddress = tuple[Any, ...]
"""The address of a peer, as the socket module has it."""
Datagram = tuple[bytes, SocketAddress, Arrival]
"""The data of a received datagram, its source, and its arrival."""


class ReceivedMessage(NamedTuple):
    """A text or `BinaryMessage` with its arrival. `wire_bytes` is the size of its frames with
    their headers.
    """

    data: bytes
    arrival: Arrival
    wire_bytes: int


class SendReceipt(NamedTuple):
    """The receipt of a send.

    `handed` is the instant at which the kernel accepted the message. `wire_bytes` is the size of
    the message's frame. `unsent` is the reason if the message is audio that was not sent, because
    the peer holds the call or the kernel refused the packet. `handed` is then the instant at which
    it would have been sent. `delay_ns` is by how much the caller's impaired network delays the
    message; None if the network is not impaired, or drops the message.
    """

    handed: SendTime
    wire_bytes: int
    unsent: str = ""
    delay_ns: int | None = None


class MatchedDelta(NamedTuple):
    """A delta that matched a template, with the template's event (`bench.transport.fast.reader`).

    `lag_ns` is the time from its arrival to its match. `data` is its audio if it is sound, and its
    message if a log or the decoder needs it.
    """

    event: ServerEvent
    at_ns: int
    uncertainty_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
    data: bytes = b""

    @property
    def has_audio(self) -> bool:
        """True if `data` is the audio. A message is longer."""
        return 0 < self.payload_bytes == len(self.data)


class SentChunk(NamedTuple):
    """A sent chunk of audio that contains no instant.

    `lag_ns` is the time from its due instant to the send at `at_ns`. `duration_ns` is the duration
    of its audio.
    """

    at_ns: int
    wire_bytes: int
    audio_bytes: int
    lag_ns: int
    duration_ns: int


LATE_SHARE = 10
"""A chunk is late if it leaves more than 1/LATE_SHARE of its own length after it was due."""


def is_late(lag_ns: int, duration_ns: int) -> bool:
    """Return whether a chunk of audio of this duration is late. Other messages have none."""
    return lag_ns * LATE_SHARE > duration_ns


ASSUMED_START_NS = 20 * NS_PER_MS
"""The uncertainty of a frame of a telephone call until the delays of its packets are known."""
CloseCause = Literal["", "reset", "timed_out", "unreachable", "end_stream", "rst_stream", "goaway"]


class Input(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="action"):
    """The base class of all inputs. `action` is their type in a log."""


class Connected(Input, frozen=True, tag="connected"):
    """The success or refusal of the upgrade, with its phases, the service's response headers and
    the wait for a token.

    `uncertainties_ns` states how much earlier each phase may really have ended. Connecting starts
    when the token is available. `call_id` is the id of the call that the agent received; "" for
    other services. `early_audio` is the agent's audio before the answer of a telephone call. It
    ended at `early_end_ns`.
    """

    instants: Mapping[str, int]
    headers: Mapping[str, str]
    auth_wait_ns: int = 0
    uncertainties_ns: Mapping[str, int] = {}
    call_id: str = ""
    early_audio: bytes = b""
    early_end_ns: int = 0


class Transmitted(Input, frozen=True, tag="transmitted"):
    """The kernel's timestamp of a message's departure, or of its acknowledgement by the peer's TCP.

    `ticket` is that of `bench.transport.interface.SendReceipt.handed`. The timestamp is used until
    the message's turn is delivered, and changes no earlier decision.
    """

    ticket: int
    at_ns: int
    acknowledged: bool = False


class NetworkMeasured(Input, frozen=True, tag="measured"):
    """The state of the path to the peer (`TCP_INFO`, or RTCP).

    `rtt_ns` is the smoothed round trip. `min_rtt_ns` is the recent minimum. `retransmits` is the
    number of segments that were retransmitted since the connection was opened; None if the path has
    no retransmissions. `scope` states who the peer is: the service (its nearest TCP endpoint), or
    the proxy in front of the service.
    """

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int | None
    scope: Literal["service", "proxy"] = "service"


class RtpMeasured(Input, frozen=True, tag="rtp"):
    """The numbers of RTP packets of a telephone call until now, and their jitter (RFC 3550 §6.4.1).

    Of the peer's packets, `expected` should have arrived, `lost` did not arrive, and `late` arrived
    too late for the jitter buffer. `sent` are those of the caller. The peer reports by RTCP how
    many of them it expected and lost until its report, and their jitter; all are None if it did not
    report. The round trips are None if no report had one. `start_uncertainty_ns` is the uncertainty
    of the frames that had `ASSUMED_START_NS` when they arrived, also of those that had more if
    `starts_on_arrival`: no player had to smooth the jitter of the path. `unsent` are the caller's
    packets that the kernel refused. `other_hosts` are the hosts that only the peer named and to
    which the call sent something, each with its purpose. `uncounted_pauses` is how often the peer's
    packets stopped for longer than their timestamps say. `restarts` is how often its stream began
    again for another reason. `without_audio` states how many packets were received that contain no
    new audio. `dropped` are the packets that arrived and that the kernel of this machine dropped,
    because this process did not read them in time; None if they are not counted. `relay_rtt_ns` is
    the shortest round trip to the TURN server of the call, and `relay_path_rtt_ns` that through it
    to the peer; both are None if no server relays the call. `codec` is the agreed one.
    `transfers` is how often the peer held, moved or transferred the call, and `transfer_silence_ns`
    the longest silence around that; None if there was none, or if no sound has followed.
    `calls_without_line` is how many calls of an agent that dials were refused because no line was
    free, since an earlier session reported them; None if this tool calls.
    """

    expected: int
    lost: int
    late: int
    jitter_ns: int
    sent: int
    peer_expected: int | None = None
    peer_lost: int | None = None
    peer_jitter_ns: int | None = None
    rtt_ns: int | None = None
    min_rtt_ns: int | None = None
    start_uncertainty_ns: int = ASSUMED_START_NS
    unsent: int = 0
    other_hosts: str = ""
    uncounted_pauses: int = 0
    restarts: int = 0
    without_audio: str = ""
    dropped: int | None = None
    relay_rtt_ns: int | None = None
    relay_path_rtt_ns: int | None = None
    starts_on_arrival: bool = False
    codec: str = ""
    transfers: int = 0
    transfer_silence_ns: int | None = None
    transfer_silence_uncertainty_ns: int | None = None
    calls_without_line: int | None = None


class ConnectionClosed(Input, frozen=True, tag="closed"):
    """The end of the connection. OpenAI refuses a session with an error and a close after the
    upgrade.

    `code` is the close code, 1006 if there was no close frame, or 0 if HTTP/2, which has no close
    codes, ended the stream. `at_ns` is the instant of the end. The end may have happened earlier
    than that, by up to `uncertainty_ns`. `ours` is True if the client ended the connection, because
    the peer broke a rule of the protocol or exceeded a limit, or the script could not continue.
    `cause` is the kernel's reason if the connection ended
    without a close frame: the peer or a device on the path reset it, the peer acknowledged no more
    data, or there was no longer a route to the peer. Over HTTP/2 it is the frame that ended the
    stream.
    """

    code: int
    at_ns: int
    reason: str = ""
    ours: bool = False
    cause: CloseCause = ""
    uncertainty_ns: int = 0
