"""The microphone of a session, and the frames and writes of its chunks.

Other code uses their compiled functions and classes only through this module.
"""

# A microphone records in real time, so a chunk can leave only when its last sample is recorded: its
# due instant is the end of the chunk before it plus its own duration. The next chunk counts from
# this due instant, not from the send, so that the schedule does not drift. If the process was late,
# the chunks that are due leave at once, one after the other, and their lateness is counted
# (`session_io.LATE_SHARE`), never hidden by another pace. Between two turns with a VAD the
# microphone records silence, because the service must hear that the caller is silent.
#
# The event loop sends the chunks while the session sleeps. A plain chunk has no instant of speech:
# `PlainChunks` sends it in compiled code, and the timeline gets up to `MANY` of them together. A
# chunk with an instant, and the last one of the speech, take the way of all messages, because their
# send is measured.

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.base.compiled import twin

if TYPE_CHECKING:
    from bench.transport.fast._sending import Microphone, PlainChunks, masked_frame, send_at_once
else:
    _TWIN = twin("bench.transport.fast._sending", "bench.transport.fast._sending_interpreted")
    Microphone = _TWIN.Microphone
    PlainChunks = _TWIN.PlainChunks
    masked_frame = _TWIN.masked_frame
    send_at_once = _TWIN.send_at_once

__all__ = ["Microphone", "PlainChunks", "masked_frame", "send_at_once"]
