"""Complete text frames, which are nearly all traffic. They are read and written without a state machine.

All other frames (control frames, fragments, compression) are handled by websockets' protocol object, which is slower
and implements all of RFC 6455.
"""

from __future__ import annotations

import struct

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # it masks in C if available

from bench.base.clock import Arrival
from bench.transport.socket_read import SocketRead
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage

FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
"""The first byte of a complete text message and of a complete binary message.

FIN is set, the reserved bits are 0, and the opcode is 1 or 2 (RFC 6455 §5.2).
"""
SHORT, TWO_BYTES, EIGHT_BYTES, MASKED = 126, 126, 127, 0x80
SHORT_HEADER, LONG_HEADER, MASK_BYTES = 2, 4, 4
MAX_LENGTH = 0xFFFF


def leading_texts(read: SocketRead) -> tuple[list[ReceivedMessage], int]:
    """Return the messages in the complete text frames at the start of a read, and the number of bytes of these frames.

    The length of a frame must be given in seven bits, or in sixteen bits if seven are not enough. A frame that needs
    more bits is left to the protocol object. The timestamp of a read is the arrival of its last segment. If the read is
    complete, the timestamp is exact for the frame at its end.
    """
    data, timestamp_ns, empty_ns, kernel, complete = read
    arrival = Arrival(timestamp_ns, timestamp_ns - empty_ns, kernel)
    texts, at, size = [], 0, len(data)
    while at + SHORT_HEADER <= size and data[at] == FINAL_TEXT:
        length, header = data[at + 1], SHORT_HEADER
        if length == TWO_BYTES and at + LONG_HEADER <= size:
            length, header = data[at + 2] << 8 | data[at + 3], LONG_HEADER
            # not the shortest header, which is required (RFC 6455 §5.2): left to the protocol object
            if length < SHORT:
                break
        elif length >= TWO_BYTES:  # eight bytes of length, a mask, or an incomplete header
            break
        end = at + header + length
        if end > size:
            break
        if complete and end == size:
            arrival = Arrival(timestamp_ns, 0, kernel)
        texts.append(ReceivedMessage(data[at + header : end], arrival, end - at))
        at = end
    return texts, at


def masked_frame(payload: bytes, mask: bytes) -> bytes:
    """Return a message in one frame, as a client sends it: masked with the four random bytes `mask` (RFC 6455 §5.3)."""
    length, first = len(payload), FINAL_BINARY if type(payload) is BinaryMessage else FINAL_TEXT
    if length < SHORT:
        header = struct.pack("!BB", first, MASKED | length)
    elif length <= MAX_LENGTH:
        header = struct.pack("!BBH", first, MASKED | TWO_BYTES, length)
    else:
        header = struct.pack("!BBQ", first, MASKED | EIGHT_BYTES, length)
    return b"".join((header, mask, apply_mask(payload, mask)))


def missing_bytes(start: bytes) -> int:
    """Return how many bytes of an incomplete frame are missing.

    If the header is incomplete, only its missing bytes are counted. Return 0 if `leading_texts` does not accept the
    frame.
    """
    size = len(start)
    if start[0] != FINAL_TEXT:
        return 0
    if size < SHORT_HEADER:
        return SHORT_HEADER - size
    length, header = start[1], SHORT_HEADER
    if length == TWO_BYTES:
        if size < LONG_HEADER:
            return LONG_HEADER - size
        length, header = start[2] << 8 | start[3], LONG_HEADER
        if length < SHORT:
            return 0
    elif length > TWO_BYTES:
        return 0
    return header + length - size
