"""The agents whose protocols are files (`bench.services.pages`), and those with audio in packets.

The agent is the server. The load generator is both the agent's caller and the telephony provider.
The agent may speak at any time, and usually speaks first. Its audio waits in the caller's playout
queue (`bench.observe.reply_detector.PlayoutQueue`). A call is open as soon as its connection is
open.
"""

# Roles are reversed here. The agent is the server, and this tool is the telephony provider that
# calls it: it sends what Azure or Twilio would send, at their pace, and plays what the agent sends.
# The provider's page obliges each message, and an agent is tested with the messages that it will
# get. So the codec of a call numbers and stamps them as the provider does, even if most agents
# ignore that.
#
# Such an agent reports nothing about turns. Its audio is sound in a queue, and only `clear` (or
# `StopAudio`) drops what was not played. When a reply begins and ends is found in the audio
# (`bench.observe.reply_detector`). The dialects of tracks have no messages at all: the transport
# delivers packets as binary messages.

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bench.catalogue.causes import Code
from bench.catalogue.outcomes import NO_MEDIA, OutcomeRow, OwnRemedies
from bench.catalogue.refusals import HANDSHAKE
from bench.services.names import PAGES
from bench.services.openai import track
from bench.services.pages.dialect import PageDialect
from bench.services.pages.files import built_in, service_of
from bench.services.pages.page import PageAudio
from bench.services.pages.reader import TEXT
from bench.services.pages.remedies import REMEDIES
from bench.wire.audio import DECODED_OPUS, G711_ULAW, PCM16, AudioFormat, by_name
from bench.wire.dialect import NOT_JSON, Dialect, Peer
from bench.wire.events import EventKind, ServerEvent
from bench.wire.service import WEBRTC_AGENT, Service, Tracks
from bench.wire.settings import SessionSettings, UnsupportedSetting

CUTS = (
    "the server ends the connection before its answer is complete: check host and path, such as"
    " /api/offer, and its log"
)

NO_OFFERS = "the server answers no offers in JSON here: check the path, such as /api/offer"
NEEDS_MEMBERS = (
    "the agent refuses the members of the offer: see its message; `extra` of the script's session"
    " sets further ones, for example `extra: {webrtc_id: '{uuid}'}`"
)
NEEDS_TOKEN = (
    "the agent requires a token, and none or another one is sent: set it in the target's `headers`"
)
NO_SLOT = (
    "the agent takes no more calls now: raise its limit of calls, or start fewer at a time (-u,"
    " --connect-rate)"
)
OF_OFFERS = {
    **track.REMEDIES.rows,
    **dict.fromkeys(("connect_failed:404", "connect_failed:405"), OutcomeRow(remedy=NO_OFFERS)),
    **dict.fromkeys(("connect_failed:400", "connect_failed:422"), OutcomeRow(remedy=NEEDS_MEMBERS)),
    **dict.fromkeys(("connect_failed:401", "connect_failed:403"), OutcomeRow(remedy=NEEDS_TOKEN)),
    "connect_failed:upgrade": OutcomeRow(
        remedy=NO_OFFERS,
        causes=dict.fromkeys(
            (Code.CUT_ANSWER, Code.CLOSED_WITHOUT_ANSWER, Code.CONNECTION_BROKE), CUTS
        ),
    ),
    "timeout:upgrade": OutcomeRow(
        remedy=(
            "the agent accepts the connection, and does not answer the offer in time: see its log,"
            " or raise `upgrade` among the script's `timeouts`"
        ),
    ),
    HANDSHAKE: OutcomeRow(remedy=NO_SLOT),
    NO_MEDIA: OutcomeRow(
        remedy=(
            "the agent sends no audio, although UDP passes (ICE and DTLS succeeded): check in its"
            " log whether its pipeline started; it may wait for a data channel that its own answer"
            " refuses, for a message or a member of the offer (`extra`), or for its caller (then"
            " remove `wait_for: greeting`), or refuse the certificate of an offer that a proxy"
            " changed"
        ),
    ),
}
REMEDIES_OF_OFFERS = OwnRemedies(OF_OFFERS, in_doctor=REMEDIES.in_doctor)

FRAME_MS = 20
"""The duration of each piece of audio that a telephony provider sends."""
SIMULATED_PATH = "/agent/"
"""The path prefix of the simulator's agents. The name of the dialect follows it."""
BY_NAME = {name: built_in(name) for name in PAGES}
TWILIO, ACS, PCM = (BY_NAME[name] for name in ("twilio", "acs", "pcm"))
AGENTS = tuple(page for page in BY_NAME.values() if page.peer is Peer.AGENT)


class TrackAgent(PageDialect):
    """An agent whose audio is in packets. There are no messages but keys."""

    has_track = True

    def __init__(self, name: str, title: str, audio: AudioFormat, key: Any = None) -> None:
        plain = PCM.page
        page = replace(
            plain,
            protocol=name,
            title=title,
            audio=PageAudio({audio.name: audio.name}, frame_ms=FRAME_MS),
            send=replace(plain.send, open=(), key=key),
        )
        super().__init__(page)

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if self.page.send.key:
            return super().unsupported_event(event, settings)
        return f"cannot be sent: {self.title} receives only audio"


class WebRtcAgent(TrackAgent):
    """An agent that answers an offer in JSON, as pipecat's `SmallWebRTCTransport` does. Its audio
    is Opus, or G.711.

    The script's `extra` contains further members of the offer. The messages of its data channel
    have a vocabulary of their own, and no effect. One that is no JSON is an unknown event.
    """

    has_extra_in_offer = True

    def __init__(self, name: str, audio: AudioFormat) -> None:
        super().__init__(name, "an agent over WebRTC", audio)
        self.settings |= {"extra"}
        self.read = _tolerant(self.read)
        self.remedies = REMEDIES_OF_OFFERS

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        member = next((name for name in ("sdp", "type") if name in settings.extra), None)
        if member is None:
            return None
        return UnsupportedSetting(
            ("extra", member), f"extra must not contain {member}, which the offer has: remove it"
        )


def _tolerant(read: Callable[[bytes], ServerEvent]) -> Callable[[bytes], ServerEvent]:
    def read_any(message: bytes) -> ServerEvent:
        try:
            event = read(message)
        except NOT_JSON:
            return ServerEvent(EventKind.UNKNOWN, TEXT)
        return event if event.kind is EventKind.AUDIO_DELTA else ServerEvent(EventKind.NOTED, TEXT)

    return read_any


OFFERED = WebRtcAgent("webrtc", PCM16)
OFFERED.output_formats = by_name(DECODED_OPUS)
SERVICES = (
    *map(service_of, BY_NAME.values()),
    Service(
        OFFERED.name,
        OFFERED.title,
        OFFERED,
        "http://localhost:7860/api/offer",
        links=(WEBRTC_AGENT,),
    ),
)
TRACKS: Mapping[Dialect, Tracks] = {
    OFFERED: Tracks(WEBRTC_AGENT, {"OPUS": OFFERED}, WebRtcAgent("webrtc-g711", G711_ULAW))
}
