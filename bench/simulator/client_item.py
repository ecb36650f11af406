"""Reads the items that clients describe, with what they cost. What is wrong with one raises RejectedError."""

from __future__ import annotations

import binascii
from typing import Any

from bench.protocol.audio import AudioFormat
from bench.simulator.checks import choice, missing, rejected_type, text
from bench.simulator.conversation_item import (
    ConversationItem,
    TokenCounts,
    message_body,
    text_tokens,
    user_audio_tokens,
)
from bench.simulator.wire import GA, Json, RejectedError, WireNames

IMAGE_TOKENS = {"low": 85, "high": 765, "auto": 765}  # by detail: an assumption, as for an image of 1024 × 1024


def client_item(item_id: str, wanted: Any, names: WireNames, heard: AudioFormat) -> ConversationItem:
    """The item that conversation.item.create asks for. Raises RejectedError."""
    if wanted is None:
        raise missing("item")
    if not isinstance(wanted, dict):
        raise rejected_type("item", "an object")
    item_id = text(wanted.get("id") or item_id, "item.id")
    kind = choice("message", "function_call", "function_call_output")(wanted.get("type"), "item.type")
    if kind == "message":
        return _client_message(item_id, wanted, names, heard)
    return _client_call(item_id, wanted, kind)


def _client_call(item_id: str, wanted: Json, kind: str) -> ConversationItem:
    """A call may come without an id, its output may not: it would answer nothing."""
    calls = kind == "function_call"
    keys = ("call_id", "name", "arguments") if calls else ("call_id", "output")
    nameless = calls and wanted.get("call_id") is None
    described = wanted | {"call_id": f"call_of_{item_id}"} if nameless else wanted
    values = {key: text(described.get(key), f"item.{key}") for key in keys}
    body = {"id": item_id, "object": "realtime.item", "type": kind, "status": "completed", **values}
    return ConversationItem(item_id, body, TokenCounts(sum(map(text_tokens, values.values()))))


def _client_message(item_id: str, wanted: Json, names: WireNames, heard: AudioFormat) -> ConversationItem:
    role = choice("user", "assistant", "system")(wanted.get("role"), "item.role")
    content = wanted.get("content")
    if not isinstance(content, list):
        raise rejected_type("item.content", "an array")
    parts = [_part(role, part, f"item.content[{index}]", names, heard) for index, part in enumerate(content)]
    tokens = TokenCounts(*(sum(kind) for kind in zip(*(tokens for _, tokens in parts), strict=True)))
    return ConversationItem(item_id, message_body(item_id, role, [part for part, _ in parts]), tokens)


def _part(role: str, part: Any, path: str, names: WireNames, heard: AudioFormat) -> tuple[Json, TokenCounts]:
    """A part of a message as events show it, without audio and images, and what it costs."""
    if not isinstance(part, dict):
        raise rejected_type(path, "an object")
    kind = choice(*_part_types(role, names))(part.get("type"), f"{path}.type")
    if kind == "input_audio":
        audio = decoded_audio(part.get("audio"), f"{path}.audio")
        tokens = TokenCounts(audio=user_audio_tokens(len(audio) * 1000 / heard.bytes_per_s))
        return {"type": kind, "transcript": part.get("transcript")}, tokens
    if kind == "input_image":
        detail = choice(*IMAGE_TOKENS)(part.get("detail") or "auto", f"{path}.detail")
        check_image(part.get("image_url"), f"{path}.image_url")
        return {"type": kind, "detail": detail}, TokenCounts(image=IMAGE_TOKENS[detail])
    return {"type": kind, "text": part.get("text")}, TokenCounts(text_tokens(text(part.get("text"), f"{path}.text")))


def _part_types(role: str, names: WireNames) -> tuple[str, ...]:
    if role == "assistant":
        return (names.text_part,)  # a client cannot put audio into the assistant's mouth
    if role == "user":
        return ("input_text", "input_audio", "input_image") if names is GA else ("input_text", "input_audio")
    return ("input_text",)


def decoded_audio(encoded: Any, path: str) -> bytes:
    """The bytes of audio that the base64 text holds. Raises RejectedError."""
    if encoded is None:
        raise missing(path)
    try:
        return binascii.a2b_base64(text(encoded, path), strict_mode=True)
    except ValueError as error:  # binascii.Error, or letters outside of ASCII
        raise RejectedError("invalid_value", f"Invalid '{path}'. Expected base64-encoded audio bytes.", path) from error


def check_image(url: Any, path: str) -> None:
    """Raises RejectedError for what is not a PNG or a JPEG in a data URL."""
    if url is None:
        raise missing(path)
    if not text(url, path).startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
        problem = f"Invalid '{path}'. Expected a base64-encoded data URL of a PNG or JPEG image."
        raise RejectedError("invalid_value", problem, path)
