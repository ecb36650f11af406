"""The packets of audio. Other code uses their compiled functions and classes only through this
module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.base.compiled import twin

if TYPE_CHECKING:
    from bench.transport.media._packets import AudioPackets, UsualPackets, send_frame
else:
    _TWIN = twin("bench.transport.media._packets", "bench.transport.media._packets_interpreted")
    AudioPackets = _TWIN.AudioPackets
    UsualPackets = _TWIN.UsualPackets
    send_frame = _TWIN.send_frame

__all__ = ["AudioPackets", "UsualPackets", "send_frame"]
