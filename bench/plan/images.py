"""Reads images that go with messages: PNG and JPEG, which are sent as they are, as data URLs (RFC 2397).

Only the size in pixels is read of them, for what an image costs depends on that: of PNG from its first chunk
(ISO/IEC 15948, 11.2.2), of JPEG from its frame header (ITU-T T.81, B.2.2).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from bench.errors import UsageError
from bench.protocol.messages import Image

MOST_BYTES = 4 << 20
"""An event must not be larger than 15 MiB, and base64 takes a third more than the file."""
PNG, PNG_HEADER, PNG_END = b"\x89PNG\r\n\x1a\n", slice(8, 16), b"\x00\x00\x00\x00IEND"
FIRST_CHUNK = b"\x00\x00\x00\x0dIHDR"
JPEG, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers SOF0 to SOF15; the three left out are no frames (T.81, table B.1)."""
START_OF_SCAN = 0xDA
Size = tuple[int, int]
"""Width and height in pixels."""


def load_image(path: Path) -> Image:
    """Read an image; one that was read lately is not read again, as long as its file is the same.

    Raises UsageError for a file that is missing, too large, cut off, or neither PNG nor JPEG.
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except (OSError, ValueError):  # of which reading says more
        changed_ns = 0
    return _loaded(path, changed_ns)


@lru_cache(maxsize=32)
def _loaded(path: Path, changed_ns: int) -> Image:
    data = _content(path)
    if data.startswith(PNG):
        kind, size, whole = "png", png_size(data), PNG_END in data
    elif data.startswith(JPEG):
        kind, size, whole = "jpeg", jpeg_size(data), JPEG_END in data
    else:
        raise UsageError(f"{path}: is neither PNG nor JPEG, which are the images that services take")
    if size is None or not whole:
        raise UsageError(f"{path}: is truncated or damaged")
    width, height = size
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Image(url=url, width=width, height=height, digest=hashlib.sha256(data).hexdigest())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path}: is larger than {MOST_BYTES >> 20} MiB; make the image smaller")
    return data


def png_size(data: bytes) -> Size | None:
    """Find the size of a PNG; None where it does not say one."""
    if data[PNG_HEADER] != FIRST_CHUNK or len(data) < 24:
        return None
    return _positive(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))


def jpeg_size(data: bytes) -> Size | None:
    """Find the size of a JPEG; None where it does not say one."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in FRAME_HEADERS:
            height, width = int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9])
            return _positive(width, height)
        elif marker == START_OF_SCAN:
            return None
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4]))
    return None


def _positive(width: int, height: int) -> Size | None:
    return (width, height) if width and height else None
