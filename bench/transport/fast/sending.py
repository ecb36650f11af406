"""The frames and writes of paced audio. Other code uses their compiled functions only through this module."""

from __future__ import annotations

try:
    from bench.transport.fast._sending import masked_frame, send_at_once
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport.fast._sending":  # as in `bench.wire.audio`
        raise
    from bench.transport.fast._sending_interpreted import masked_frame, send_at_once

__all__ = ["masked_frame", "send_at_once"]
