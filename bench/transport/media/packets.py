"""The packets of audio. Other code uses their compiled functions and classes only through this
module.
"""

from __future__ import annotations

try:
    from bench.transport.media._packets import AudioPackets, UsualPackets, send_frame
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport.media._packets":  # as in `bench.wire.audio`
        raise
    from bench.transport.media._packets_interpreted import (  # type: ignore[assignment]
        AudioPackets,
        UsualPackets,
        send_frame,
    )

__all__ = ["AudioPackets", "UsualPackets", "send_frame"]
