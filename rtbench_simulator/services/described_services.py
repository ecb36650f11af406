"""Services that report their replies, and whose protocols are files (`bench/services/pages`), read
from the other side. Pure.

In the ground-truth log, a message has the name of its meaning, and the agent's audio is
`audio.delta`. 500 ms of silence end a turn, an assumption.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from rtbench_simulator.recorded_replies import AudioBlock
from rtbench_simulator.responses.function_calls import GeneratedCall
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent
from rtbench_simulator.services.agents import SILENCE_MS, decoded
from rtbench_simulator.services.answering import (
    AnsweringSession,
    RefusedError,
    SpokenReply,
    drop,
)
from rtbench_simulator.services.described_agents import DescribedWire, Found, files
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    lacks_of,
    websocket_urls,
)
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import EventReceipt, ReceiptFields, SessionParts
from rtbench_simulator.turn_taking import CallerSpeech

PLACES = {
    "session_created": "session",
    "session_updated": "settings",
    "speech_started": "speech",
    "input_transcript": "input_transcript",
    "reply_started": "response",
    "reply_done": "done",
    "audio": "input",
}
"""The place of faults that each message is."""
RESUMABLE = 10_000
"""The number of sessions that can be continued, which is that of the last ones that began."""
MISSING_PLACES = ("input_delta",)
MISSING_FAULTS = {
    **dict.fromkeys(
        ("error", "failed", "incomplete"),
        "a protocol file has only errors that end the session: use close,code=1011",
    ),
    "other_dialect": "the service has one dialect",
}


class DescribedSession(AnsweringSession):
    """One session of a service that a file describes."""

    fault_places = PLACES
    begun: ClassVar[dict[str, Sequence[Json]]] = {}
    """The functions of the sessions that did not say goodbye, by their ids."""

    def __init__(self, name: str, parts: SessionParts) -> None:
        super().__init__(parts, SILENCE_MS)
        self._wire = DescribedWire(name, None)
        self._role = self._id = ""

    def open(self, at_ns: int) -> None:
        due_ns = self._outbox.after(at_ns, self._profile.delays.session_created)
        self._plan(due_ns, "session_created", {})

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        return self._refusal("session_expired", message, due_ns)

    # Messages of the client.

    def receive_binary(self, message: bytes, at_ns: int) -> EventReceipt:
        return self.receive({"binary": message}, at_ns)

    def _name_of(self, event: Json) -> str:
        return self._role

    def _refusal(self, code: str | int, reason: str, due_ns: int) -> OutgoingEvent:
        body = self._body("error", {"code": str(code), "text": reason})
        return OutgoingEvent(due_ns, "error", body, close=(1008, ""))

    def _body(self, name: str, fields: Json) -> bytes:
        return self._wire.message(name, **fields)[1]

    def _plan(self, due_ns: int, name: str, fields: Json, reply_id: str | None = None) -> None:
        if name in self._wire.forms:
            super()._plan(due_ns, name, fields, reply_id)

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        found: Found
        if isinstance(audio := event.get("binary"), bytes):
            self._role, found = "audio", {"audio": audio}
        else:
            self._role, found = self._wire.parse(event)
        match self._role:
            case "open" if self._input is None:
                return self._begin(self.ids.session, found.get("tools", ()), at_ns)
            case "resume" if self._input is None and found["id"] in self.begun:
                return self._begin(found["id"], self.begun[found["id"]], at_ns)
            case "resume":
                raise RefusedError("session_not_found", "The session is unknown, or has ended.")
            case "audio" if self._input is not None:
                heard = found["audio"]
                audio = heard if isinstance(heard, bytes) else decoded(heard)
                return self._hear(audio, self._input, at_ns)
            case "text":
                self._interrupt(at_ns)
                return self._answer(at_ns, {})
            case "output":
                return self._end_call(found["call_id"], at_ns)
            case "answer":
                return {}
            case "close":
                self.begun.pop(self._id, None)
                return {}
        raise RefusedError("invalid_message", "The message is unknown, or not expected now.")

    def _begin(self, id: str, functions: Sequence[Json], at_ns: int) -> ReceiptFields:
        self._id, self._functions = id, functions
        self._input = InputSettings(self._wire.format)
        self._output = self._wire.format.name
        self.begun[id] = functions
        if len(self.begun) > RESUMABLE:
            del self.begun[next(iter(self.begun))]
        due_ns = self._outbox.after(at_ns, self._profile.delays.session_updated)
        self._plan(due_ns, "session_updated", {"id": id})
        return {}

    # The caller's speech.

    def _on_start(self, speech: CallerSpeech) -> None:
        self._plan(speech.stop_ns, "speech_started", {})
        self._interrupt(speech.stop_ns)

    def _transcribe(self, audio_ms: float, at_ns: int) -> None:
        self._plan(at_ns, "speech_stopped", {})
        text = self._asr.transcribe(audio_ms)
        heard_ns = self._outbox.after(at_ns, self._profile.delays.input_transcribed)
        self._plan(heard_ns, "input_transcript", {"text": text})

    def _interrupt(self, due_ns: int) -> None:
        """Stop the reply in progress."""
        self._open_calls.clear()
        self._played_ns = 0
        if self._reply is not None:
            stop_ns = self._outbox.after(due_ns, self._profile.delays.cancelled)
            self._outbox.plan_step(stop_ns, partial(drop, self._reply))
            self._plan(stop_ns, "reply_cancelled", {}, self._reply_id)
            self._reply = None

    # Replies.

    def _begin_reply(self, due_ns: int) -> None:
        super()._begin_reply(due_ns)
        self._plan(due_ns, "reply_started", {}, self._reply_id)

    def _reply_steps(self, reply: SpokenReply) -> Iterator[OutboxStep]:
        facts = reply.facts
        due = (delta.due_ns for delta in reply.schedule.deltas if delta.audio)
        for due_ns, block in zip(due, reply.recorded.blocks[self._output], strict=True):
            yield due_ns, partial(self._sound, block, reply.id, facts)
            facts = {}
        said = {"text": "".join(reply.recorded.tokens).strip()}
        if "output_transcript" in self._wire.forms:
            done_ns = reply.schedule.done_ns
            yield done_ns, partial(self._event, "output_transcript", said, reply.id)
        yield reply.schedule.done_ns, self._done

    def _sound_body(self, block: AudioBlock) -> bytes:
        return self._wire.audio_out(base64.b64decode(block.encoded[1:-1]))[1]

    def _call_steps(self, calls: Sequence[GeneratedCall], due_ns: int) -> Iterable[OutboxStep]:
        for call in calls:
            arguments = msgspec.json.decode("".join(call.tokens))
            fields = {"id": self.ids.new("call"), "name": call.name, "arguments": arguments}
            self._open_calls.add(fields["id"])
            yield due_ns, partial(self._event, "function_call", fields, self._reply_id)
        yield due_ns, self._done

    def _done(self, due_ns: int) -> OutgoingEvent:
        self._reply = None
        return self._event("reply_done", {}, self._reply_id, due_ns)


BY_PATH: Mapping[str, str] = {
    urlsplit(page["url"]).path: name
    for name, page in files().items()
    if page.get("turns") == "replies"
}
"""The names of the services, by the paths of their usual addresses."""


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    name = BY_PATH.get(request.path)
    if name is None:
        return None
    session: Callable[[str, Any], DescribedSession] = lambda _, parts: DescribedSession(name, parts)  # noqa: E731
    return AcceptedUpgrade(session, "")


SERVICE = SimulatedService(
    _answer,
    websocket_urls(**{name: path for path, name in BY_PATH.items()}),
    lacks=lacks_of("such a service", MISSING_PLACES, MISSING_FAULTS),
    titles={name: files()[name]["title"] for name in BY_PATH.values()},
)
