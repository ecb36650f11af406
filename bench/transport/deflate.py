"""Compresses messages (permessage-deflate, RFC 7692) so that their size on the wire stays known."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame
from websockets.typing import ExtensionParameter

OWN_WINDOW_BITS, OWN_MEMORY_LEVEL = 12, 5
"""What websockets takes as well: 32 kB a connection for what we send, where zlib's own defaults take 256 kB."""


class MeasuredDeflate(Extension):
    """The extension of one connection. `came`: payload bytes of the frames that came, as they were on the wire."""

    def __init__(self, deflate: PerMessageDeflate) -> None:
        self.name = deflate.name
        self.came: deque[int] = deque()
        self._deflate = deflate
        self.encode = deflate.encode  # type: ignore[method-assign]

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """The frame, decompressed where it was compressed; control frames never are."""
        self.came.append(len(frame.data))
        return self._deflate.decode(frame, max_size=max_size)


class _Offer(ClientPerMessageDeflateFactory):
    def process_response_params(  # type: ignore[override]  # its caller wants an extension, whichever
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> MeasuredDeflate:
        return MeasuredDeflate(super().process_response_params(params, accepted_extensions))


def offer() -> ClientPerMessageDeflateFactory:
    """An offer to compress, for one connection. The service may decline."""
    return _Offer(client_max_window_bits=OWN_WINDOW_BITS, compress_settings={"memLevel": OWN_MEMORY_LEVEL})
