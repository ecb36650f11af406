"""The microphone of a session, and the frames and writes of its chunks.

Other code uses their compiled functions and classes only through this module.
"""

from __future__ import annotations

try:
    from bench.transport.fast._sending import Microphone, PlainChunks, masked_frame, send_at_once
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport.fast._sending":  # as in `bench.wire.audio`
        raise
    from bench.transport.fast._sending_interpreted import (  # type: ignore[assignment]
        Microphone,
        PlainChunks,
        masked_frame,
        send_at_once,
    )

__all__ = ["Microphone", "PlainChunks", "masked_frame", "send_at_once"]
