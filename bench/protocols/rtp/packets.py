"""The packets of audio. Other code uses their compiled functions and classes only through this
module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.base.compiled import twin

if TYPE_CHECKING:
    from bench.protocols.rtp._packets import AudioPackets, UsualPackets, send_frame
else:
    _TWIN = twin("bench.protocols.rtp._packets", "bench.protocols.rtp._packets_interpreted")
    AudioPackets = _TWIN.AudioPackets
    UsualPackets = _TWIN.UsualPackets
    send_frame = _TWIN.send_frame

__all__ = ["AudioPackets", "UsualPackets", "send_frame"]
