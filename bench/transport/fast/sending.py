"""The microphone of a session, and the frames and writes of its chunks.

Other code uses their compiled functions and classes only through this module.
"""

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
