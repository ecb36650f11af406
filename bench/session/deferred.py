"""The sound that a session applies several frames at a time, because that takes a third of the
time.
"""

# A call sends up to fifty frames of sound per second, and most of them decide nothing. Such a frame
# is not applied to the timeline when it arrives. It waits with others in `SessionIO`, and they are
# applied together. Only a message whose only event is sound may wait. Its instant is that of its
# arrival, whenever it is applied, so waiting changes no metric. The session pays for it with a
# later reaction, of at most `DEFERRED_NS`. Therefore sound waits only while the session awaits the
# end of a turn, and nothing else within the turn.

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EMPTY, EventKind, ServerEvent, StrippedAudio, audio_payload

AUDIO_DELTA = EventKind.AUDIO_DELTA
DEFERRED_NS = 80_000_000
MANY = 16
"""The time for which received sound is deferred while the session waits for the end of a turn, and
the number of messages and chunks that are deferred."""


def received_sound(
    events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
) -> MatchedDelta | None:
    """Return the sound that is the only event of a message; None if it is another event, or cannot
    be deferred.

    If the event has no payload, the message is nothing but audio.
    """
    data, (at_ns, error_ns, kernel), wire_bytes = message
    event = events[0]
    if (
        len(events) != 1
        or event.kind is not AUDIO_DELTA
        # only the kernel's timestamp shows how late this process read the sound
        or not kernel
        or isinstance(event.payload, StrippedAudio)
    ):
        return None
    audio: bytes | None = data
    if event.payload is not EMPTY or not isinstance(data, BinaryMessage):
        audio = audio_payload(event.payload) if event.payload_bytes > 0 else None
        event = msgspec.structs.replace(event, payload=EMPTY, payload_bytes=0)
    return (
        MatchedDelta(event, at_ns, error_ns, handled_ns - at_ns, len(audio), wire_bytes, audio)
        if audio
        else None
    )
