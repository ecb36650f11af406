"""What a message of a conversation holds, in words that hold for every dialect."""

from __future__ import annotations

from typing import Literal

import msgspec

MessageRole = Literal["system", "assistant", "user"]


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that goes with a message. `url`: all of it, as a data URL; `width`, `height`: in pixels.

    `digest`: SHA-256 of its file, hex.
    """

    url: str
    width: int
    height: int
    digest: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message: words, and perhaps an image. Only a user's has one."""

    role: MessageRole
    text: str
    image: Image | None = None


class FunctionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a function returned that the service called, by the call's id."""

    call_id: str
    output: str
