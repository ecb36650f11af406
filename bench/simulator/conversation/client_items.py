"""The items that clients describe, with their tokens. An invalid item raises RejectedError."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bench.simulator.conversation.items import (
    Conversation,
    ConversationItem,
    TokenCounts,
    message_body,
    text_tokens,
    user_audio_tokens,
)
from bench.simulator.server_events import GA, PREVIEW, Json, RejectedError, WireNames
from bench.simulator.session import checks
from bench.simulator.session.checks import CheckTable, EventPath, SettingCheck
from bench.simulator.session.session_schema import function_name
from bench.wire.audio import AudioFormat

IMAGE_TOKENS = {"low": 85, "high": 765, "auto": 765}  # by detail: an assumption, as for an image of 1024 × 1024
MAX_AUDIO_BYTES = 15 << 20  # per event
ID = checks.short(32)


def audio_bytes(value: Any, event_path: EventPath) -> bytes:
    """Return the audio that a base64 text contains. Raise RejectedError if the text is invalid."""
    try:
        audio = binascii.a2b_base64(checks.text(value, event_path), strict_mode=True)
    except ValueError as error:  # binascii.Error, or characters outside ASCII
        problem = f"Invalid '{event_path.path}'. Expected base64-encoded audio bytes."
        raise RejectedError("invalid_value", problem, event_path.path) from error
    if len(audio) > MAX_AUDIO_BYTES:
        problem = (
            f"Invalid '{event_path.path}': audio too long. Expected at most 15 MiB, but got {len(audio)} bytes instead."
        )
        raise RejectedError("string_above_max_length", problem, event_path.path)
    return audio


def image_url(value: Any, event_path: EventPath) -> str:
    if not checks.text(value, event_path).startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
        problem = f"Invalid '{event_path.path}'. Expected a base64-encoded data URL of a PNG or JPEG image."
        raise RejectedError("invalid_value", problem, event_path.path)
    return str(value)


# Messages

TYPED_PART = ("id", "audio", "detail", "image_url", "text", "transcript")
"""The keys that the SDK's types have for every kind of part, although not all kinds use them."""


def part(table: CheckTable, *required: str) -> SettingCheck:
    return checks.shape({**dict.fromkeys(TYPED_PART, checks.ignored), "type": checks.anything, **table}, *required)


TEXT_PART = part({"text": checks.text}, "text")
AUDIO_PART = part({"audio": audio_bytes, "transcript": checks.text}, "audio")
IMAGE_PART = part({"image_url": image_url, "detail": checks.choice(*IMAGE_TOKENS)}, "image_url")
SPOKEN_PART = part({"transcript": checks.text, "audio": checks.text}, "transcript")  # its audio is not stored

PARTS: Mapping[WireNames, Mapping[str, SettingCheck]] = {
    GA: {
        "user": checks.by_type({"input_text": TEXT_PART, "input_audio": AUDIO_PART, "input_image": IMAGE_PART}),
        "assistant": checks.by_type({"output_text": TEXT_PART, "output_audio": SPOKEN_PART}),
        "system": checks.by_type({"input_text": TEXT_PART}),
    },
    PREVIEW: {
        "user": checks.by_type({"input_text": TEXT_PART, "input_audio": AUDIO_PART}),
        "assistant": checks.by_type({"text": TEXT_PART}),  # a client cannot create audio of the assistant
        "system": checks.by_type({"input_text": TEXT_PART}),
    },
}


def _read_part(part: Json, audio_format: AudioFormat) -> tuple[Json, TokenCounts]:
    """Return (the part as events show it, its number of tokens). Events show neither audio nor images."""
    visible = {key: value for key, value in part.items() if key not in ("audio", "image_url")}
    match part["type"]:
        case "input_audio":
            audio_ms = len(part["audio"]) * 1000 / audio_format.bytes_per_s
            return {"transcript": None, **visible}, TokenCounts(audio=user_audio_tokens(audio_ms))
        case "input_image":
            visible = {"detail": "auto", **visible}
            return visible, TokenCounts(image=IMAGE_TOKENS[visible["detail"]])
    return visible, TokenCounts(text_tokens(part.get("text") or part.get("transcript") or ""))


# Items

ITEM: CheckTable = {
    "id": ID,
    "type": checks.anything,
    "object": checks.choice("realtime.item"),
    "status": checks.choice("completed", "incomplete", "in_progress"),
}
FLAT_ITEM = ("role", "content", "name", "call_id", "arguments", "output")
"""The keys that the preview's single item type has for every kind of item."""

CALL_KEYS: CheckTable = {**ITEM, "call_id": ID, "name": function_name, "arguments": checks.text}
APPROVAL_KEYS: CheckTable = {
    "id": ID,
    "type": checks.anything,
    "approval_request_id": checks.text,
    "approve": checks.flag,
    "reason": checks.text,
}
OUTPUT_KEYS: CheckTable = {**ITEM, "call_id": ID, "output": checks.text}


def items_check(
    parts: Mapping[str, SettingCheck],
    *,
    flat_message: bool,
    flat_calls: bool,
    more: Mapping[str, SettingCheck] = MappingProxyType({}),
) -> SettingCheck:
    """Return the check of an item that a client may create. `parts` has the check of a message's part for each role.

    `flat_message` is True if a message may have the keys of FLAT_ITEM, which are then ignored. `flat_calls` is the same
    for a function call and its output. `more` are the checks of further types of items.
    """
    of_message, of_calls = (
        dict.fromkeys(FLAT_ITEM if flat else (), checks.ignored) for flat in (flat_message, flat_calls)
    )

    def check_message(value: Json, event_path: EventPath) -> Json:
        of_role = next((check for role, check in parts.items() if role == value.get("role")), checks.anything)
        keys: CheckTable = {
            **of_message,
            **ITEM,
            "role": checks.choice(*parts),
            "content": checks.array(of_role, empty=False),
        }
        return checks.accepted(keys, {}, value, event_path, required=("role", "content"))

    return checks.by_type(
        {
            "message": check_message,
            "function_call": checks.shape({**of_calls, **CALL_KEYS}, "name", "arguments"),
            "function_call_output": checks.shape({**of_calls, **OUTPUT_KEYS}, "call_id", "output"),
            **more,
        }
    )


REFERENCE = checks.shape({"type": checks.anything, "id": checks.text}, "id")
MODEL_INPUT_KEYS = ("call_id", "name", "arguments", "output")
"""The keys of a function call, or of its output, that the model reads."""

ITEMS = {
    GA: items_check(
        PARTS[GA],
        flat_message=False,
        flat_calls=False,
        more={"mcp_approval_response": checks.shape(APPROVAL_KEYS, "approval_request_id", "approve")},
    ),
    PREVIEW: items_check(PARTS[PREVIEW], flat_message=True, flat_calls=True),
}


class ItemReader:
    """A reader of the items of one session. If an item has no id, the reader creates one.

    Its methods receive the format of the audio in the items as `audio_format`.
    """

    def __init__(self, conversation: Conversation, check: checks.SettingCheck) -> None:
        self._conversation, self._ids = conversation, conversation.ids
        self._check = check

    def item(self, description: Any, audio_format: AudioFormat) -> ConversationItem:
        """Return the item that a client describes. Raise RejectedError if the description is invalid."""
        event_path = EventPath("item")
        if description is None:
            raise checks.missing(event_path)
        return self._described(description, audio_format, event_path)

    def response_input(self, descriptions: Sequence[Any], audio_format: AudioFormat) -> list[ConversationItem]:
        """Return the items that a response reads instead of the conversation.

        Each description is a complete item, or a reference to an item of the conversation.
        """
        items, event_path = [], EventPath("response.input")
        for number, description in enumerate(descriptions):
            entry_path = event_path.entry(number)
            if isinstance(description, dict) and description.get("type") == "item_reference":
                item_id = REFERENCE(description, entry_path)["id"]
                items.append(self._conversation.known(item_id, "invalid_value", entry_path.key("id").path))
            else:
                items.append(self._described(description, audio_format, entry_path))
        return items

    def _described(self, description: Any, audio_format: AudioFormat, event_path: EventPath) -> ConversationItem:
        checked = self._check(description, event_path)
        checked["id"] = checked.get("id") or self._ids.new("item")
        if checked["type"] == "message":
            content, tokens = zip(*(_read_part(part, audio_format) for part in checked["content"]), strict=True)
            body = message_body(checked["id"], checked["role"], list(content))
            return ConversationItem(checked["id"], body, TokenCounts(*map(sum, zip(*tokens, strict=True))))
        if checked["type"] == "function_call" and "call_id" not in checked:
            checked["call_id"] = self._ids.new("call")  # a function call may omit the id, but its output may not
        if checked["type"].startswith("function_call"):
            checked |= {"object": "realtime.item", "status": "completed"}
        tokens = TokenCounts(sum(text_tokens(checked.get(key) or "") for key in MODEL_INPUT_KEYS))
        return ConversationItem(checked["id"], checked, tokens)
