"""A probe: a session with one turn. It runs like a session of a run, and every event is logged."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.observe.inputs import session_start
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedScript
from bench.plan.script import build_script, with_target_settings
from bench.plan.steps import step_of
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.session.dial import Dialer, connect
from bench.session.session import Session
from bench.session.session_io import SessionListener
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.transport.connect import start_first_thread
from bench.transport.impaired import impaired
from bench.transport.impairment.line import NetworkCounts
from bench.transport.interface import ConnectTimings
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.dialect import AwaitedEvent, BinaryMessage, CallCodec, Dialect
from bench.wire.events import EventKind, ServerEvent, audio_payload
from bench.wire.settings import text_at

SESSION_ID = "probe"
STAND_IN = {
    "stand_in": {
        "description": "Do a task.",
        "returns": "This is a test: the task is done, and all is well.",
        "delay": 1,
    }
}
"""The function that does a task, with a delay in which the service may say a filler."""


def script_of(
    target: Target,
    utterance: str | Path,
    session: Mapping[str, Any],
    timeouts: Mapping[str, float] = MappingProxyType({}),
    *,
    greets: bool = False,
) -> PreparedScript:
    """Return a script with one turn, which sends a text or plays a WAV.

    If `greets` is True, the session first waits for the agent's greeting. `session` and `timeouts`
    have the same meaning as in a script's file, but a service that always detects turns needs no
    setting for it. If the client does the tasks of a session, a stand-in does them.
    Raise UsageError for invalid values.
    """
    turns = [step_of("wait_for", wait_for="greeting", name="greeting")] if greets else []
    if isinstance(utterance, Path):
        turns.append(step_of("audio", utterance.parent, audio=utterance.name, name="audio"))
    else:
        turns.append(step_of("text", text=utterance, name="text"))
    detection = None if "turn_detection" in target.session else target.dialect.only_detection
    own = {} if detection is None else {"turn_detection": detection}
    settings = {"session": {**own, **session}, "timeouts": dict(timeouts)}
    if target.dialect.has_tasks and text_at(target.dialect.backend_model, target.session) is None:
        settings["tools"] = STAND_IN
    script = build_script(Path(__file__), settings, turns)
    script = with_target_settings(script, target.script_settings, target.settings_source)
    if mismatch := target.session_mismatch(script.session.output):
        raise UsageError(mismatch)
    return CompiledScript(script, target.dialect).prepare_session(0, 0)


class ReplyAudioListener(SessionListener):
    """A listener that stores the audio of each response in a logged session."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._audio: defaultdict[str, bytearray] = defaultdict(bytearray)

    def received(
        self, events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
    ) -> None:
        self._store(events)

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        for delta in deltas:  # deltas of a logged transport have their messages
            reply_id = delta.event.response_id  # a message alone may not name its reply
            events = self._dialect.decode(delta.data)
            self._store([msgspec.structs.replace(event, response_id=reply_id) for event in events])

    def _store(self, events: Sequence[ServerEvent]) -> None:
        for event in events:
            if event.kind is EventKind.AUDIO_DELTA and isinstance(event.payload, msgspec.Raw):
                self._audio[event.response_id] += audio_payload(event.payload) or b""

    def audio(self, response_id: str) -> bytes:
        return bytes(self._audio.get(response_id, b""))


LISTENING_S = 10
"""The time for which `listen` listens."""


def listen(target: Target, script: PreparedScript, show: Callable[[int, bytes], None]) -> str:
    """Open a call, send what opens it, and show each message with the time since the connection
    was open, in ns. Return the close code and the reason; "" if the connection is still open.

    Raise ConnectError if there is no connection, and UsageError as `probe_target`.
    """
    keyring = Keyring([target])
    start_first_thread()
    keyring.open()
    timings = ConnectTimings()
    steps = deque(script.setup_messages)
    dialect = script.dialect
    try:
        transport = Dialer(target, keyring).open(script.limits, timings, {})
        opened_ns = timings.instants["opened"]
        codec = (dialect.codec or CallCodec)(transport.handshake.call_id)

        def send_due() -> None:
            while steps and not isinstance(step := steps[0], AwaitedEvent):
                data = codec.encode(step.kind, step.data)
                transport.send(transport.fill(data) if transport.fill else data)
                steps.popleft()

        def on_message(message: ReceivedMessage) -> bool:
            text = message.data
            kinds = [event.kind for event in dialect.decode(text)]
            if not isinstance(text, BinaryMessage):
                text = keyring.redact(text.decode("utf-8", "replace")).encode()
            show(message.arrival.at_ns - opened_ns, text)
            is_awaited = bool(steps) and steps[0].kind in kinds
            if is_awaited:
                steps.popleft()
            return is_awaited

        until_ns = transport.now_ns() + LISTENING_S * NS_PER_S
        while transport.closed is None and transport.now_ns() < until_ns:
            send_due()
            transport.receive_until(until_ns, on_message)
        closed = transport.closed
        transport.close()
        return "" if closed is None else keyring.redact(f"{closed.code} {closed.reason}".strip())
    finally:
        keyring.close()


def probe_target(
    target: Target, script: PreparedScript, log_path: Path, *, record_audio: bool
) -> ReplyAudioListener:
    """Run a session of `script` and log it. The results are read from the log
    (`bench.record.replay`).

    Raise UsageError if the sign-in fails, or a client certificate cannot be used.
    """
    keyring = Keyring([target])
    reply = ReplyAudioListener(script.dialect)
    dialer = Dialer(target, keyring)
    start_first_thread()
    keyring.open()
    try:
        with closing(EventLog(log_path, hide=keyring.redact, record_audio=record_audio)) as log:
            labels = RowContext(SESSION_ID, target.label, SESSION_ID, script.name)
            description = about(SESSION_ID, labels, script) | {"url": target.public_url}
            start = session_start(script, monotonic_ns(), len(script.turns))
            timeline = LoggedTimeline(start, script.dialect, log=log, about=description)
            transport = connect(dialer, script, timeline, lambda headers, call_id: None)
            if transport is not None:
                if (network := target.network_path.network) is not None:
                    transport = impaired(
                        transport, network, SESSION_ID, NetworkCounts(), reply.sent
                    )
                Session(
                    script, LoggedTransport(transport, log), timeline, reply, lambda: False
                ).run()
    finally:
        keyring.close()
    return reply
