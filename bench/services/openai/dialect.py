"""The GA dialect of OpenAI's Realtime API, and what the dialects that derive from it or from the
preview share.

Names and fields are those of the events in the preview (api-versions 2024-10-01-preview,
2025-04-01-preview) and in GA. In GA the session is nested and has a type, and the names of output
parts contain `output`. This module encodes client messages, and `events.py` decodes server events.
"""

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bench.catalogue.outcomes import AGENT_DIALECTS
from bench.services.openai.events import (
    FILLERS,
    FUNCTION_CALL,
    GA_PARTS,
    MAX_DURATION_CLOSE,
    MCP_APPROVAL_REQUEST,
    MCP_CALL,
    PREVIEW_PARTS,
    REQUEST_KEY,
    EventReader,
)
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    AudioFormatName,
    by_name,
)
from bench.wire.dialect import AwaitedEvent, ClientMessage, Feature, MessageKind, secret_placeholder
from bench.wire.events import EventKind, FunctionCall
from bench.wire.settings import (
    FULL_DUPLEX,
    ONLY_TRANSCRIPT,
    REPLY_SETTINGS,
    FunctionOutput,
    Keys,
    McpServer,
    Message,
    Output,
    ResponseSettings,
    SessionSettings,
    UnsupportedSetting,
    conflict,
    merged,
    undone,
    without_none,
)

FORMATS = by_name(PCM16, G711_ULAW, G711_ALAW)
"""The formats that OpenAI accepts and sends."""
RATED_FORMATS = {**FORMATS, **by_name(PCM16_8K, PCM16_16K, PCM16_48K)}
"""The formats that are possible if a setting can state the rate: OpenAI's formats, and those of
compatible servers."""
NAMES = {
    MessageKind.SET_UP: "session.update",
    MessageKind.ITEM: "conversation.item.create",
    MessageKind.APPEND: "input_audio_buffer.append",
    MessageKind.COMMIT: "input_audio_buffer.commit",
    MessageKind.CLEAR: "input_audio_buffer.clear",
    MessageKind.REQUEST: "response.create",
    MessageKind.CANCEL: "response.cancel",
    MessageKind.TRUNCATE: "conversation.item.truncate",
    MessageKind.RETRIEVE: "conversation.item.retrieve",
}
TOOL_CHOICES = ("auto", "none", "required")
"""The values of `tool_choice` that are not the name of a function. Any other value is the name
of a function."""
GA_NAME = "ga"
PREVIEW_NAME = "preview"
VOICE_LIVE_NAME = "voice-live"
GPT_LIVE_NAME = "gpt-live"
QWEN_NAME = "qwen"
SMART_TURN = "smart_turn"
"""Qwen-Audio's turn detection by sound and meaning."""
TITLES = {
    GA_NAME: "GA",
    PREVIEW_NAME: "preview",
    VOICE_LIVE_NAME: "Voice Live",
    GPT_LIVE_NAME: "GPT-Live",
    QWEN_NAME: "Qwen",
}


# The services of this family have the same settings with few exceptions. The exceptions are a
# table. A service that ignores a setting without an error would run another configuration than the
# script states. So a setting that a dialect does not have is refused, with the dialect that has it.
class DialectSetting(NamedTuple):
    """A setting that not every dialect has, with its path below a script's `session`, and its name
    in errors.

    `owners` are the dialects that have it. `holds` returns whether a value needs such a dialect.
    """

    keys: tuple[str, ...]
    owners: tuple[str, ...]
    called: str
    holds: Callable[[Any], bool] = lambda value: True


OWNED = (
    DialectSetting(("temperature",), (PREVIEW_NAME, VOICE_LIVE_NAME), "temperature"),
    DialectSetting(("turn_detection", "idle_timeout_ms"), (GA_NAME,), "idle_timeout_ms"),
    DialectSetting(("reasoning",), (GA_NAME, VOICE_LIVE_NAME), "reasoning"),
    DialectSetting(("truncation",), (GA_NAME,), "truncation"),
    DialectSetting(("model",), (GPT_LIVE_NAME,), "model"),
    DialectSetting(
        ("turn_detection", "type"), (GPT_LIVE_NAME,), FULL_DUPLEX, lambda name: name == FULL_DUPLEX
    ),
    DialectSetting(
        ("turn_detection", "type"),
        (VOICE_LIVE_NAME,),
        "Azure's semantic VAD",
        lambda name: name.startswith("azure_"),
    ),
    DialectSetting(
        ("turn_detection", "type"), (QWEN_NAME,), SMART_TURN, lambda name: name == SMART_TURN
    ),
    DialectSetting(("turn_detection", "auto_truncate"), (VOICE_LIVE_NAME,), "auto_truncate"),
    DialectSetting(
        ("turn_detection", "end_of_utterance_detection"),
        (VOICE_LIVE_NAME,),
        "end_of_utterance_detection",
    ),
    DialectSetting(
        ("voice",),
        (VOICE_LIVE_NAME,),
        "a voice as a table",
        lambda voice: isinstance(voice, Mapping),
    ),
    DialectSetting(
        ("noise_reduction",),
        (VOICE_LIVE_NAME,),
        "Azure's noise suppression",
        lambda name: name.startswith("azure_"),
    ),
    DialectSetting(("echo_cancellation",), (VOICE_LIVE_NAME,), "echo_cancellation"),
    DialectSetting((FILLERS,), (VOICE_LIVE_NAME,), FILLERS),
)

WITHOUT_DETECTION: tuple[str, ...] = ("gpt-live-transcribe", "gpt-realtime-whisper")
"""The transcription models that detect no turns. A session with them must have a null
`turn_detection`."""
NO_REPLY = f"but a session with `output: {ONLY_TRANSCRIPT}` has no replies: remove it"
UNANSWERABLE: Mapping[Feature, str] = MappingProxyType(
    dict.fromkeys(
        (
            Feature.IMAGE,
            Feature.OUT_OF_BAND,
            Feature.ASKED,
            Feature.MESSAGE,
            Feature.INTERRUPTION,
            Feature.CUT,
            Feature.SOUND,
            Feature.CUE,
            Feature.HISTORY,
            Feature.RENEWAL,
            Feature.FUNCTIONS,
            Feature.REPLY,
            Feature.MCP,
        ),
        NO_REPLY,
    )
    | {
        Feature.TYPED: (
            f"but a session with `output: {ONLY_TRANSCRIPT}` only listens: use a recording"
            " (`audio`)"
        )
    }
)
"""The features that a session lacks if it only transcribes."""
NO_MCP: Mapping[Feature, str] = MappingProxyType(
    {
        Feature.MCP: (
            "which this tool supports only in the GA dialect: remove them, or use --dialect ga"
        )
    }
)
UNKNOWN: Mapping[Feature, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (Feature.IMAGE, Feature.OUT_OF_BAND),
            "which is undocumented for this service: remove it, or use another --dialect",
        ),
        **NO_MCP,
    }
)
"""MCP, and the features that are undocumented for these services, and that no client shows how
to request."""


class OpenAIDialect(EventReader):
    """The common part of a `bench.wire.dialect.Dialect` of the Realtime API.

    `family` is the dialect that has the same settings. `reply_part` is the type of the assistant's
    text parts. `stored` has the paths of the settings that only this tool may set in an update,
    each with a remedy for `extra`.
    """

    input_formats = output_formats = FORMATS
    message_kinds = MappingProxyType({name: kind for kind, name in NAMES.items()})
    expiry = MAX_DURATION_CLOSE
    family: str
    reply_part: str
    stored: Mapping[Keys, str]

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the `session` of a session.update, without `extra`."""
        raise NotImplementedError

    def session_family(self, settings: SessionSettings) -> str:
        """Return the prefix of the names of the events about a session."""
        return "session"

    def output(self, output: Output) -> dict[str, Any]:
        """Return the settings that select the output kinds of a session or response."""
        raise NotImplementedError

    # Sent messages.

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first session setting that the dialect does not support; None if it supports
        all settings.

        A setting in `extra` is also unsupported if it conflicts with a setting on which this tool
        relies.
        """
        return (
            self.unknown_format(settings, f" in the {self.name} dialect")
            or self._missing_feature(settings)
            or (
                self._unsupported_of_transcription(settings)
                if settings.output == ONLY_TRANSCRIPT
                else None
            )
            or undone(self.session(settings), settings.extra, self.stored)
        )

    def _missing_feature(self, settings: SessionSettings) -> UnsupportedSetting | None:
        setting = next(
            (
                setting
                for setting in OWNED
                if not {self.family, self.name} & {*setting.owners} and _is_set(settings, setting)
            ),
            None,
        )
        if setting is None:
            return None
        owner = setting.owners[0]
        if setting.called == FULL_DUPLEX:
            problem = f"{setting.called} needs the {TITLES[owner]} dialect, or that of an agent"
            remedy = (
                f"remove it, or use --dialect {AGENT_DIALECTS} for the URL of an agent, gpt-live"
                " for GPT-Live's"
            )
        else:
            problem = f"{setting.called} needs the {TITLES[owner]} dialect"
            remedy = f"remove it, or use --dialect {owner}"
        problem = f"{problem}; {TITLES[self.family]} does not support it"
        return UnsupportedSetting(setting.keys, f"{problem}: {remedy}")

    def missing_features_of(self, settings: SessionSettings) -> Mapping[Feature, str]:
        unanswerable = UNANSWERABLE if settings.output == ONLY_TRANSCRIPT else {}
        return {**self.missing_features, **unanswerable}

    def _unsupported_of_transcription(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first setting that a session cannot have if it only transcribes; None if
        there is none.
        """
        if not self.transcribers:
            problem = (
                f"output: {ONLY_TRANSCRIPT} needs the GA or preview dialect; {self.name} does not"
                " support it"
            )
            return UnsupportedSetting(("output",), f"{problem}: remove it, or use --dialect ga")
        for name in REPLY_SETTINGS:
            if getattr(settings, name) is not None:
                return UnsupportedSetting((name,), f"{name} is about replies, {NO_REPLY}")
        transcription = settings.input_transcription
        detection = settings.turn_detection
        if transcription is None:
            problem = (
                f"output: {ONLY_TRANSCRIPT} needs `input_transcription`: the model that transcribes"
            )
            return UnsupportedSetting(("output",), f"{problem} (on Azure GA its deployment)")
        if detection is None:
            return None
        if transcription.model in WITHOUT_DETECTION:
            problem = f"turn_detection must be none: {transcription.model} detects no turns"
            return UnsupportedSetting(("turn_detection",), problem)
        if detection.idle_timeout_ms is not None:
            return UnsupportedSetting(
                ("turn_detection", "idle_timeout_ms"),
                f"idle_timeout_ms is about replies, {NO_REPLY}",
            )
        return None

    # An update during a session (`send`) may add settings. It must not change those by which this
    # tool measures, such as the format of the audio, or who requests responses.
    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        """Return why an update changes what this tool relies on; "" if not. It may repeat or add
        settings.
        """
        session = event.get("session")
        if self.message_kinds.get(event["type"]) is not MessageKind.SET_UP or not isinstance(
            session, Mapping
        ):
            return ""
        own_settings = self.session(settings)
        others = {key: value for key, value in session.items() if own_settings.get(key) != value}
        unsupported = conflict(own_settings, others, self.stored)
        return "" if unsupported is None else unsupported.reason

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> tuple[ClientMessage | AwaitedEvent, ...]:
        """Return the set-up: await the first event, send the settings, and await the confirmation.

        Also await the tools of MCP servers: the model can call no tool that is not listed yet.
        """
        listed = (
            (AwaitedEvent(EventKind.MCP_LISTED, "mcp_list_tools.completed"),)
            if settings.mcp_servers
            else ()
        )
        family = self.session_family(settings)
        return (
            AwaitedEvent(EventKind.SESSION_CREATED, f"{family}.created"),
            self._named(
                MessageKind.SET_UP,
                f"{family}.update",
                event_id,
                session=merged(self.session(settings), settings.extra),
            ),
            AwaitedEvent(EventKind.SESSION_UPDATED, f"{family}.updated"),
            *listed,
        )

    def message(self, message: Message, event_id: str) -> ClientMessage:
        return self._message(MessageKind.ITEM, event_id, item=self._item(message))

    def _item(self, message: Message) -> dict[str, Any]:
        kind = self.reply_part if message.role == "assistant" else "input_text"
        content = [{"type": kind, "text": message.text}]
        if message.image is not None:
            content.append({"type": "input_image", "image_url": message.image.url})
        return {"type": "message", "role": message.role, "content": content}

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return self._message(
            MessageKind.APPEND, event_id, audio=base64.b64encode(audio).decode("ascii")
        )

    def commit(self, event_id: str) -> ClientMessage:
        return self._message(MessageKind.COMMIT, event_id)

    def clear(self, event_id: str) -> ClientMessage:
        return self._message(MessageKind.CLEAR, event_id)

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        metadata = settings.metadata
        if self.names_requests:
            # the service returns the metadata with the response, which names the request that it
            # answers
            metadata = (metadata or {}) | {REQUEST_KEY: event_id}
        response = without_none(
            instructions=settings.instructions,
            **(self.output(settings.output) if settings.output else {}),
            max_output_tokens=settings.max_output_tokens,
            conversation=settings.conversation,
            input=(
                None
                if settings.input is None
                else [self._item(message) for message in settings.input]
            ),
            metadata=metadata,
            tool_choice=tool_choice(settings.tool_choice),
        )
        return self._message(
            MessageKind.REQUEST, event_id, **({"response": response} if response else {})
        )

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        item = {
            "type": FUNCTION_CALL,
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        }
        return self._message(MessageKind.ITEM, event_id, item=item)

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        item = {"type": "function_call_output", "call_id": result.call_id, "output": result.output}
        return self._message(MessageKind.ITEM, event_id, item=item)

    def mcp_approval(self, request_id: str, event_id: str) -> ClientMessage:
        # the item needs an id, and the id of the event is unique in the session
        item = {
            "id": event_id,
            "type": "mcp_approval_response",
            "approval_request_id": request_id,
            "approve": True,
        }
        return self._message(MessageKind.ITEM, event_id, item=item)

    def cancel(self, event_id: str) -> ClientMessage:
        return self._message(MessageKind.CANCEL, event_id)

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        return self._message(
            MessageKind.TRUNCATE,
            event_id,
            item_id=item_id,
            content_index=0,
            audio_end_ms=audio_end_ms,
        )

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        return self._message(MessageKind.RETRIEVE, event_id, item_id=item_id)

    def _message(self, kind: MessageKind, event_id: str, **fields: Any) -> ClientMessage:
        return self._named(kind, NAMES[kind], event_id, **fields)

    def _named(self, kind: MessageKind, name: str, event_id: str, **fields: Any) -> ClientMessage:
        return ClientMessage(
            kind, name, msgspec.json.encode({"type": name, "event_id": event_id} | fields)
        )

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """Return the fillers' settings, which Voice Live has, and preview has in `extra`; None
        if there are none.
        """
        interim_response = merged(self.session(settings), settings.extra).get(FILLERS)
        return interim_response if isinstance(interim_response, Mapping) else None


def tools(settings: SessionSettings) -> dict[str, Any]:
    """Return the functions and MCP servers that a session declares, and its `tool_choice`; {} if
    it declares none.
    """
    if not settings.tools and not settings.mcp_servers:
        return {}
    functions = [{"type": "function"} | msgspec.to_builtins(tool) for tool in settings.tools]
    declared = [*functions, *map(_mcp_tool, settings.mcp_servers)]
    return without_none(tools=declared, tool_choice=tool_choice(settings.tool_choice))


def _mcp_tool(server: McpServer) -> dict[str, Any]:
    token = server.authorization_env
    return without_none(
        type="mcp",
        server_label=server.label,
        server_url=server.url,
        connector_id=server.connector_id,
        tunnel_id=server.tunnel_id,
        server_description=server.description,
        allowed_tools=server.allowed_tools,
        require_approval=server.require_approval,
        authorization=None if token is None else secret_placeholder(token),
    )


def tool_choice(choice: str | None) -> str | dict[str, str] | None:
    """Return the `tool_choice` of a session or response as the service expects it."""
    return (
        choice if choice is None or choice in TOOL_CHOICES else {"type": "function", "name": choice}
    )


def _is_set(settings: SessionSettings, setting: DialectSetting) -> bool:
    """Return whether the session sets this setting to a value that not every dialect has."""
    value: Any = settings
    for key in setting.keys:
        value = getattr(value, key, None)
    return value is not None and setting.holds(value)


class ServerVadOnly(OpenAIDialect):
    """The dialect of services that have no turn detection except `server_vad`."""

    names_requests = False  # undocumented for these services

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        refused = super().unsupported_setting(settings)
        turn_detection = settings.turn_detection
        if refused is not None or turn_detection is None or turn_detection.type == "server_vad":
            return refused
        problem = f"the {self.name} dialect does not support {turn_detection.type}: use server_vad"
        return UnsupportedSetting(("turn_detection", "type"), problem)


G711_TYPES: Mapping[AudioFormatName, str] = {"g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


def ga_format(format: AudioFormat) -> dict[str, Any]:
    """Return the setting for an audio format in the notation of GA."""
    if format.is_pcm:
        return {"type": "audio/pcm", "rate": format.rate_hz}
    return {"type": G711_TYPES[format.name]}


class Ga(OpenAIDialect):
    """The dialect of Azure's path /openai/v1/realtime. It is also that of OpenAI if no version
    header is sent.
    """

    name = family = GA_NAME
    names_requests = True
    parts = GA_PARTS
    other_kinds = PREVIEW_PARTS
    own_kinds: Mapping[str, EventKind] = MappingProxyType(
        {
            "mcp_list_tools.in_progress": EventKind.NOTED,
            "mcp_list_tools.completed": EventKind.MCP_LISTED,
            "mcp_list_tools.failed": EventKind.MCP_NOT_LISTED,
            "response.mcp_call_arguments.delta": EventKind.NOTED,
            "response.mcp_call_arguments.done": EventKind.MCP_CALL_DONE,
            "response.mcp_call.in_progress": EventKind.MCP_CALL_STARTED,
            "response.mcp_call.completed": EventKind.MCP_CALL_ENDED,
            "response.mcp_call.failed": EventKind.MCP_CALL_FAILED,
        }
    )
    """The events of MCP servers, whose tools the service lists and calls itself (guide "Realtime
    with tools")."""
    item_kinds = MappingProxyType(
        {
            (EventKind.OUTPUT_ADDED, MCP_CALL): EventKind.MCP_CALL_ADDED,
            # conversation.item.done
            (EventKind.NOTED, MCP_APPROVAL_REQUEST): EventKind.MCP_APPROVAL,
        }
    )
    input_formats = output_formats = RATED_FORMATS
    stored = {  # noqa: RUF012 - as in its base
        ("type",): (
            "only realtime sessions are supported, and with `output: transcript` transcription"
            " sessions"
        ),
        ("output_modalities",): "use `output`",
        ("instructions",): "use `instructions`",
        ("tools",): "use `tools`",
        ("tool_choice",): "use `tool_choice`",
        ("audio", "input", "format"): "use `input_format`",
        ("audio", "output", "format"): "use `output_format`",
        ("max_output_tokens",): "use `max_output_tokens`",
        ("audio", "input", "turn_detection", "create_response"): "use `turn_detection`",
        ("audio", "input", "transcription", "model"): "use `input_transcription`",
    }
    reply_part = "output_text"
    transcribers = WITHOUT_DETECTION

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        transcription = settings.input_transcription
        noise = settings.noise_reduction
        audio_input = {
            "format": ga_format(self.input_format_for(settings)),
            "turn_detection": settings.detection_update,  # null disables it
        } | without_none(
            transcription=transcription.explicit if transcription else None,
            noise_reduction={"type": noise} if noise else None,
        )
        if settings.output == ONLY_TRANSCRIPT:
            return {"type": "transcription", "audio": {"input": audio_input}}
        audio_output = without_none(
            format=ga_format(self.output_format_for(settings)), voice=settings.voice
        )
        return without_none(
            type="realtime",
            **self.output(settings.output),
            instructions=settings.instructions,
            audio={"input": audio_input, "output": audio_output},
            max_output_tokens=settings.max_output_tokens,
            reasoning=settings.reasoning,
            truncation=settings.truncation,
            **tools(settings),
        )

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": [output]}


GA = Ga()
