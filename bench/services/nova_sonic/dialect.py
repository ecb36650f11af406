"""Amazon Nova Sonic on Bedrock: its dialect, and its service.

Names and fields are those of "Handling input events with the bidirectional API" (Amazon Nova 2
Sonic). A session is a prompt with blocks of content: the instructions, the history, and one block
of audio that stays open for all of the caller's speech. The service always detects turns, and
reports neither the caller's speech nor the acceptance of the settings. So a session is ready when
the request was accepted. A message is one event, or a JSON array of events, which the transport
sends one by one.
"""

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.outcomes import OwnRemedies
from bench.services.nova_sonic.replies import AUDIO, NovaReader
from bench.services.replying import COMMON_SETTINGS, AnsweringDialect, lacking
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K, AudioFormat, by_name
from bench.wire.dialect import (
    AwaitedEvent,
    CallCodec,
    ClientMessage,
    Feature,
    MessageKind,
)
from bench.wire.events import EventKind
from bench.wire.service import MODEL, OPENED, REGION, Link, Service
from bench.wire.settings import (
    FunctionOutput,
    Keys,
    Message,
    SessionSettings,
    merged,
)

FIRST_MODEL = "amazon.nova-2-sonic-v1:0"
FIRST_VOICE = "matthew"
PROMPT = "prompt"
MICROPHONE = "audio"
"""The names of the prompt and of the block with the caller's audio. A session has one of each."""
SESSION_START = "sessionStart"
PROMPT_START = "promptStart"
AUDIO_INPUT = "audioInput"
TYPED = "textInput"
TOOL_RESULT = "toolResult"
SESSION_END = "sessionEnd"
TITLE = "Amazon Nova Sonic"
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        (PROMPT_START, "promptName"): "all events name it",
        (PROMPT_START, "audioOutputConfiguration"): "use `output_format` and `voice`",
        (PROMPT_START, "toolConfiguration"): "use `tools`",
    }
)
TEXT_CONFIGURATION = {"mediaType": "text/plain"}
REMEDIES = OwnRemedies(
    in_doctor={
        "connect_failed:token": (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and, if the host does"
            " not name it, AWS_REGION"
        ),
        "connect_failed:403": (
            "the credentials are wrong or have expired, or their role lacks"
            " bedrock:InvokeModelWithBidirectionalStream, or the account lacks the model: see the"
            " reason"
        ),
        "connect_failed:404": "the region does not have the model: set the target's `region`",
        "connect_failed:400": "the region does not have the model, or its name is wrong",
    }
)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": {name: fields}}


def _message(kind: MessageKind, name: str, *events: dict[str, Any]) -> ClientMessage:
    return ClientMessage(kind, name, msgspec.json.encode(events[0] if len(events) == 1 else events))


def _block(block: str, type: str, role: str, content: str, text: str, **more: Any) -> Any:
    """Return the events of a block of content with one text. `content` is its event."""
    names = {"promptName": PROMPT, "contentName": block}
    return (
        _event("contentStart", **names, type=type, role=role, **more),
        _event(content, **names, content=text),
        _event("contentEnd", **names),
    )


def _text_block(block: str, role: str, text: str, *, is_interactive: bool = False) -> Any:
    return _block(
        block,
        "TEXT",
        role,
        TYPED,
        text,
        interactive=is_interactive,
        textInputConfiguration=TEXT_CONFIGURATION,
    )


# The block, the prompt and the session are ended: "Completing these steps also frees GPU resources
# and memory" (AWS, "Handling errors with Amazon Nova Sonic"). A load test must not leave sessions
# behind that still occupy the service.
class NovaCall(CallCodec):
    """The end of a session: no message differs between sessions."""

    def goodbye(self) -> ClientMessage:
        return _message(
            MessageKind.RAW,
            SESSION_END,
            _event("contentEnd", promptName=PROMPT, contentName=MICROPHONE),
            _event("promptEnd", promptName=PROMPT),
            _event(SESSION_END),
        )


# An event names its prompt and its block of content, and each block is opened and closed around it.
# A session here has one prompt, one block for all of the caller's audio, and a block of its own for
# each text and each result of a function.
class NovaSonic(AnsweringDialect):
    """Amazon Nova Sonic."""

    name = "nova-sonic"
    title = TITLE
    known = COMMON_SETTINGS | {"max_output_tokens"}
    stored = STORED
    voice_form = f"voice, as in {FIRST_VOICE}"
    options = (
        "its sensitivity is in `extra`: {sessionStart: {turnDetectionConfiguration:"
        " {endpointingSensitivity: HIGH}}}"
    )
    of_transcription = frozenset({"model"})
    reader = NovaReader
    codec = NovaCall
    remedies = REMEDIES
    input_formats = by_name(PCM16_16K, PCM16_8K, PCM16)
    output_formats = by_name(PCM16, PCM16_16K, PCM16_8K)
    message_kinds = MappingProxyType(
        {
            SESSION_START: MessageKind.SET_UP,
            AUDIO_INPUT: MessageKind.APPEND,
            TYPED: MessageKind.REQUEST,
            TOOL_RESULT: MessageKind.ITEM,
            SESSION_END: MessageKind.RAW,
        }
    )
    missing_features = MappingProxyType(
        lacking(TITLE, Feature.RENEWAL, Feature.PIPELINED)
        | {Feature.MESSAGE: f"but {TITLE} answers every text: use `history`"}
    )

    def set_up(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the fields of `sessionStart` and `promptStart`, without `extra`.

        The service requires all values of its inference; the defaults are those of AWS's examples.
        """
        inference = {
            "maxTokens": settings.max_output_tokens or 1024,
            "topP": 0.9,
            "temperature": 0.7 if settings.temperature is None else settings.temperature,
        }
        output = _lpcm(self.output_format_for(settings))
        prompt: dict[str, Any] = {
            "promptName": PROMPT,
            "textOutputConfiguration": TEXT_CONFIGURATION,
            "audioOutputConfiguration": output | {"voiceId": settings.voice or FIRST_VOICE},
        }
        if settings.tools:
            prompt["toolUseOutputConfiguration"] = {"mediaType": "application/json"}
            prompt["toolConfiguration"] = {"tools": [_tool(tool) for tool in settings.tools]}
        return {SESSION_START: {"inferenceConfiguration": inference}, PROMPT_START: prompt}

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        fields = merged(self.set_up(settings), settings.extra)
        events = [{"event": {name: value}} for name, value in fields.items() if name != "model"]
        if settings.instructions is not None:
            events += _text_block("system", "SYSTEM", settings.instructions)
        for number, said in enumerate(settings.history, 1):
            role = "ASSISTANT" if said.role == "assistant" else "USER"
            events += _text_block(f"history-{number}", role, said.text)
        events.append(
            _event(
                "contentStart",
                promptName=PROMPT,
                contentName=MICROPHONE,
                type="AUDIO",
                role="USER",
                interactive=True,
                audioInputConfiguration=_lpcm(self.input_format_for(settings)),
            )
        )
        return (
            _message(MessageKind.SET_UP, SESSION_START, *events),
            AwaitedEvent(EventKind.SESSION_CREATED, OPENED),
            AwaitedEvent(EventKind.SESSION_UPDATED, OPENED),
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return (
            f"is not possible, because the events of {TITLE} have no `type`: use the settings in"
            " `extra`"
        )

    def typed_input(
        self,
        message: Message,
        request: ClientMessage | None,
        settings: SessionSettings,
        prefix: str,
    ) -> tuple[Sequence[ClientMessage], ClientMessage | None]:
        block = _text_block(f"{prefix}text", "USER", message.text, is_interactive=True)
        return (), _message(MessageKind.REQUEST, TYPED, *block)

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        content = base64.b64encode(audio).decode("ascii")
        sent = _event(AUDIO_INPUT, promptName=PROMPT, contentName=MICROPHONE, content=content)
        return _message(MessageKind.APPEND, AUDIO_INPUT, sent)

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        configuration = {
            "toolUseId": result.call_id,
            "type": "TEXT",
            "textInputConfiguration": TEXT_CONFIGURATION,
        }
        block = _block(
            event_id,
            "TOOL",
            "TOOL",
            TOOL_RESULT,
            result.output,
            interactive=False,
            toolResultInputConfiguration=configuration,
        )
        return _message(MessageKind.ITEM, TOOL_RESULT, *block)

    # Received messages.

    def without_audio(self, message: bytes) -> bytes:
        if not message.startswith(b"{"):
            return message
        for name in (AUDIO, AUDIO_INPUT):
            if f'"{name}"'.encode() in message:
                fields = _decode_object(message)
                event = fields.get("event")
                audio = event.get(name) if isinstance(event, dict) else None
                if isinstance(audio, dict) and "content" in audio:
                    audio["content"] = ""
                    return msgspec.json.encode(fields)
        return message


def _lpcm(format: AudioFormat) -> dict[str, Any]:
    return {
        "mediaType": "audio/lpcm",
        "sampleRateHertz": format.rate_hz,
        "sampleSizeBits": 16,
        "channelCount": 1,
        "audioType": "SPEECH",
        "encoding": "base64",
    }


def _tool(tool: Any) -> dict[str, Any]:
    schema = {"json": msgspec.json.encode(tool.parameters).decode()}
    named = {"name": tool.name, "description": tool.description}
    return {"toolSpec": named | {"inputSchema": schema}}


NOVA_SONIC = NovaSonic()
END = "invoke-with-bidirectional-stream"
EVENT_STREAM = Link(
    ("http", "https"),
    ("connection", "session", "turn"),
    "the settings of HTTP/2 were exchanged",
    "services with event streams",
    f"https://HOST/model/MODEL/{END}",
    settings=("max_message_mib",),
    title="event streams over HTTP/2",
    opener="bench.transport.event_stream:open_event_stream",
    extra="aws",
    signed_by="the credentials of AWS",
)
SERVICE = Service(
    "nova-sonic",
    TITLE,
    NOVA_SONIC,
    f"https://bedrock-runtime.{REGION}.amazonaws.com/model/{MODEL}/{END}",
    links=(EVENT_STREAM,),
    folder="/model/",
    model=FIRST_MODEL,
    minutes=8,
    telemetry_name="aws.bedrock",
)
