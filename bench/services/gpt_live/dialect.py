"""The dialect of GPT-Live: OpenAI's `/v1/live/sessions`, Azure's `/openai/v1/live/sessions`.

The names and fields are those of the Live API's client and server events in openai-python 3.51 to
3.57 (`types/live`). Audio, including silence, is sent continuously in both directions. There is
nothing to request, commit, cancel or truncate.

The model hands a task over (a *delegation*) and continues to speak meanwhile:

- To the client, by default. The event does not contain the task. The client sends the result as
  commentary, which the model speaks.
- To a backend of the service, a model of the Responses API (`delegation: {type: responses, …}`).
  The backend's events are nested in `response.event`. It calls the client's functions. After their
  outputs the client must request the next response, but not while any call of the session is
  unanswered (`function_call_outputs_required`). The tokens of the backend are billed in addition to
  the minutes of the session.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.pricing import Billing
from bench.files.validation import Choice, Converted, Field, Integer, JsonObject, OrStruct, String
from bench.services.full_duplex import CLOSE, OpenAIDuplexDialect, client_message
from bench.services.gpt_live.events import BACKEND, CLIENT, STARTED, LiveReader
from bench.services.openai.dialect import GPT_LIVE_NAME, ga_format, tool_choice
from bench.services.openai.events import MAX_DURATION_CLOSE
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, by_name
from bench.wire.dialect import AwaitedEvent, ClientMessage, MessageKind
from bench.wire.events import EventKind, ServerEvent
from bench.wire.service import Route
from bench.wire.settings import (
    FunctionOutput,
    Keys,
    Message,
    ResponseSettings,
    SessionSettings,
    SettingKeys,
    TypedMapValidator,
    UnsupportedSetting,
    merged,
    text_at,
    undone,
    without_none,
)

FIRST_MODEL = "gpt-live-1"
START = "session.start"
APPEND = "session.input_audio.append"
COMMENTARY = "session.commentary.append"
BACKEND_ITEM = "response.item.create"
BACKEND_REQUEST = "response.create"
NO_STANDBY = "only sessions over WebRTC have standby: set `transport: webrtc`"
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("model",): "use `model`",
        ("instructions",): "use `instructions`",
        ("audio", "format"): "use `input_format`",
        ("input",): "use `history`",
        ("delegation",): "use `delegation`",
        ("store",): "this tool cannot fork sessions, and so needs no stored one",
        ("idle_timeout_s",): NO_STANDBY,
        ("wake_policy",): NO_STANDBY,
        ("triggers",): "the tokens of that backend are not reported, so their cost is unknown",
    }
)
MAX_HISTORY = 128
"""The maximum number of messages before the start of a session."""
ROLES = {"system": "developer"}
"""A mapping from the role of a message in a script to GPT-Live's role, if the names differ."""
ACKNOWLEDGEMENT: dict[str, Any] = {
    "acknowledgement_delay_ms": Field(
        Integer(0, 600_000), "The delay of an automatic filler, in ms."
    )
}
DELEGATION = Converted(
    OrStruct(
        Choice(("client",)),
        TypedMapValidator(
            {
                "client": ACKNOWLEDGEMENT,
                "responses": {
                    "responses": Field(
                        JsonObject(),
                        "The backend: its `model`, `instructions` and so on, in the service's"
                        " format.",
                    ),
                    **ACKNOWLEDGEMENT,
                },
            }
        ),
    ),
    lambda _, value: {"type": value} if isinstance(value, str) else value,
)
SETTING_KEYS = SettingKeys(
    {
        "model": Field(
            String(), "The model that answers, if it is a setting of the session. GPT-Live only."
        ),
        "delegation": Field(
            DELEGATION,
            "Who does the tasks that GPT-Live delegates: client (the default), or a table with a"
            " `type`.",
        ),
    }
)
"""The keys of a script's `session` that only GPT-Live has."""


# Two things are refused rather than measured wrongly: a backend whose tokens the service does not
# report, and settings of it in `extra` (`STORED`), because the cost of such a session would be
# unknown.
class GptLive(OpenAIDuplexDialect):
    """GPT-Live, a model that listens while it speaks."""

    name = GPT_LIVE_NAME
    title = "GPT-Live"
    append_name = APPEND
    stored = STORED
    reader = LiveReader
    settings = frozenset(
        {
            "output",
            "instructions",
            "voice",
            "turn_detection",
            "input_format",
            "output_format",
            "model",
            "extra",
            "delegation",
            "tools",
            "tool_choice",
            "history",
        }
    )
    only_duplex = "GPT-Live decides by itself when to speak, and does not accept commits"
    has_history_in_settings = True
    has_tasks = True
    backend_model = ("delegation", BACKEND, "model")
    billing = Billing.BACKEND
    expiry = MAX_DURATION_CLOSE
    setting_keys = SETTING_KEYS
    input_formats = output_formats = by_name(PCM16, PCM16_16K, G711_ULAW, G711_ALAW)
    message_kinds = MappingProxyType(
        {
            START: MessageKind.SET_UP,
            APPEND: MessageKind.APPEND,
            COMMENTARY: MessageKind.ITEM,
            BACKEND_ITEM: MessageKind.ITEM,
            BACKEND_REQUEST: MessageKind.REQUEST,
            CLOSE: MessageKind.CLOSE,
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.session_decoder = lambda: self.reader().decode

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if not (settings.voice is None or isinstance(settings.voice, str)):
            return UnsupportedSetting(("voice",), "voice must be the name of a GPT-Live voice")
        if settings.tool_choice is not None and not _is_backed(settings):
            problem = (
                f"tool_choice needs `delegation: {{type: {BACKEND}}}`: a task for the client names"
                " no function"
            )
            return UnsupportedSetting(("tool_choice",), problem)
        backend = text_at(self.backend_model, {"delegation": settings.delegation})
        if backend is None and _is_backed(settings):
            problem = (
                f"names no model of the backend: `delegation: {{type: {BACKEND}, {BACKEND}:"
                " {model: NAME}}`"
            )
            return UnsupportedSetting(("delegation",), f"delegation {problem}")
        if (count := len(settings.history)) > MAX_HISTORY:
            problem = f"the history has {count} messages: GPT-Live accepts at most {MAX_HISTORY}"
            return UnsupportedSetting(("history",), problem)
        return undone(self._session(settings), settings.extra, self.stored)

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the set-up. The client sends the first message."""
        start = client_message(
            MessageKind.SET_UP,
            START,
            event_id,
            session=merged(self._session(settings), settings.extra),
        )
        return start, AwaitedEvent(EventKind.SESSION_UPDATED, STARTED)

    def _session(self, settings: SessionSettings) -> dict[str, Any]:
        voice = {"output": {"voice": settings.voice}} if settings.voice else {}
        format = self.input_format_for(settings)
        return without_none(
            model=settings.model or FIRST_MODEL,
            instructions=settings.instructions,
            audio={"format": ga_format(format) | {"rate": format.rate_hz}, **voice},
            delegation=_delegation(settings),
            input=[_history_message(message) for message in settings.history] or None,
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == START:
            return "starts another session"
        session = event.get("session")
        delegation = session.get("delegation") if isinstance(session, Mapping) else None
        if isinstance(delegation, Mapping) and delegation.get("type") not in (CLIENT, BACKEND):
            return (
                f"must not delegate to {delegation.get('type')}: the tokens of that backend are not"
                " reported"
            )
        if event["type"] == CLOSE:
            return "ends the session, which this tool does after the last step"
        return ""

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        if result.is_task:
            fields = {"content": result.output, "delegation_id": result.call_id}
            return client_message(MessageKind.ITEM, COMMENTARY, event_id, **fields)
        item = {"type": "function_call_output", "call_id": result.call_id, "output": result.output}
        return client_message(MessageKind.ITEM, BACKEND_ITEM, event_id, item=item)

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """Return the request of the backend's next response."""
        return client_message(MessageKind.REQUEST, BACKEND_REQUEST, event_id)

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        return self.reader().decode(message)


def _is_backed(settings: SessionSettings) -> bool:
    return settings.delegation is not None and settings.delegation.get("type") == BACKEND


def _delegation(settings: SessionSettings) -> dict[str, Any] | None:
    """Return the `delegation` of a session. The script's functions are the backend's tools."""
    if not _is_backed(settings):
        return settings.delegation
    tools = [{"type": "function"} | msgspec.to_builtins(tool) for tool in settings.tools]
    backend = {"tools": tools or None, "tool_choice": tool_choice(settings.tool_choice)}
    return merged({BACKEND: without_none(**backend)}, settings.delegation or {})


def _history_message(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    role = ROLES.get(message.role, message.role)
    return {"type": "message", "role": role, "content": [{"type": kind, "text": message.text}]}


GPT_LIVE = GptLive()
ROUTES: Mapping[str, Route] = {
    "openai": Route("/v1/live/sessions", GPT_LIVE),
    "azure": Route("/openai/v1/live/sessions", GPT_LIVE, title=GPT_LIVE.title),
}
