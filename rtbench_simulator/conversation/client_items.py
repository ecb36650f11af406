"""The items that clients describe, with their tokens. An invalid item raises RejectedError."""

# The forms of items are tables by dialect and role, because the services differ there: GA names
# parts of the assistant differently from preview, and only GA has images. A key that an official
# SDK sends for all kinds of items is accepted everywhere and ignored; any other key is an error, as
# at the services.

import binascii
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bench.files.validation import Converted, KindOf, RegexString, Validator
from bench.files.yaml_file import LocatedValue
from bench.wire.audio import AudioFormat
from rtbench_simulator.conversation.items import (
    Conversation,
    ConversationItem,
    TokenCounts,
    message_body,
    text_tokens,
    user_audio_tokens,
)
from rtbench_simulator.server_events import GA, PREVIEW, Json, WireNames
from rtbench_simulator.session import checks
from rtbench_simulator.session.checks import EventValue, SettingTable
from rtbench_simulator.session.session_schema import FUNCTION_NAME

# by detail: an assumption, as for an image of 1024 × 1024
IMAGE_TOKENS = {"low": 85, "high": 765, "auto": 765}
MAX_AUDIO_BYTES = 15 << 20  # per event
ID = checks.short(32)


def _audio_bytes(value: LocatedValue, text: str) -> bytes:
    """Return the audio that a base64 text contains."""
    try:
        audio = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error, or characters outside ASCII
        raise value.refuse("must be base64-encoded audio") from error
    if len(audio) > MAX_AUDIO_BYTES:
        raise value.refuse(
            f"must be at most 15 MiB of audio, not {len(audio)} bytes", "string_above_max_length"
        )
    return audio


AUDIO: Validator[bytes] = Converted(checks.TEXT, _audio_bytes)
IMAGE_URL = RegexString(
    r"data:image/(png|jpeg);base64,[\s\S]*", "a base64-encoded data URL of a PNG or JPEG image"
)


# Messages

TYPED_PART = ("id", "audio", "detail", "image_url", "text", "transcript")
"""The keys that the SDK's types have for every kind of part, although not all kinds use them."""


def part(table: SettingTable, *required: str) -> Validator[Any]:
    return checks.object_of(
        {**dict.fromkeys(TYPED_PART, checks.IGNORED), "type": checks.ANYTHING, **table}, *required
    )


TEXT_PART = part({"text": checks.TEXT}, "text")
AUDIO_PART = part({"audio": AUDIO, "transcript": checks.TEXT}, "audio")
IMAGE_PART = part({"image_url": IMAGE_URL, "detail": checks.choice(*IMAGE_TOKENS)}, "image_url")
# its audio is not stored
SPOKEN_PART = part({"transcript": checks.TEXT, "audio": checks.TEXT}, "transcript")

PARTS: Mapping[WireNames, Mapping[str, Validator[Any]]] = {
    GA: {
        "user": KindOf(
            {"input_text": TEXT_PART, "input_audio": AUDIO_PART, "input_image": IMAGE_PART}
        ),
        "assistant": KindOf({"output_text": TEXT_PART, "output_audio": SPOKEN_PART}),
        "system": KindOf({"input_text": TEXT_PART}),
    },
    PREVIEW: {
        "user": KindOf({"input_text": TEXT_PART, "input_audio": AUDIO_PART}),
        "assistant": KindOf({"text": TEXT_PART}),  # a client cannot create audio of the assistant
        "system": KindOf({"input_text": TEXT_PART}),
    },
}


def _read_part(part: Json, audio_format: AudioFormat) -> tuple[Json, TokenCounts]:
    """Return (the part as events show it, its number of tokens). Events show neither audio nor
    images.
    """
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

ITEM: SettingTable = {
    "id": ID,
    "type": checks.ANYTHING,
    "object": checks.choice("realtime.item"),
    "status": checks.choice("completed", "incomplete", "in_progress"),
}
FLAT_ITEM = ("role", "content", "name", "call_id", "arguments", "output")
"""The keys that the preview's single item type has for every kind of item."""

CALL_KEYS: SettingTable = {**ITEM, "call_id": ID, "name": FUNCTION_NAME, "arguments": checks.TEXT}
APPROVAL_KEYS: SettingTable = {
    "id": ID,
    "type": checks.ANYTHING,
    "approval_request_id": checks.TEXT,
    "approve": checks.FLAG,
    "reason": checks.TEXT,
}
OUTPUT_KEYS: SettingTable = {**ITEM, "call_id": ID, "output": checks.TEXT}


def items_check(
    parts: Mapping[str, Validator[Any]],
    *,
    flat_message: bool,
    flat_calls: bool,
    more: Mapping[str, Validator[Any]] = MappingProxyType({}),
) -> Validator[Any]:
    """Return the check of an item that a client may create. `parts` has the check of a message's
    part for each role.

    `flat_message` is True if a message may have the keys of FLAT_ITEM, which are then ignored.
    `flat_calls` is the same for a function call and its output. `more` are the checks of further
    types of items.
    """
    of_message, of_calls = (
        dict.fromkeys(FLAT_ITEM if flat else (), checks.IGNORED)
        for flat in (flat_message, flat_calls)
    )

    messages = {
        role: checks.object_of(
            {
                **of_message,
                **ITEM,
                "role": checks.ANYTHING,
                "content": checks.array(part, empty=False),
            },
            "content",
        )
        for role, part in parts.items()
    }
    return KindOf(
        {
            "message": KindOf(messages, "role"),
            "function_call": checks.object_of({**of_calls, **CALL_KEYS}, "name", "arguments"),
            "function_call_output": checks.object_of(
                {**of_calls, **OUTPUT_KEYS}, "call_id", "output"
            ),
            **more,
        }
    )


REFERENCE = checks.object_of({"type": checks.ANYTHING, "id": checks.TEXT}, "id")
MODEL_INPUT_KEYS = ("call_id", "name", "arguments", "output")
"""The keys of a function call, or of its output, that the model reads."""

MCP_ITEMS = {
    "mcp_approval_response": checks.object_of(APPROVAL_KEYS, "approval_request_id", "approve")
}
ITEMS = {
    True: items_check(
        PARTS[GA],
        flat_message=False,
        flat_calls=False,
        more=MCP_ITEMS,
    ),
    False: items_check(PARTS[PREVIEW], flat_message=True, flat_calls=True),
}
"""The check of the items that a client may create, by `WireNames.is_ga`."""


class ItemReader:
    """A reader of the items of one session. If an item has no id, the reader creates one.

    Its methods receive the format of the audio in the items as `audio_format`.
    """

    def __init__(self, conversation: Conversation, check: Validator[Json]) -> None:
        self._conversation = conversation
        self._ids = conversation.ids
        self._check = check

    def item(self, description: EventValue, audio_format: AudioFormat) -> ConversationItem:
        """Return the item that a client describes. Raise RejectedError if the description is
        invalid.
        """
        checked = self._check.read(description)
        checked["id"] = checked.get("id") or self._ids.new("item")
        if checked["type"] == "message":
            content, tokens = zip(
                *(_read_part(part, audio_format) for part in checked["content"]), strict=True
            )
            body = message_body(checked["id"], checked["role"], list(content))
            return ConversationItem(
                checked["id"], body, TokenCounts(*map(sum, zip(*tokens, strict=True)))
            )
        if checked["type"] == "function_call" and "call_id" not in checked:
            # a function call may omit the id, but its output may not
            checked["call_id"] = self._ids.new("call")
        if checked["type"].startswith("function_call"):
            checked |= {"object": "realtime.item", "status": "completed"}
        counts = TokenCounts(sum(text_tokens(checked.get(key) or "") for key in MODEL_INPUT_KEYS))
        return ConversationItem(checked["id"], checked, counts)

    def response_input(
        self, descriptions: Sequence[EventValue], audio_format: AudioFormat
    ) -> list[ConversationItem]:
        """Return the items that a response reads instead of the conversation.

        Each description is a complete item, or a reference to an item of the conversation.
        """
        items = []
        for description in descriptions:
            if (
                isinstance(description.data, dict)
                and description.data.get("type") == "item_reference"
            ):
                item_id = REFERENCE.read(description)["id"]
                items.append(
                    self._conversation.known(item_id, "invalid_value", description.path_of("id"))
                )
            else:
                items.append(self.item(description, audio_format))
        return items
